"""What is shown under each of the study's policies: of the surrogate's reasoning, and of the target's."""

import polars as pl

from assets.graph import Graph
from assets.metadata import counts
from assets.step import Made, Step, TableAsset
from tracepipe import exposures
from tracepipe.policies import ModelPolicy, Policy
from tracepipe.records import EXPOSED
from tracepipe.roles import Exposure, Model
from tracepipe.study import Study

_GATES = {
    "one_row_per_text": "every row given has exactly one text shown",
    "traces_stay_hidden": "no text shown is a whole trace",
}


def add_surrogate_exposures(graph: Graph) -> None:
    """Add `surrogate_exposures/<policy>`: the surrogate's reasoning as each policy would show it."""
    for exposure, policy in _policies(graph.study):
        _add_surrogate_exposure(graph, exposure, policy)


def add_target_exposures(graph: Graph) -> None:
    """Add `target_exposures/<policy>`: the target's reasoning as each policy would show it."""
    for exposure, policy in _policies(graph.study):
        _add_target_exposure(graph, exposure, policy)


def _policies(study: Study) -> list[tuple[Exposure, Policy]]:
    return [(name, study.policies[name]) for name in study.exposures if name in study.policies]


def _given(policy: Policy) -> tuple[Model, ...]:
    return (policy,) if isinstance(policy, ModelPolicy) else ()


def _config(study: Study, exposure: Exposure, policy: Policy) -> dict[str, object]:
    return {"policy": policy.identity(), "seed": study.derived_seed("policy", exposure)}


def _add_surrogate_exposure(graph: Graph, exposure: Exposure, policy: Policy) -> None:
    def make(step: Step) -> Made:
        prompts, traces, summaries = (step.read(name) for name in step.asset.reads)
        told = summaries.filter(outcome="ok").select("prompt_id", "summary")
        both = traces.filter(outcome="ok").join(told, on="prompt_id", validate="1:1")
        rows = both.join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1")
        # The surrogate is open, so nothing of its traces has to stay hidden.
        given = rows.select("prompt_id", "prompt", text=policy.origin, whole=pl.lit(None, dtype=pl.String))
        shown = exposures.exposed(step.study, exposure, given, step.bench)
        return Made(shown, exposures.exposure_gates(given, shown))

    graph.add(
        TableAsset(
            name=f"surrogate_exposures/{exposure}",
            stage="surrogate",
            partitioned=False,
            description=f"The surrogate's {policy.origin}s as policy {exposure} would show them: what an inverter of "
            "this exposure learns to read.",
            table=EXPOSED,
            version=exposures.VERSION,
            config=_config(graph.study, exposure, policy),
            given=_given(policy),
            reads=("prompts", "surrogate_traces", "surrogate_summaries"),
            gates=_GATES,
            gpu=isinstance(policy, ModelPolicy),
            make=make,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )


def _add_target_exposure(graph: Graph, exposure: Exposure, policy: Policy) -> None:
    of_trace = policy.origin == "trace"

    def make(step: Step) -> Made:
        outputs, hidden = step.read("target_outputs"), pl.lit(None, dtype=pl.String)
        usable = outputs.filter(pl.col("outcome").is_in(["ok", "empty_summary"]))
        if of_trace:
            traces = step.read("target_traces").select("prompt_id", "trace")
            usable = usable.join(traces, on="prompt_id", validate="1:1").with_columns(whole="trace")
        else:
            usable = usable.filter(pl.col("summary").is_not_null()).with_columns(whole=hidden)
        asked = usable.join(step.read("prompts").select("prompt_id", "prompt"), on="prompt_id", validate="1:1")
        given = asked.select("prompt_id", "prompt", "whole", text=policy.origin)
        shown = exposures.exposed(step.study, exposure, given, step.bench)
        return Made(shown, exposures.exposure_gates(given, shown))

    graph.add(
        TableAsset(
            name=f"target_exposures/{exposure}",
            stage="target",
            description=f"The target's {policy.origin}s as policy {exposure} would show them to anybody.",
            table=EXPOSED,
            version=exposures.VERSION,
            config=_config(graph.study, exposure, policy),
            given=_given(policy),
            reads=("prompts", "target_outputs", *(["target_traces"] * of_trace)),
            target_config=lambda target: [target.exposes, target.open],
            inapplicable=lambda target: exposures.not_exposed(graph.study, exposure, target),
            gates=_GATES,
            # A policy of traces is the provider's own summariser: it reads them, and what it writes is shown.
            sees_withheld=of_trace,
            gpu=isinstance(policy, ModelPolicy),
            make=make,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )
