"""What a study says of selection: how often a trace is drawn, which rules reject a draw, and which survivor is taken.

No rule sees anything that the target does not show: draws are held against the answer they are attached to, against
each other, and against models that anybody may run.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from tracepipe.engines.settings import Fraction
from tracepipe.spec import Spec

Rule = Literal["terminates", "no_loop", "agrees", "no_quote", "plausible"]
Choose = Literal["first", "likelihood", "length", "consistency", "plausibility"]
"""Of the survivors: the first; the one the inverter finds likeliest, per token; the one closest to the length that the
surrogate's rows predict; the one most like the row's other draws; the one the surrogate finds likeliest as its own
writing, per token, without the answer."""

RULES: dict[Rule, str] = {
    "terminates": "the draw ended before the token cap and holds one trace",
    "no_loop": "it does not end in a repetition",
    "agrees": "it arrives at the answer it is attached to",
    "no_quote": "it does not speak of an answer that it was given",
    "plausible": "among the rows' best, the surrogate finds it likely without having been told the answer",
}
"""Rule to what a draw must hold to; they are applied in this order."""


class Choice(Spec):
    """Which draws survive, and which of them is taken; a rule that does not stand here is off."""

    rules: tuple[Rule, ...] = ("terminates", "no_loop", "agrees", "no_quote")
    choose: Choose = "first"
    plausible_share: Fraction = Field(
        0.5, description="rule plausible: of the rows with a survivor, the share kept, by their likeliest one"
    )

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if "terminates" not in self.rules:
            raise ValueError("rules: terminates cannot be switched off: a trace that was cut off is nothing to learn")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """The measures that cost a model's pass over the draws: `likelihood`, `plausibility`."""
        plausible = {"plausibility"} if "plausible" in self.rules else set[str]()
        return frozenset(plausible | ({self.choose} & {"likelihood", "plausibility"}))


class Selection(Choice):
    """The study block `selection`: the budget of draws, and the selection named `selected`."""

    draws: int = Field(4, gt=0, description="draws per row")
    most_draws: int = Field(8, gt=0, description="rows without a survivor are drawn again at other seeds, up to here")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most_draws < self.draws:
            raise ValueError(f"most_draws {self.most_draws} is less than draws {self.draws}")
        return self
