"""Inverted traces, and how close they come to an open target's real ones."""

import polars as pl

from assets.graph import Graph
from assets.metadata import counts, grid_metadata
from assets.pictures import length_picture
from assets.step import Made, Step, TableAsset
from tracepipe import consistency, fidelity, inversion
from tracepipe.exposures import not_exposed
from tracepipe.identity import weights_id
from tracepipe.records import INVERTED_TRACES, TRACE_CONSISTENCY, TRACE_FIDELITY
from tracepipe.report.tables import preview_grid
from tracepipe.roles import Exposure
from tracepipe.study import Study
from tracepipe.target import Target, hides_traces


def add_inversion(graph: Graph) -> None:
    """Add per exposure `inverted_traces`, `trace_consistency`, `zero_shot_traces` and `trace_fidelity`."""
    for exposure in graph.study.exposures:
        _add_inverted_traces(graph, exposure)
        _add_consistency(graph, exposure)
        _add_zero_shot_traces(graph, exposure)
        _add_trace_fidelity(graph, exposure)


def calls_of(study: Study, exposure: Exposure) -> dict[str, object]:
    """How an inverter is asked."""
    return {
        **study.inverter.asking.identity(),
        "wording": {name: wording.model_dump() for name, wording in study.inverter.wording.items()},
        "seed": study.derived_seed("inversion", exposure),
    }


def _shown_tables(study: Study, exposure: Exposure) -> tuple[str, ...]:
    """The tables that say what is shown at an exposure."""
    policy = (f"target_exposures/{exposure}",) if exposure in study.policies else ()
    return ("prompts", "target_outputs", *policy)


def _shown(step: Step, exposure: Exposure) -> pl.DataFrame:
    return inversion.shown_rows(exposure, *(step.read(name) for name in _shown_tables(step.study, exposure)))


def _add_inverted_traces(graph: Graph, exposure: Exposure) -> None:
    study = graph.study
    styled = exposure in study.of_summaries

    def make(step: Step) -> Made:
        shown = _shown(step, exposure)
        inverter = step.read(f"inverter/{exposure}").row(0, named=True)
        checkpoint = inverter["checkpoint_id"]
        folder = str(step.bench.checkpoints.folder(checkpoint))
        inverted = inversion.invert(step.study, exposure, folder, checkpoint, shown, step.bench)
        return Made(inverted, inversion.inversion_gates(shown, inverted))

    graph.add(
        TableAsset(
            name=f"inverted_traces/{exposure}",
            stage="inversion",
            description=f"Traces the inverter writes from what the target shows ({exposure}; paper section 3).",
            table=INVERTED_TRACES,
            version=inversion.VERSION,
            config={"calls": calls_of(study, exposure)},
            # Summaries of another style must not reach the inverter: the style's gate stands before it.
            reads=(*_shown_tables(study, exposure), f"inverter/{exposure}", *(["summary_style"] * styled)),
            inapplicable=lambda target: not_exposed(study, exposure, target),
            gates={"one_row_per_output": "every output shown has exactly one inverted trace"},
            gpu=True,
            make=make,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )


def _add_consistency(graph: Graph, exposure: Exposure) -> None:
    def make(step: Step) -> Made:
        inverted, outputs = (step.read(name) for name in step.asset.reads)
        checked = consistency.trace_consistency(inverted, outputs)
        return Made(checked, consistency.consistency_gates(inverted, checked), consistency.rates(checked))

    graph.add(
        TableAsset(
            name=f"trace_consistency/{exposure}",
            stage="inversion",
            description="Whether each inverted trace argues for the answer it is attached to, loops, contradicts "
            "itself, and keeps what the summary says. The paper filters nothing.",
            table=TRACE_CONSISTENCY,
            version=consistency.VERSION,
            reads=(f"inverted_traces/{exposure}", "target_outputs"),
            inapplicable=lambda target: not_exposed(graph.study, exposure, target),
            gates={"every_trace_checked": "every inverted trace was checked"},
            make=make,
            describe=lambda frame: counts(frame, "rule"),
        )
    )


def _add_zero_shot_traces(graph: Graph, exposure: Exposure) -> None:
    study = graph.study

    def inapplicable(target: Target) -> str | None:
        closed = None if study.uses_zero_shot(exposure) else hides_traces(target)
        return closed or not_exposed(study, exposure, target)

    def make(step: Step) -> Made:
        shown = _shown(step, exposure)
        base = step.study.inverter.model
        inverted = inversion.invert(step.study, exposure, base, weights_id(base), shown, step.bench)
        return Made(inverted, inversion.inversion_gates(shown, inverted))

    graph.add(
        TableAsset(
            name=f"zero_shot_traces/{exposure}",
            stage="inversion",
            description=f"What the inverter's base writes without training ({exposure}): the baseline of fidelity. "
            "Made where the real traces are known to compare with, or a condition trains on it; paper, table 2.",
            table=INVERTED_TRACES,
            version=inversion.VERSION,
            config={"calls": calls_of(study, exposure) | {"weights": study.inverter.identity()["weights"]}},
            given=(study.inverter,),
            reads=_shown_tables(study, exposure),
            target_config=lambda target: target.open,
            inapplicable=inapplicable,
            gates={"one_row_per_output": "every output shown has exactly one trace"},
            gpu=True,
            make=make,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )


def _add_trace_fidelity(graph: Graph, exposure: Exposure) -> None:
    study = graph.study

    def make(step: Step) -> Made:
        """Compare the trained inverter's traces, and its untrained base's, with the real ones."""
        shown = _shown(step, exposure)
        trained, zero_shot, traces = (
            step.read(name) for name in (f"inverted_traces/{exposure}", f"zero_shot_traces/{exposure}", "target_traces")
        )
        tokenizer = step.study.student.model
        words = step.study.fidelity_words
        scores = fidelity.fidelity(trained, traces, "trained", tokenizer, words).vstack(
            fidelity.fidelity(zero_shot, traces, "zero_shot", tokenizer, words)
        )
        return Made(scores, fidelity.fidelity_gates(shown, scores))

    graph.add(
        TableAsset(
            name=f"trace_fidelity/{exposure}",
            stage="inversion",
            description="Inverted traces against the open target's real ones, and the same for the inverter's "
            "base without training (zero-shot); paper, table 2.",
            table=TRACE_FIDELITY,
            version=fidelity.VERSION,
            config={"tokenizer": study.student.identity()["weights"], "words": study.fidelity_words},
            given=(study.student,),
            reads=(
                *_shown_tables(study, exposure),
                "target_traces",
                f"inverted_traces/{exposure}",
                f"zero_shot_traces/{exposure}",
            ),
            inapplicable=lambda target: hides_traces(target) or not_exposed(study, exposure, target),
            gates={
                "every_trace_compared_trained": "every inverted trace was compared",
                "every_trace_compared_zero_shot": "every zero-shot trace was compared",
            },
            sees_withheld=True,
            make=make,
            describe=lambda frame: {
                "means": grid_metadata(preview_grid(fidelity.mean_fidelity(frame))),
                **length_picture(frame),
            },
        )
    )
