"""Students answer the benchmarks, and the answers are graded."""

from dataclasses import replace
from typing import Any

import polars as pl

from tracepipe.benchmarks import PROTOCOLS
from tracepipe.benchmarks.grade import GRADER_ERROR, grade_all
from tracepipe.benchmarks.protocol import Graded, Item
from tracepipe.conditions import UNTRAINED, UNTRAINED_RENDERS, Condition
from tracepipe.engines.generation import Asking
from tracepipe.gates import Gate, ids_preserved, none_fail
from tracepipe.loops import loops
from tracepipe.prompts.build import item_of
from tracepipe.records import BENCHMARK_ANSWERS, BENCHMARK_SCORES, conform, empty, from_rows
from tracepipe.study import Study
from tracepipe.workbench import GenerationJob, Workbench

VERSION = "3"
MOST_GRADER_ERRORS = 0.01
"""Share of answers whose grader may raise an error before scores count as broken."""


def benchmark_answers(
    study: Study, condition: Condition, checkpoints: pl.DataFrame, items: pl.DataFrame, bench: Workbench
) -> pl.DataFrame:
    """Ask every student of a condition every benchmark item, as often as its benchmark has samples.

    Args:
        study: The study.
        condition: Whose students.
        checkpoints: CHECKPOINTS of the condition, one row per seed.
        items: BENCHMARK_ITEMS.
        bench: Runs the models.

    Returns:
        BENCHMARK_ANSWERS.
    """
    template = study.student.wording.template
    texts = pl.Series("prompt", [template.format(prompt=prompt) for prompt in items["prompt"]], dtype=pl.String)
    students = checkpoints.select("checkpoint_id", "seed").rows(named=True)
    asked = items.select("benchmark", id="item_id").with_columns(texts)
    draws = [
        (student, sample, asked.filter(pl.col("benchmark").is_in(_with_more_samples(study, sample))).drop("benchmark"))
        for student in students
        for sample in range(max(benchmark.samples for benchmark in study.benchmarks))
    ]
    jobs = [
        GenerationJob(
            label=f"benchmarks {condition} seed {student['seed']}" + (f" sample {sample}" if sample else ""),
            model=study.student.model
            if condition in UNTRAINED
            else str(bench.checkpoints.folder(student["checkpoint_id"])),
            requests=requests,
            asking=asking_for(study, condition),
            seed=study.derived_seed("evaluation", condition, str(student["seed"]), *([sample] if sample else [])),
        )
        for student, sample, requests in draws
    ]
    tables = [
        _answers(condition, student, sample, generated, items)
        for (student, sample, _), generated in zip(draws, bench.generate(jobs), strict=True)
    ]
    return pl.concat([empty(BENCHMARK_ANSWERS), *tables])


def asking_for(study: Study, condition: Condition) -> Asking:
    """Return how a condition's students are asked; the untrained model is also asked with its other rendering."""
    asking = study.student.asking
    return replace(asking, thinking=UNTRAINED_RENDERS.get(condition, asking.thinking))


def _with_more_samples(study: Study, sample: int) -> list[str]:
    return [benchmark.name for benchmark in study.benchmarks if benchmark.samples > sample]


def _answers(
    condition: Condition, student: dict[str, Any], sample: int, generated: pl.DataFrame, items: pl.DataFrame
) -> pl.DataFrame:
    answers = generated.rename({"id": "item_id", "text": "response"}).join(
        items.select("item_id", "benchmark"), on="item_id", validate="1:1", maintain_order="left"
    )
    return conform(
        answers.with_columns(
            condition=pl.lit(condition),
            seed=pl.lit(student["seed"], dtype=pl.Int64),
            sample=pl.lit(sample, dtype=pl.Int64),
            checkpoint_id=pl.lit(student["checkpoint_id"]),
        ),
        BENCHMARK_ANSWERS,
    )


def answer_gates(study: Study, checkpoints: pl.DataFrame, items: pl.DataFrame, answers: pl.DataFrame) -> list[Gate]:
    """Every student answered every item, as often as its benchmark asks for."""
    samples = pl.DataFrame(
        [(benchmark.name, sample) for benchmark in study.benchmarks for sample in range(benchmark.samples)],
        schema={"benchmark": pl.String, "sample": pl.Int64},
        orient="row",
    )
    name = pl.concat_str("checkpoint_id", pl.lit(" "), "item_id", pl.lit(" "), "sample")
    expected = checkpoints.select("checkpoint_id").join(items.join(samples, on="benchmark"), how="cross").select(name)
    return [ids_preserved("one_answer_per_item", expected.to_series(), answers.select(name).to_series())]


def benchmark_scores(answers: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Grade answers by the official protocol of each benchmark, and by the fairer one beside it.

    Args:
        answers: BENCHMARK_ANSWERS.
        items: BENCHMARK_ITEMS.

    Returns:
        BENCHMARK_SCORES, one row per answer.

    Raises:
        SandboxMissing: If a benchmark runs model-written code and there is no sandbox.
    """
    rows: list[dict[str, Any]] = []
    for (benchmark, protocol), members in items.group_by("benchmark", "protocol", maintain_order=True):
        by_id = {row["item_id"]: item_of(row) for row in members.iter_rows(named=True)}
        asked = answers.filter(benchmark=benchmark).rows(named=True)
        answered = [(by_id[answer["item_id"]], answer["response"]) for answer in asked]
        graded = grade_all(PROTOCOLS[str(protocol)], answered, f"grading {benchmark}")
        rows += [_score(*parts) for parts in zip(asked, (item for item, _ in answered), graded, strict=True)]
    return from_rows(rows, BENCHMARK_SCORES)


def _score(answer: dict[str, Any], item: Item, graded: Graded) -> dict[str, Any]:
    official, fair = graded.official, graded.fair
    return {
        **{key: answer[key] for key in ("request_key", "item_id", "benchmark", "condition", "seed", "sample")},
        "cluster": item.cluster,
        "gold": item.gold,
        "extracted": official.extracted,
        "rule": official.rule,
        "score": official.score,
        "outcome": official.outcome,
        "fair_extracted": fair.extracted,
        "fair_rule": fair.rule,
        "fair_score": fair.score,
        "fair_outcome": fair.outcome,
        "truncated": answer["finish_reason"] == "length",
        "looped": loops(answer["response"]),
    }


def score_gates(answers: pl.DataFrame, scores: pl.DataFrame) -> list[Gate]:
    """Every answer has one score, between 0 and 1, and graders hardly ever fail."""
    failed = scores.filter(pl.col("rule").str.starts_with(GRADER_ERROR))
    outside = scores.filter(~pl.col("score").is_between(0, 1) | ~pl.col("fair_score").is_between(0, 1))["request_key"]
    keys = [pl.concat_str("request_key", pl.lit(" "), pl.col("seed").cast(pl.String).fill_null("base"))]
    return [
        ids_preserved("one_score_per_answer", answers.select(keys).to_series(), scores.select(keys).to_series()),
        none_fail("scores_in_range", outside, "scores lie outside 0 to 1"),
        Gate(
            "graders_hold",
            failed.height <= MOST_GRADER_ERRORS * scores.height,
            f"{failed.height} of {scores.height} answers could not be graded: {sorted(set(failed['rule']))}",
            tuple(failed["request_key"]),
        ),
    ]
