"""The leakage curve of an audit."""

import polars as pl

from assets.graph import Graph
from assets.metadata import grid_metadata, picture_metadata
from assets.step import Made, Step, TableAsset
from tracepipe import audit
from tracepipe.records import LEAKAGE
from tracepipe.report.curves import leakage_plot
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
