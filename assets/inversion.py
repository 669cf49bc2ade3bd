"""Inverted traces, and how close they come to an open target's real ones."""

from assets.graph import Graph
from assets.metadata import counts, grid_metadata
from assets.pictures import length_picture
from assets.step import Made, Step, TableAsset
from tracepipe import consistency, fidelity, inversion
from tracepipe.identity import weights_id
from tracepipe.records import INVERTED_TRACES, TRACE_CONSISTENCY, TRACE_FIDELITY
from tracepipe.report.tables import preview_grid
from tracepipe.roles import Exposure
from tracepipe.study import Study
from tracepipe.target import hides, hides_traces


def add_inversion(graph: Graph) -> None:
    """Add per exposure `inverted_traces`, `trace_consistency`, `zero_shot_traces` and `trace_fidelity`."""
    for exposure in graph.study.exposures:
        _add_inverted_traces(graph, exposure)
        _add_consistency(graph, exposure)
        _add_zero_shot_traces(graph, exposure)
        _add_trace_fidelity(graph, exposure)


def _calls(study: Study, exposure: Exposure) -> dict[str, object]:
    """How an inverter is asked."""
    return {
        **study.inverter.asking.identity(),
        "wording": {name: wording.model_dump() for name, wording in study.inverter.wording.items()},
        "seed": study.derived_seed("inversion", exposure),
    }


def _add_inverted_traces(graph: Graph, exposure: Exposure) -> None:
    study = graph.study

    def make(step: Step) -> Made:
        shown = inversion.shown_rows(exposure, step.read("prompts"), step.read("target_outputs"))
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
            config={"calls": _calls(study, exposure)},
            # Summaries of another style must not reach the inverter: the style's gate stands before it.
            reads=("prompts", "target_outputs", f"inverter/{exposure}", *(["summary_style"] * (exposure == "summary"))),
            inapplicable=lambda target: hides(exposure, target),
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
            inapplicable=lambda target: hides(exposure, target),
            gates={"every_trace_checked": "every inverted trace was checked"},
            make=make,
            describe=lambda frame: counts(frame, "rule"),
        )
    )


def _add_zero_shot_traces(graph: Graph, exposure: Exposure) -> None:
    study = graph.study

    def make(step: Step) -> Made:
        shown = inversion.shown_rows(exposure, step.read("prompts"), step.read("target_outputs"))
        base = step.study.inverter.model
        inverted = inversion.invert(step.study, exposure, base, weights_id(base), shown, step.bench)
        return Made(inverted, inversion.inversion_gates(shown, inverted))

    graph.add(
        TableAsset(
            name=f"zero_shot_traces/{exposure}",
            stage="inversion",
            description=f"What the inverter's base writes without training ({exposure}): the baseline of fidelity. "
            "Made only where the real traces are known to compare with; paper, table 2.",
            table=INVERTED_TRACES,
            version=inversion.VERSION,
            config={"calls": _calls(study, exposure) | {"weights": study.inverter.identity()["weights"]}},
            given=(study.inverter,),
            reads=("prompts", "target_outputs"),
            target_config=lambda target: target.open,
            inapplicable=lambda target: hides_traces(target) or hides(exposure, target),
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
        shown = inversion.shown_rows(exposure, step.read("prompts"), step.read("target_outputs"))
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
                "prompts",
                "target_outputs",
                "target_traces",
                f"inverted_traces/{exposure}",
                f"zero_shot_traces/{exposure}",
            ),
            inapplicable=lambda target: hides_traces(target) or hides(exposure, target),
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
