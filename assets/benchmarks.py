"""Benchmark answers and scores of every condition."""

import polars as pl

from assets.graph import Graph
from assets.metadata import counts
from assets.step import Made, Step, TableAsset
from tracepipe import evaluation
from tracepipe.conditions import Condition
from tracepipe.records import BENCHMARK_ANSWERS, BENCHMARK_SCORES
from tracepipe.row_set import not_applicable
from tracepipe.statistics import interval_over_items, item_means


def add_benchmarks(graph: Graph) -> None:
    """Add `benchmark_answers/<condition>` and `benchmark_scores/<condition>`."""
    for condition in graph.study.conditions:
        _add_answers(graph, condition)
        _add_scores(graph, condition)


def _add_answers(graph: Graph, condition: Condition) -> None:
    student = graph.study.student

    def make(step: Step) -> Made:
        checkpoints, items = step.read(f"student/{condition}"), step.read("benchmark_items")
        answers = evaluation.benchmark_answers(step.study, condition, checkpoints, items, step.bench)
        return Made(answers, evaluation.answer_gates(step.study, checkpoints, items, answers))

    graph.add(
        TableAsset(
            name=f"benchmark_answers/{condition}",
            stage="benchmarks",
            description=f"What the students of condition {condition} write for every benchmark item (paper, table 3).",
            table=BENCHMARK_ANSWERS,
            version=evaluation.VERSION,
            config={
                "calls": {
                    **evaluation.asking_for(graph.study, condition).identity(),
                    "wording": student.wording.model_dump(),
                    "seed": graph.study.derived_seed("evaluation", condition),
                },
                "samples": {benchmark.name: benchmark.samples for benchmark in graph.study.benchmarks},
            },
            given=(student,),
            reads=(f"student/{condition}", "benchmark_items"),
            inapplicable=lambda target: not_applicable(graph.study, condition, target),
            gates={"one_answer_per_item": "every student answered every item once per sample"},
            gpu=True,
            make=make,
            describe=lambda frame: counts(frame, "finish_reason"),
        )
    )


def _add_scores(graph: Graph, condition: Condition) -> None:
    def make(step: Step) -> Made:
        answers = step.read(f"benchmark_answers/{condition}")
        scores = evaluation.benchmark_scores(answers, step.read("benchmark_items"))
        return Made(scores, evaluation.score_gates(answers, scores))

    graph.add(
        TableAsset(
            name=f"benchmark_scores/{condition}",
            stage="benchmarks",
            description="Verdicts on every answer: the benchmark's official scorer (paper, table 3), and a fairer one "
            "beside it.",
            table=BENCHMARK_SCORES,
            version=evaluation.VERSION,
            reads=(f"benchmark_answers/{condition}", "benchmark_items"),
            inapplicable=lambda target: not_applicable(graph.study, condition, target),
            gates={
                "one_score_per_answer": "every answer has exactly one score",
                "scores_in_range": "every score lies between 0 and 1",
                "graders_hold": "at most 1 % of the answers made their grader fail",
            },
            make=make,
            describe=_score_metadata,
        )
    )


def _score_metadata(scores: pl.DataFrame) -> dict[str, float | int | str]:
    cells = scores.group_by("benchmark", maintain_order=True)
    accuracy = {f"accuracy % ({benchmark})": _with_interval(rows) for (benchmark,), rows in cells}
    shares = {"truncated %": pl.col("truncated"), "looped %": pl.col("looped")}
    rates = {name: round(100 * scores.select(share.mean()).item(), 2) for name, share in shares.items()}
    return accuracy | rates | dict(counts(scores, "outcome")) | dict(counts(scores, "rule"))


def _with_interval(scores: pl.DataFrame) -> str:
    interval = interval_over_items(*item_means(scores.select("cluster", "score", item="item_id")))
    return f"{100 * interval.mean:.1f} (95 %: {100 * interval.low:.1f} - {100 * interval.high:.1f})"
