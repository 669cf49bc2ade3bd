"""Students answer the benchmarks, and the answers are graded."""

from typing import Any

import polars as pl

from tracepipe.gates import Gate, ids_preserved, none_fail
from tracepipe.grading.boxed import grade_boxed
from tracepipe.records import BENCHMARK_ANSWERS, BENCHMARK_SCORES, conform, empty, from_rows
from tracepipe.study import Condition, Study
from tracepipe.workbench import GenerationJob, Workbench

VERSION = "1"


def benchmark_answers(
    study: Study, condition: Condition, checkpoints: pl.DataFrame, items: pl.DataFrame, bench: Workbench
) -> pl.DataFrame:
    """Ask every student of a condition every benchmark item once.

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
    jobs = [
        GenerationJob(
            label=f"benchmarks {condition} seed {student['seed']}",
            model=study.student.model if condition == "base" else str(bench.checkpoints.path(student["checkpoint_id"])),
            requests=items.select(id="item_id").with_columns(texts),
            sampling=study.student.sampling,
            seed=study.derived_seed("evaluation", condition, str(student["seed"])),
        )
        for student in students
    ]
    tables = [
        _answers(condition, student, generated, items)
        for student, generated in zip(students, bench.generate(jobs), strict=True)
    ]
    return pl.concat([empty(BENCHMARK_ANSWERS), *tables])


def _answers(
    condition: Condition, student: dict[str, Any], generated: pl.DataFrame, items: pl.DataFrame
) -> pl.DataFrame:
    answers = generated.rename({"id": "item_id", "text": "response"}).join(
        items.select("item_id", "benchmark"), on="item_id", validate="1:1", maintain_order="left"
    )
    return conform(
        answers.with_columns(
            condition=pl.lit(condition),
            seed=pl.lit(student["seed"], dtype=pl.Int64),
            checkpoint_id=pl.lit(student["checkpoint_id"]),
        ),
        BENCHMARK_ANSWERS,
    )


def answer_gates(checkpoints: pl.DataFrame, items: pl.DataFrame, answers: pl.DataFrame) -> list[Gate]:
    """Every student answered every item once."""
    expected = checkpoints.join(items, how="cross").select(pl.concat_str("checkpoint_id", pl.lit(" "), "item_id"))
    found = answers.select(pl.concat_str("checkpoint_id", pl.lit(" "), "item_id"))
    return [ids_preserved("one_answer_per_item", expected.to_series(), found.to_series())]


def benchmark_scores(answers: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Grade answers against the gold ones.

    Returns:
        BENCHMARK_SCORES, one row per answer.
    """
    gold = dict(items.select("item_id", "gold").iter_rows())
    rows = []
    for answer in answers.iter_rows(named=True):
        grade = grade_boxed(answer["response"], gold[answer["item_id"]])
        kept = {key: answer[key] for key in ("request_key", "item_id", "benchmark", "condition", "seed")}
        verdict = {"extracted": grade.extracted, "score": grade.score, "outcome": grade.outcome}
        truncated = answer["finish_reason"] == "length"
        rows.append(kept | verdict | {"gold": gold[answer["item_id"]], "truncated": truncated})
    return from_rows(rows, BENCHMARK_SCORES)


def score_gates(answers: pl.DataFrame, scores: pl.DataFrame) -> list[Gate]:
    """Every answer has one score, between 0 and 1."""
    outside = scores.filter(~pl.col("score").is_between(0, 1))["request_key"]
    keys = [pl.concat_str("request_key", pl.lit(" "), pl.col("seed").cast(pl.String).fill_null("base"))]
    return [
        ids_preserved("one_score_per_answer", answers.select(keys).to_series(), scores.select(keys).to_series()),
        none_fail("scores_in_range", outside, "scores lie outside 0 to 1"),
    ]
