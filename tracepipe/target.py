"""Target files: how a target is reached, what it exposes, what it costs and what its terms allow."""

from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from tracepipe.spec import Slug, Spec, SpecError, load_spec
from tracepipe.study import Exposure


class Reasoning(Spec):
    """The reasoning options of a request."""

    effort: Literal["minimal", "low", "medium", "high"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class Price(Spec):
    """USD per million tokens; hidden reasoning tokens are billed as output."""

    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)


class Limits(Spec):
    """What is asked of the endpoint at once, and how long an answer may take."""

    concurrency: int = Field(16, gt=0)
    timeout_seconds: float = Field(600, gt=0)
    attempts: int = Field(6, gt=0, description="tries per request before its row becomes api_error")


class Serve(Spec):
    """A command that serves an open target on this machine while it is collected.

    `{python}`, `{port}`, `{folder}` (of the target file) and `{trace_log}` are filled in. A server
    that appends `{"response_id", "trace"}` lines to the trace log gives an open target its hidden
    traces without ever sending them.
    """

    command: tuple[str, ...] = Field(min_length=1)
    health: str = "/health"
    ready_seconds: float = Field(60, gt=0)


class Target(Spec):
    """One black box: everything TracePipe needs to know of it."""

    name: Slug
    model: str
    api: Literal["responses", "chat"]
    base_url: str = Field(pattern=r"^https?://", description="may hold {port} where serve is given")
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the key")
    reasoning: Reasoning | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_output_tokens: int = Field(8192, gt=0)
    exposes: Exposure
    open: bool
    check_prompt: str = "What is the remainder of 17 times 23 divided by 11? Think it through, then answer."
    serve: Serve | None = None
    price: Price = Price()
    limits: Limits = Limits()
    budget_usd: float = Field(gt=0)
    training_use: Literal["permitted", "evaluation_only", "unknown"] = "unknown"
    decided_by: str | None = None
    decided_on: date | None = None

    @model_validator(mode="after")
    def _accountable(self) -> Self:
        if self.training_use != "unknown" and not (self.decided_by and self.decided_on):
            raise ValueError(
                f"training_use: {self.training_use} needs decided_by and decided_on: who read the terms, and when"
            )
        if ("{port}" in self.base_url) != (self.serve is not None):
            raise ValueError("base_url: {port} and serve belong together; give both or neither")
        return self


def load_target(path: Path) -> Target:
    """Read a target file.

    Raises:
        SpecError: See `load_spec`.
    """
    return load_spec(Target, path)


def load_targets(folder: Path) -> dict[str, Path]:
    """Find the target files of a folder.

    Returns:
        Name to path, sorted by name.

    Raises:
        SpecError: If a file does not fit, or two files claim one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        name = load_target(path).name
        if name in found:
            raise SpecError(f"{path}: name: '{name}' is taken by {found[name]}; a target's name is its partition key")
        found[name] = path
    return dict(sorted(found.items()))


def find_target(folder: Path, name: str) -> tuple[Target, Path]:
    """Return the target of that name and its file.

    Raises:
        SpecError: If there is none; names those there are.
    """
    targets = load_targets(folder)
    if name not in targets:
        raise SpecError(f"{folder}: no target is named '{name}'; there are: {', '.join(targets) or 'none'}")
    return load_target(targets[name]), targets[name]


def hides_traces(target: Target) -> str | None:
    """Why what needs the target's traces cannot be made, or None where it can."""
    return None if target.open else f"target '{target.name}' is closed: its traces are not known"


def hides(exposure: Exposure, target: Target) -> str | None:
    """Why an exposure cannot be studied on a target, or None where it can: a summary only where it shows one."""
    shown = exposure == "answer" or target.exposes == "summary"
    return None if shown else f"target '{target.name}' shows answers and no summary"
