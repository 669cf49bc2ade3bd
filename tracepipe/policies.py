"""What of a target's reasoning is shown, as data: a policy turns a summary, or a trace, into the text that users see.

A study names policies and uses their names as exposures. The text is what an inverter is given in place of the
target's own summary.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tracepipe.engines.settings import Fraction
from tracepipe.identity import digest
from tracepipe.roles import Exposure, Role, Wording
from tracepipe.spec import Spec, resolve_path
from tracepipe.wording import fields_of

Origin = Literal["summary", "trace"]
"""What a policy makes its text from."""


class _Policy(Spec):
    describe: str = Field("", description="what it stands for, in the audit's words")
    learn: tuple[Exposure, ...] = Field(
        (), description="exposures whose texts the inverter learns from, dealt out evenly; its own where none is named"
    )

    @property
    def origin(self) -> Origin:
        """What the text is made from."""
        return "summary"

    def identity(self) -> dict[str, Any]:
        """Return all that decides the text."""
        return self.model_dump(mode="json", exclude={"describe", "learn"})


class Shorten(_Policy):
    """The first words of the summary, so large a share of them, rounded up."""

    kind: Literal["shorten"]
    share: Fraction


class Headers(_Policy):
    """The summary's headers and nothing below them: lines in bold, and Markdown headings."""

    kind: Literal["headers"]


class Withhold(_Policy):
    """The summary with every number and formula left out."""

    kind: Literal["withhold"]


class Noise(_Policy):
    """The summary with a share of its numbers replaced by others of as many digits."""

    kind: Literal["noise"]
    share: Fraction


class FunctionPolicy(_Policy):
    """A Python function from text to text, as `module:function`, such as a provider's own summariser."""

    kind: Literal["function"]
    function: str = Field(pattern=r"^[\w.]+:\w+$")
    of: Origin = "summary"

    @property
    def origin(self) -> Origin:
        """What the function is given."""
        return self.of


class _Worded(_Policy):
    wording: Wording

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if len(fields_of(self.wording, "wording.template") & {"summary", "trace"}) != 1:
            raise ValueError("wording.template: must hold {summary} or {trace}, and may hold {prompt}")
        return self

    @property
    def origin(self) -> Origin:
        """What the wording shows the writer."""
        return "trace" if "trace" in fields_of(self.wording, "wording.template") else "summary"


class ModelPolicy(_Worded, Role):
    """A prompted local model, such as one that paraphrases, or a provider's own summariser."""

    kind: Literal["model"]

    def identity(self) -> dict[str, Any]:
        """Return all that decides the text."""
        return {**Role.identity(self), "describe": "", "learn": ()}


class EndpointPolicy(_Worded):
    """A summariser behind an address, described by a target file: how it is reached, its price and its budget."""

    kind: Literal["endpoint"]
    file: str

    @field_validator("file")
    @classmethod
    def _resolved(cls, value: str, info: ValidationInfo) -> str:
        resolved = resolve_path(value if value.startswith(("/", ".")) else f"./{value}", info)
        if not Path(resolved).is_file():
            raise ValueError(f"{resolved}: there is no such file; give a target file that describes the summariser")
        return resolved

    def identity(self) -> dict[str, Any]:
        """Return all that decides the text; of the file, what stands in it."""
        return super().identity() | {"file": digest(Path(self.file).read_text(encoding="utf-8"))}


Policy = Annotated[
    Shorten | Headers | Withhold | Noise | FunctionPolicy | ModelPolicy | EndpointPolicy, Field(discriminator="kind")
]
