"""The leakage curve of an audit, and its one page."""

from pathlib import Path

import dagster as dg
import polars as pl

from assets.graph import Graph
from assets.metadata import grid_metadata, picture_metadata
from assets.step import Made, Step, TableAsset
from tracepipe import audit
from tracepipe.records import FILES, LEAKAGE
from tracepipe.report import write as report
from tracepipe.report.curves import leakage_plot
from tracepipe.report.material import Material, tables_of
from tracepipe.report.plots import png
from tracepipe.report.tables import preview_grid
from tracepipe.study import Study


def add_leakage(graph: Graph) -> None:
    """Add `leakage`."""
    study = graph.study
    graph.add(
        TableAsset(
            name="leakage",
            stage="report",
            description="What each level of exposure shows, and how far the students of what an inverter makes of it "
            "come: from answers alone to the full trace.",
            table=LEAKAGE,
            version=audit.VERSION,
            config={
                "levels": audit.levels_of(study),
                "described": {name: study.policies[name].describe for name in study.policies},
                "tokenizer": study.student.identity()["weights"],
            },
            reads=_reads(study),
            sees_withheld=True,
            make=_leakage,
            describe=lambda frame: {
                "levels": grid_metadata(preview_grid(frame, rows=frame.height)),
                "curve": picture_metadata(png(leakage_plot(_first(frame))), "leakage curve"),
            },
        )
    )


def _reads(study: Study) -> tuple[str, ...]:
    exposed = [f"target_exposures/{name}" for name in study.exposures if name in study.policies]
    fidelity = [f"trace_fidelity/{name}" for name in study.exposures]
    return ("comparison", "row_set", "target_outputs", "target_traces", *exposed, *fidelity)


def _first(leaks: pl.DataFrame) -> pl.DataFrame:
    return leaks.filter(benchmark=leaks["benchmark"][0])


def _leakage(step: Step) -> Made:
    study, used = step.study, step.read("row_set").filter("used").select("prompt_id")
    shown = {"summary": step.read("target_outputs")} | {
        name: step.read(f"target_exposures/{name}") for name in study.exposures if name in study.policies
    }
    texts = {name: table.join(used, on="prompt_id", how="semi")["summary"] for name, table in shown.items()}
    traces = step.read("target_traces").join(used, on="prompt_id", how="semi")["trace"]
    fidelity = {name: step.read(f"trace_fidelity/{name}") for name in study.exposures}
    return Made(audit.leakage(study, step.read("comparison"), texts, traces, fidelity))


def add_audit_page(graph: Graph) -> None:
    """Add `audit`."""

    def make(step: Step) -> Made:
        tables = {name: step.read(name) for name in step.asset.reads}
        material = Material(step.study, step.target, tables, step.history())
        return Made(report.write_audit(material, step.report_folder))

    graph.add(
        TableAsset(
            name="audit",
            stage="report",
            description="One page: what each policy of showing a target's reasoning costs.",
            table=FILES,
            version=report.VERSION,
            config=graph.study.model_dump(mode="json", exclude={"compute"}),
            reads=[name for name in tables_of(graph.study) if name in graph.tables],
            target_config=lambda target: target.model_dump(mode="json"),
            kinds=frozenset({"html"}),
            sees_withheld=True,
            describe=lambda files: {
                kind: dg.MetadataValue.path(path) for kind, path in files.select("format", "path").iter_rows()
            },
            intact=lambda _, files: all(Path(path).exists() for path in files["path"]),
            make=make,
        )
    )
