"""The comparison of conditions and the report."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from assets.audit import add_audit_page, add_leakage
from assets.graph import Graph
from assets.metadata import grid_metadata
from assets.pictures import accuracy_picture, difference_picture
from assets.step import Beside, Made, Step, TableAsset
from tracepipe import comparison
from tracepipe.conditions import Condition, budget_of
from tracepipe.records import COMPARISON, DIFFERENCES, FILES
from tracepipe.report import write as report
from tracepipe.report.material import Material, tables_of
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
    graph.add(
        TableAsset(
            name="report",
            stage="report",
            description="The target's report as one HTML file, and as Markdown. Shows the study's other targets too.",
            table=FILES,
            version=report.VERSION,
            config=graph.study.model_dump(mode="json", exclude={"compute"}),
            reads=[name for name in tables_of(graph.study) if name in graph.tables],
            beside=Beside("comparison", lambda partition, known: [name for name in known if name != partition]),
            target_config=lambda target: target.model_dump(mode="json"),
            kinds=frozenset({"html"}),
            sees_withheld=True,
            describe=lambda files: {
                kind: dg.MetadataValue.path(path) for kind, path in files.select("format", "path").iter_rows()
            },
            intact=lambda _, files: all(Path(path).exists() for path in files["path"]),
            make=_report,
        )
    )
    if graph.study.has_levels:
        add_audit_page(graph)


def _scores(step: Step, conditions: Sequence[Condition]) -> pl.DataFrame:
    return pl.concat([step.read(f"benchmark_scores/{condition}") for condition in conditions])


def _comparison(step: Step) -> Made:
    conditions = step.study.conditions
    students = {condition: step.read(f"student/{condition}") for condition in conditions}
    rows = {condition: frame["examples"][0] for condition, frame in students.items() if frame.height}
    return Made(comparison.compare(_scores(step, conditions), conditions, rows))


def _report(step: Step) -> Made:
    tables = {name: step.read(name) for name in step.asset.reads}
    material = Material(step.study, step.target, tables, step.history(), step.read_beside())
    return Made(report.write_report(material, step.report_folder))
