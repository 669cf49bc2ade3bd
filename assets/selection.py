"""Several draws per inverted trace, and the choices that the study makes among them."""

import polars as pl

from assets.graph import Graph
from assets.inversion import calls_of
from assets.metadata import counts, grid_metadata
from assets.step import Made, Step, TableAsset
from tracepipe import inversion
from tracepipe.exposures import not_exposed
from tracepipe.records import SELECTED_TRACES, TRACE_DRAWS
from tracepipe.report.tables import preview_grid
from tracepipe.roles import Exposure
from tracepipe.selection import choose, draws


def add_selection(graph: Graph) -> None:
    """Add `trace_draws/<exposure>` and `selected_traces/<exposure>` where a condition uses them."""
    for exposure in graph.study.exposures:
        if graph.study.selections_at(exposure):
            _add_draws(graph, exposure)
            _add_selected(graph, exposure)


def _add_draws(graph: Graph, exposure: Exposure) -> None:
    study = graph.study
    selection, choices = study.selection, study.selections_at(exposure)
    if selection is None:
        raise ValueError(f"study '{study.name}' has no block selection")
    exposed = [f"target_exposures/{exposure}"] * (exposure in study.policies)

    def make(step: Step) -> Made:
        shown = inversion.shown_rows(
            exposure, step.read("prompts"), step.read("target_outputs"), *(step.read(name) for name in exposed)
        )
        first, examples = step.read(f"inverted_traces/{exposure}"), step.read("inverter_examples")
        checkpoint = step.read(f"inverter/{exposure}").row(0, named=True)["checkpoint_id"]
        folder = str(step.bench.checkpoints.folder(checkpoint))
        drawn = draws.draw_traces(step.study, exposure, folder, checkpoint, shown, first, examples, step.bench)
        return Made(drawn, draws.draw_gates(shown, drawn))

    graph.add(
        TableAsset(
            name=f"trace_draws/{exposure}",
            stage="inversion",
            description=f"Several traces per row ({exposure}), each held against what anybody can see: the answer "
            "shown, the row's other draws, the inverter and the surrogate. No hidden trace reaches this step.",
            table=TRACE_DRAWS,
            version=draws.VERSION,
            config={
                "draws": [selection.draws, selection.most_draws, selection.rules],
                "measures": sorted(frozenset[str]().union(*(choice.needs for choice in choices.values()))),
                "calls": calls_of(study, exposure),
                "tokenizer": study.inverter.identity()["weights"],
                "surrogate": [study.surrogate.identity()["weights"], study.surrogate.wording.model_dump()],
            },
            given=(study.inverter, study.surrogate),
            reads=(
                "prompts",
                "target_outputs",
                *exposed,
                "inverter_examples",
                f"inverter/{exposure}",
                f"inverted_traces/{exposure}",
            ),
            inapplicable=lambda target: not_exposed(study, exposure, target),
            gates={"every_row_drawn": "every row shown has a first draw"},
            gpu=True,
            make=make,
            describe=lambda frame: {
                **counts(frame, "outcome"),
                "rejected": grid_metadata(preview_grid(choose.rejected(frame))),
            },
        )
    )


def _add_selected(graph: Graph, exposure: Exposure) -> None:
    study = graph.study
    choices = study.selections_at(exposure)

    def make(step: Step) -> Made:
        drawn = step.read(f"trace_draws/{exposure}")
        selected = choose.selected_traces(drawn, choices)
        kept = selected.group_by("selection").agg(pl.col("request_key").count()).rows()
        gates = choose.selection_gates(drawn, choices, selected)
        return Made(selected, gates, {f"kept by {name}": count for name, count in sorted(kept)})

    graph.add(
        TableAsset(
            name=f"selected_traces/{exposure}",
            stage="inversion",
            description=f"The draw that each selection takes ({exposure}), or the rule that left none.",
            table=SELECTED_TRACES,
            version=choose.VERSION,
            config={name: choice.model_dump(mode="json") for name, choice in choices.items()},
            reads=(f"trace_draws/{exposure}",),
            inapplicable=lambda target: not_exposed(study, exposure, target),
            gates={"one_verdict_per_row": "every row has a trace, or the rule that took it, once per selection"},
            make=make,
            describe=lambda frame: counts(frame, "lost_to"),
        )
    )
