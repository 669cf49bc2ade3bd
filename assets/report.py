"""The comparison of conditions and the report."""

from pathlib import Path

import dagster as dg
import polars as pl

from assets.graph import Graph
from assets.metadata import grid_metadata
from assets.pictures import accuracy_picture
from assets.step import Made, Step, TableAsset
from tracepipe import statistics
from tracepipe.fidelity import mean_fidelity
from tracepipe.records import COMPARISON, FILES
from tracepipe.report import write as report
from tracepipe.report.tables import comparison_grid
from tracepipe.study import Study


def add_report(graph: Graph) -> None:
    """Add `comparison` and `report`."""
    conditions = graph.study.conditions
    graph.add(
        TableAsset(
            name="comparison",
            stage="report",
            description="Accuracy of every condition with its 95 % interval, spread over seeds, truncation and "
            "no-answer rate.",
            table=COMPARISON,
            version=statistics.VERSION,
            config=conditions,
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
            name="report",
            stage="report",
            description="The target's report as one HTML file, and as Markdown.",
            table=FILES,
            version=report.VERSION,
            config=graph.study.model_dump(mode="json", exclude={"compute"}),
            reads=("comparison", *fidelity_tables(graph.study)),
            target_config=lambda target: target.model_dump(mode="json"),
            kinds=frozenset({"html"}),
            describe=lambda files: {
                kind: dg.MetadataValue.path(path) for kind, path in files.select("format", "path").iter_rows()
            },
            intact=lambda _, files: all(Path(path).exists() for path in files["path"]),
            make=_report,
        )
    )


def fidelity_tables(study: Study) -> list[str]:
    """Return the names of the fidelity tables."""
    return [f"trace_fidelity/{exposure}" for exposure in study.exposures]


def _comparison(step: Step) -> Made:
    conditions = step.study.conditions
    scores = pl.concat([step.read(f"benchmark_scores/{condition}") for condition in conditions])
    students = {condition: step.read(f"student/{condition}") for condition in conditions}
    rows = {condition: frame["examples"][0] for condition, frame in students.items() if frame.height}
    return Made(statistics.compare(scores, conditions, rows))


def _report(step: Step) -> Made:
    tables = {exposure: step.read(f"trace_fidelity/{exposure}") for exposure in step.study.exposures}
    means = [mean_fidelity(frame).with_columns(exposure=pl.lit(exposure)) for exposure, frame in tables.items()]
    files = report.write_report(
        step.study, step.target, step.read("comparison"), pl.concat(means), step.history(), step.report_folder
    )
    return Made(files)
