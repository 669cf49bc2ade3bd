"""What is shown under each of the study's policies: of the surrogate's reasoning, and of the target's."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from assets.graph import Graph
from assets.metadata import counts
from assets.step import Made, Step, TableAsset
from tracepipe import exposures
from tracepipe.policies import ModelPolicy, Policy
from tracepipe.records import EXPOSED
from tracepipe.roles import Exposure
from tracepipe.study import Study

_NOTHING = pl.lit(None, dtype=pl.String)


def add_surrogate_exposures(graph: Graph) -> None:
    """Add `surrogate_exposures/<policy>`: the surrogate's reasoning as each policy would show it."""
    for exposure, policy in _policies(graph.study):
        _add(graph, exposure, policy, _surrogate_side(exposure, policy), _surrogate_texts)


def add_target_exposures(graph: Graph) -> None:
    """Add `target_exposures/<policy>`: the target's reasoning as each policy would show it."""
    for exposure, policy in _policies(graph.study):
        _add(graph, exposure, policy, _target_side(graph.study, exposure, policy), _target_texts)


def _policies(study: Study) -> list[tuple[Exposure, Policy]]:
    return [(name, study.policies[name]) for name in study.exposures if name in study.policies]


def _surrogate_side(exposure: Exposure, policy: Policy) -> dict[str, Any]:
    return {
        "name": f"surrogate_exposures/{exposure}",
        "stage": "surrogate",
        "partitioned": False,
        "description": f"The surrogate's {policy.origin}s as policy {exposure} would show them: what an inverter of "
        "this exposure learns to read.",
        "reads": ("prompts", "surrogate_traces", "surrogate_summaries"),
    }


def _surrogate_texts(step: Step, policy: Policy) -> pl.DataFrame:
    """The surrogate is open, so nothing of its traces has to stay hidden."""
    told = step.read("surrogate_summaries").filter(outcome="ok").select("prompt_id", "summary")
    rows = step.read("surrogate_traces").filter(outcome="ok").join(told, on="prompt_id", validate="1:1")
    return rows.select("prompt_id", text=policy.origin, whole=_NOTHING)


def _target_side(study: Study, exposure: Exposure, policy: Policy) -> dict[str, Any]:
    of_trace = policy.origin == "trace"
    return {
        "name": f"target_exposures/{exposure}",
        "stage": "target",
        "description": f"The target's {policy.origin}s as policy {exposure} would show them to anybody.",
        "reads": ("prompts", "target_outputs", *(["target_traces"] * of_trace)),
        "target_config": lambda target: [target.exposes, target.open],
        "inapplicable": lambda target: exposures.not_exposed(study, exposure, target),
        # A policy of traces is the provider's own summariser: it reads them, and what it writes is shown.
        "sees_withheld": of_trace,
    }


def _target_texts(step: Step, policy: Policy) -> pl.DataFrame:
    usable = step.read("target_outputs").filter(pl.col("outcome").is_in(["ok", "empty_summary"]))
    if policy.origin == "summary":
        shown = usable.filter(pl.col("summary").is_not_null())
        return shown.select("prompt_id", text="summary", whole=_NOTHING)
    traces = step.read("target_traces").join(usable, on="prompt_id", how="semi")
    return traces.select("prompt_id", text="trace", whole="trace")


def _add(
    graph: Graph,
    exposure: Exposure,
    policy: Policy,
    side: Mapping[str, Any],
    texts: Callable[[Step, Policy], pl.DataFrame],
) -> None:
    """Add one table of what is shown; `texts` returns `prompt_id, text, whole` of its side."""
    study = graph.study

    def make(step: Step) -> Made:
        prompts = step.read("prompts").select("prompt_id", "prompt")
        given = texts(step, policy).join(prompts, on="prompt_id", validate="1:1", maintain_order="left")
        shown = exposures.exposed(step.study, exposure, given, step.bench)
        return Made(shown, exposures.exposure_gates(given, shown))

    graph.add(
        TableAsset(
            table=EXPOSED,
            version=exposures.VERSION,
            config={"policy": policy.identity(), "seed": study.derived_seed("policy", exposure)},
            given=(policy,) if isinstance(policy, ModelPolicy) else (),
            gates={
                "one_row_per_text": "every row given has exactly one text shown",
                "traces_stay_hidden": "no text shown is a whole trace",
            },
            gpu=isinstance(policy, ModelPolicy),
            make=make,
            describe=lambda frame: counts(frame, "outcome"),
            **side,
        )
    )
