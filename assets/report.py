"""The comparison of conditions and the report."""

from collections.abc import Sequence

import polars as pl

from assets.audit import add_leakage
from assets.graph import Graph
from assets.metadata import grid_metadata
from assets.pages import add_page
from assets.pictures import accuracy_picture, difference_picture
from assets.step import Beside, Made, Step, TableAsset
from tracepipe import comparison
from tracepipe.conditions import Condition, budget_of
from tracepipe.records import COMPARISON, DIFFERENCES
from tracepipe.report import write as report
from tracepipe.report.tables import comparison_grid, difference_grid


def add_report(graph: Graph) -> None:
    """Add `comparison`, `differences`, `report`, and for an audit `leakage` and `audit`."""
    conditions = graph.study.conditions
    # The points of a sweep over budgets are a curve; in pairs they would only weaken every other verdict.
    paired = [condition for condition in conditions if budget_of(condition) is None]
    graph.add(
        TableAsset(
            name="comparison",
            stage="report",
            description="Accuracy of every condition with its 95 % interval, spread over seeds, truncation, "
            "no-answer and loop rate (paper, tables 3 and 4).",
            table=COMPARISON,
            version=comparison.VERSION,
            config={"conditions": conditions},
            reads=(
                *(f"benchmark_scores/{condition}" for condition in conditions),
                *(f"student/{condition}" for condition in conditions),
            ),
            make=_comparison,
            describe=lambda frame: {"table": grid_metadata(comparison_grid(frame)), **accuracy_picture(frame)},
        )
    )
    graph.add(
        TableAsset(
            name="differences",
            stage="report",
            description="Every pair of conditions, compared item by item: the difference with its 95 % interval, and "
            "whether it is resolved.",
            table=DIFFERENCES,
            version=comparison.VERSION,
            config={"conditions": paired},
            reads=tuple(f"benchmark_scores/{condition}" for condition in paired),
            make=lambda step: Made(comparison.differences(_scores(step, paired), paired)),
            describe=lambda frame: {"table": grid_metadata(difference_grid(frame)), **difference_picture(frame)},
        )
    )
    if graph.study.has_levels:
        add_leakage(graph)
    others = Beside("comparison", lambda partition, known: [name for name in known if name != partition])
    about = "The target's report as one HTML file, and as Markdown. Shows the study's other targets too."
    add_page(graph, "report", about, report.write_report, others)
    if graph.study.has_levels:
        page = "One page: what each policy of showing a target's reasoning costs."
        add_page(graph, "audit", page, report.write_audit)


def _scores(step: Step, conditions: Sequence[Condition]) -> pl.DataFrame:
    return pl.concat([step.read(f"benchmark_scores/{condition}") for condition in conditions])


def _comparison(step: Step) -> Made:
    conditions = step.study.conditions
    students = {condition: step.read(f"student/{condition}") for condition in conditions}
    rows = {condition: frame["examples"][0] for condition, frame in students.items() if frame.height}
    return Made(comparison.compare(_scores(step, conditions), conditions, rows))
