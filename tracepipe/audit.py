"""How much of a target's reasoning leaks at each level of exposure, and what each policy of showing it costs.

An audit is a study whose exposures are levels: one inverter is trained per level, and students on what it writes. Its
lower end is a student of the answers alone, its upper end one of the real traces.
"""

from typing import Any

import polars as pl

from tracepipe.conditions import MAIN_SELECTION, UNTRAINED_RENDERS
from tracepipe.facts import count_facts
from tracepipe.fidelity import count_tokens
from tracepipe.records import LEAKAGE, from_rows
from tracepipe.roles import Exposure, ModelCompressor
from tracepipe.spec import SpecError
from tracepipe.statistics import interval_of_mean
from tracepipe.study import Study

VERSION = "1"
NONE, FULL = "none", "full_trace"
OWN = "own_summariser"
_SELECTED = f"_{MAIN_SELECTION}"
REFERENCES = {"base": "untrained", "surrogate_trace": "surrogate"}
"""Conditions that learn nothing from the target, as levels beside the curve."""

_WORDS = {
    NONE: "answers alone, and nothing is inverted",
    FULL: "the whole trace",
    "answer": "the answer, and an inverter",
    "summary": "the summary as the target writes it",
    "untrained": "the student before any training",
    "surrogate": "traces of the open surrogate, which need no target",
}
_SCORES = (
    "accuracy",
    "low",
    "high",
    "seed_low",
    "seed_high",
    "truncation_rate",
    "no_answer_rate",
    "loop_rate",
    "training_rows",
)
_PARAPHRASE = (
    "Below is a model's summary of its reasoning. Say the same in other words and in another order, with every "
    "quantity and decision kept. Write the new summary and nothing else.\n\n{summary}"
)


def audited(study: Study, own: dict[str, Any] | None = None) -> Study:
    """Return a study with levels of exposure: the given one where it has its own, else one with the standard ladder.

    Args:
        study: The study.
        own: A policy more, such as a provider's own summariser, as a study would write it.

    Raises:
        SpecError: If the policy cannot be used.
    """
    content = study.model_dump()
    if not any(name in study.policies for name in study.exposures):
        content |= _ladder(study)
    if own is not None:
        content["policies"] = content["policies"] | {OWN: own}
        content["exposures"] = [*content["exposures"], OWN]
        content["conditions"] = [*content["conditions"], f"inverted_{OWN}"]
        content["name"] = f"{content['name']}-own"
    try:
        return Study.model_validate(content)
    except ValueError as error:
        raise SpecError(f"study '{study.name}' cannot be audited: {error}") from None


def _ladder(study: Study) -> dict[str, Any]:
    """The standard levels; a paraphrase only where the compressor is a model, which then writes it."""
    policies: dict[str, Any] = {
        "headers": {"kind": "headers", "describe": "headers alone, as a progress display shows them"},
        "short_25": {"kind": "shorten", "share": 0.25, "describe": "the first quarter of the summary"},
        "short_50": {"kind": "shorten", "share": 0.5, "describe": "the first half of the summary"},
        "withheld": {"kind": "withhold", "describe": "the summary without numbers and formulas"},
        "noised": {"kind": "noise", "share": 0.5, "describe": "the summary with half of its numbers falsified"},
    }
    if isinstance(study.compressor, ModelCompressor):
        asked = study.compressor.model_dump(exclude={"wording"})
        wording = {"template": _PARAPHRASE}
        policies["paraphrased"] = asked | {
            "kind": "model",
            "wording": wording,
            "describe": "the summary in other words",
        }
    exposures = ["answer", "headers", "withheld", "short_25", "short_50", "noised"]
    exposures += [*(["paraphrased"] if "paraphrased" in policies else []), "summary"]
    untrained = [name for name in study.conditions if name == "base" or name in UNTRAINED_RENDERS]
    levels = [f"inverted_{name}" for name in exposures]
    return {
        "name": f"{study.name}-audit",
        "exposures": exposures,
        "policies": policies,
        "conditions": [*untrained, "answer_only", "surrogate_trace", *levels, "oracle"],
        "compositions": {},
        "selection": None,
        "selections": {},
        "budgets": None,
    }


