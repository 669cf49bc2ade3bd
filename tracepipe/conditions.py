"""Conditions as data: what a student's training rows are made of.

The paper's conditions and their variants have names that say what they are; a study composes its own from the same
parts. `<exposure>` is one of the study's, `<selection>` is `selected` or one of its further selections:

    base, base_thinking_on|off, answer_only, summary_answer, surrogate_trace, oracle
    inverted_<exposure>[_<selection>][_augmented|_curriculum][_gated][_at_<queries>]
    zero_shot_<exposure>[_augmented|_curriculum][_gated][_at_<queries>]
"""

import re
from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tracepipe.engines.settings import Fraction
from tracepipe.roles import Exposure
from tracepipe.spec import Spec

Condition = str

UNTRAINED_RENDERS: dict[str, bool] = {"base_thinking_on": True, "base_thinking_off": False}
"""The untrained student asked with its template's thinking switched otherwise than the students are."""

UNTRAINED: frozenset[str] = frozenset({"base", *UNTRAINED_RENDERS})
"""The conditions that fine-tune nothing."""

MAIN_SELECTION = "selected"
"""The name of the study block `selection`."""

Source = Literal["answer", "summary", "surrogate", "inverted", "zero_shot", "oracle"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,60}$")]
"""A name that a study gives to a policy, a selection or a condition."""

_AFFIXES = ("selected", "augmented", "curriculum", "gated")


class Part(Spec):
    """Rows of one kind.

    `answer` is x -> y, `summary` x -> b, y, `surrogate` x' -> t', y', `inverted` x -> t_hat, y by the trained inverter,
    `zero_shot` the same by its untrained base (paper section 3).
    """

    source: Source
    exposure: Exposure | None = Field(None, description="of inverted and zero_shot")
    selection: str | None = Field(None, description="of inverted: which selection chose the traces; none: the first")
    share: Fraction = Field(
        1.0, description="of the common rows; parts on the target's side share no row where it fits"
    )

    @model_validator(mode="after")
    def _exposed(self) -> Self:
        if (self.exposure is not None) != (self.source in ("inverted", "zero_shot")):
            raise ValueError(f"exposure: {self.source} " + ("has none" if self.exposure else "needs one"))
        if self.selection is not None and self.source != "inverted":
            raise ValueError(f"selection: nothing is selected for {self.source}")
        return self

    @property
    def of_target(self) -> bool:
        """Whether the rows answer the target's prompts."""
        return self.source != "surrogate"


class Composition(Spec):
    """A condition: parts, and how they are put together."""

    parts: tuple[Part, ...] = Field(min_length=1)
    order: Literal["mixed", "curriculum"] = Field("mixed", description="curriculum: one part after the other")
    gated: tuple[str, ...] = Field((), description="domains whose prompts get the bare answer (paper: domain gating)")
    queries: int | None = Field(None, gt=0, description="only what the first so many queries of the target brought")
    length_of: Condition | None = Field(
        None, description="keeps rows whose traces are as long as those of this condition, which names this one back"
    )
    tolerance: float = Field(0.1, gt=0, lt=1, description="by how much two lengths may differ to count as the same")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        sources = [part.source for part in self.parts]
        if self.length_of and (len(sources) > 1 or sources[0] in ("answer", "summary", "oracle")):
            raise ValueError("length_of: needs one part alone, with traces that are not hidden")
        return self

    @property
    def whole(self) -> bool:
        """Whether it trains on every common row, so that it can be compared with every other such condition."""
        share = sum(part.share for part in self.parts if part.of_target) or self.parts[0].share
        return share > 1 - 1e-9 and self.queries is None and self.length_of is None


class Budgets(Spec):
    """A sweep over query budgets: each condition is trained anew on what the first so many queries brought."""

    queries: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=2)
    conditions: tuple[Condition, ...] = Field(min_length=1)


_FIXED: dict[str, Composition] = {
    "answer_only": Composition(parts=(Part(source="answer"),)),
    "summary_answer": Composition(parts=(Part(source="summary"),)),
    "surrogate_trace": Composition(parts=(Part(source="surrogate"),)),
    "oracle": Composition(parts=(Part(source="oracle"),)),
}
_BUDGET = re.compile(r"(?P<rest>\w+)_at_(?P<queries>[1-9]\d*)")


def at_budget(condition: Condition, queries: int) -> Condition:
    """Return the name of a condition at a query budget."""
    return f"{condition}_at_{queries}"


def budget_of(condition: Condition) -> tuple[Condition, int] | None:
    """Return a condition without its query budget, and the budget; None where its name has none."""
    found = _BUDGET.fullmatch(condition)
    return (found["rest"], int(found["queries"])) if found else None


def clashes(name: str) -> bool:
    """Whether a name would make the names of conditions ambiguous."""
    return name.endswith(tuple(f"_{affix}" for affix in _AFFIXES)) or name in _AFFIXES or budget_of(name) is not None


def read_name(
    name: Condition, exposures: Collection[Exposure], selections: Collection[str], gated: tuple[str, ...]
) -> Composition | None:
    """Return what a name says, or None where it says nothing.

    Args:
        name: Of the condition.
        exposures: The study's.
        selections: The names of its selections.
        gated: The domains its gated conditions answer without a trace.
    """
    if name in _FIXED:
        return _FIXED[name]
    budget = budget_of(name)
    if budget is not None:
        inner = read_name(budget[0], exposures, selections, gated)
        return inner and inner.model_copy(update={"queries": budget[1]})
    if name.endswith("_gated"):
        inner = read_name(name.removesuffix("_gated"), exposures, selections, gated)
        return inner and inner.model_copy(update={"gated": gated})
    surrogate = Part(source="surrogate")
    if name.endswith("_augmented"):
        inner = read_name(name.removesuffix("_augmented"), exposures, selections, gated)
        return inner and inner.model_copy(update={"parts": (*inner.parts, surrogate)})
    if name.endswith("_curriculum"):
        inner = read_name(name.removesuffix("_curriculum"), exposures, selections, gated)
        return inner and inner.model_copy(update={"parts": (surrogate, *inner.parts), "order": "curriculum"})
    part = _inverted(name, exposures, selections)
    return None if part is None else Composition(parts=(part,))


def _inverted(name: str, exposures: Collection[Exposure], selections: Collection[str]) -> Part | None:
    for exposure in exposures:
        if name == f"zero_shot_{exposure}":
            return Part(source="zero_shot", exposure=exposure)
        if name == f"inverted_{exposure}":
            return Part(source="inverted", exposure=exposure)
        for selection in selections:
            if name == f"inverted_{exposure}_{selection}":
                return Part(source="inverted", exposure=exposure, selection=selection)
    return None