def levels_of(study: Study) -> dict[str, str]:
    """Return level to condition, from nothing to everything, then what stands beside the curve.

    An exposure whose inverted traces the study also selects is a level of its own with them.
    """
    levels = {NONE: "answer_only"}
    for exposure in study.exposures:
        levels |= {exposure: f"inverted_{exposure}", f"{exposure}{_SELECTED}": f"inverted_{exposure}{_SELECTED}"}
    levels |= {FULL: "oracle"} | {level: condition for condition, level in REFERENCES.items()}
    return {level: condition for level, condition in levels.items() if condition in study.conditions}


def leakage(
    study: Study,
    comparison: pl.DataFrame,
    shown: dict[Exposure, pl.Series],
    traces: pl.Series,
    fidelity: dict[Exposure, pl.DataFrame],
) -> pl.DataFrame:
    """Put every level's exposure beside what came of it.

    Args:
        study: The study.
        comparison: COMPARISON.
        shown: Exposure to the texts shown beside the answers, one per common row; none for the answer alone.
        traces: The real traces of these rows; empty for a closed target.
        fidelity: Exposure to TRACE_FIDELITY.

    Returns:
        LEAKAGE, in the order of `levels_of`, benchmark by benchmark.
    """
    sizes = {level: _size(study, level, shown, traces) | _closeness(level, fidelity) for level in levels_of(study)}
    rows = []
    for (benchmark,), cell in comparison.group_by("benchmark", maintain_order=True):
        scores = {row["condition"]: row for row in cell.iter_rows(named=True)}
        ends = _ends(scores.get("answer_only"), scores.get("oracle"))
        for level, condition in levels_of(study).items():
            if condition in scores:
                found = {name: scores[condition][name] for name in _SCORES}
                about = {"benchmark": benchmark, "level": level, "condition": condition}
                recovered = None if ends is None else 100 * (found["accuracy"] - ends[0]) / (ends[1] - ends[0])
                described = {"recovered": recovered, "describe": _describe(study, level)}
                rows.append(about | found | sizes[level] | described)
    return from_rows(rows, LEAKAGE)


def _size(study: Study, level: str, shown: dict[Exposure, pl.Series], traces: pl.Series) -> dict[str, float | None]:
    level = level.removesuffix(_SELECTED)
    if level in (NONE, "answer"):
        return {"tokens": 0.0, "facts": 0.0}
    texts = traces if level == FULL else shown.get(level, pl.Series(dtype=pl.String))
    if not texts.len():
        return {"tokens": None, "facts": None}
    values = texts.fill_null("").to_list()
    tokens = count_tokens(values, study.student.model)
    return {"tokens": sum(tokens) / len(values), "facts": sum(map(count_facts, values)) / len(values)}


def _closeness(level: str, fidelity: dict[Exposure, pl.DataFrame]) -> dict[str, float | None]:
    if level == FULL:
        return dict.fromkeys(("fidelity", "fidelity_low", "fidelity_high"), 100.0)
    scores = fidelity.get(level)
    values = None if scores is None else scores.filter(inverter="trained")["rougeL"]
    if values is None or not values.len():
        return dict.fromkeys(("fidelity", "fidelity_low", "fidelity_high"))
    interval = interval_of_mean(values.to_numpy())
    return {"fidelity": interval.mean, "fidelity_low": interval.low, "fidelity_high": interval.high}


def _ends(lower: dict[str, Any] | None, upper: dict[str, Any] | None) -> tuple[float, float] | None:
    """Return the accuracies of both ends, unless one is missing or their intervals meet: then nothing lies between."""
    if lower is None or upper is None or upper["low"] <= lower["high"]:
        return None
    return lower["accuracy"], upper["accuracy"]


def _describe(study: Study, level: str) -> str:
    exposure = level.removesuffix(_SELECTED)
    if exposure != level:
        return f"{_describe(study, exposure)}; of several draws, the selected one"
    policy = study.policies.get(level)
    if policy is None:
        return _WORDS[level]
    learnt = f"; the inverter learnt from {', '.join(policy.learn)}" if policy.learn else ""
    return (policy.describe or policy.kind) + learnt
