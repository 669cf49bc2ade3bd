"""Target files: how a target is reached, what it exposes, what it costs and what its terms allow."""

from datetime import date
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from tracepipe.roles import Exposure, Shown
from tracepipe.spec import Slug, Spec
from tracepipe.store import UNPARTITIONED


class Reasoning(Spec):
    """The reasoning options of a request."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class Price(Spec):
    """USD per million tokens; hidden reasoning tokens are billed as output."""

    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)
    batch: float = Field(0.5, ge=0, le=1, description="a batched request's price, as a share of the live one")


class Limits(Spec):
    """What is asked of the endpoint at once, how fast, and how long it is waited for."""

    concurrency: int = Field(16, gt=0, description="requests in flight; fewer while the endpoint asks for it")
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0, description="input and output together")
    timeout_seconds: float = Field(600, gt=0)
    attempts: int = Field(8, gt=0, description="tries per request before its row becomes api_error")
    patience_seconds: float = Field(120, ge=0, description="a run in which nothing succeeds for so long is stopped")
    batch_rows: int = Field(50_000, gt=0, le=50_000, description="requests in one batch")
    poll_seconds: float = Field(30, gt=0, description="between two looks at a batch")


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
    revision: date | None = Field(None, description="draws every response anew; a dated partition sets it")
    model: str
    api: Literal["responses", "chat"]
    delivery: Literal["live", "batch"] = Field("live", description="batch: the Batch API, within 24 hours")
    base_url: str = Field(pattern=r"^https?://", description="may hold {port} where serve is given")
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="variable that holds the key")
    reasoning: Reasoning | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = Field(None, description="e.g. {enable_thinking: true}")
    chat_reasoning: Literal["trace", "summary"] = Field(
        "trace", description="what a chat message's `reasoning` or `reasoning_content` holds"
    )
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_output_tokens: int = Field(8192, gt=0)
    exposes: Shown
    open: bool
    check_prompt: str = "What is the remainder of 17 times 23 divided by 11? Think it through, then answer."
    probe: int = Field(8, ge=0, description="rows asked and looked at before the rest; 0 asks all at once")
    serve: Serve | None = None
    price: Price = Price()
    limits: Limits = Limits()
    budget_usd: float = Field(gt=0, description="for all that is ever asked of this target, revisions included")
    training_use: Literal["permitted", "evaluation_only", "unknown"] = "unknown"
    decided_by: str | None = None
    decided_on: date | None = None

    @property
    def partition(self) -> str:
        """The partition key: the name, and the date of a revision behind `@`, which no name contains."""
        return self.name if self.revision is None else f"{self.name}@{self.revision.isoformat()}"

    @field_validator("name")
    @classmethod
    def _not_the_studys_own(cls, value: str) -> str:
        if value == UNPARTITIONED:
            raise ValueError(f"'{value}' is where the study's own tables lie; give another name")
        return value

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, value: str) -> str:
        parts = urlsplit(value.replace("{port}", "1"))
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "a user name, password or query has no place here, since addresses are logged; "
                "put the key into a variable and name it in api_key_env"
            )
        return value

    @model_validator(mode="after")
    def _accountable(self) -> Self:
        if self.training_use != "unknown" and not (self.decided_by and self.decided_on):
            raise ValueError(
                f"training_use: {self.training_use} needs decided_by and decided_on: who read the terms, and when"
            )
        if ("{port}" in self.base_url) != (self.serve is not None):
            raise ValueError("base_url: {port} and serve belong together; give both or neither")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.api == "responses" and self.chat_template_kwargs:
            raise ValueError("chat_template_kwargs: the Responses API knows none; use api: chat")
        if self.api == "chat" and self.exposes == "summary" and self.chat_reasoning == "trace":
            raise ValueError(
                "exposes: a chat target shows a summary only where its `reasoning` field holds one; "
                "say chat_reasoning: summary, or exposes: answer"
            )
        if self.delivery == "batch" and self.serve:
            raise ValueError("delivery: a target that is served on this machine has no Batch API; use live")
        return self


def hides_traces(target: Target) -> str | None:
    """Why what needs the target's traces cannot be made, or None where it can."""
    return None if target.open else f"target '{target.name}' is closed: its traces are not known"


def hides(exposure: Exposure, target: Target) -> str | None:
    """Why an exposure cannot be studied on a target, or None where it can: a summary only where it shows one."""
    shown = exposure == "answer" or target.exposes == "summary"
    return None if shown else f"target '{target.name}' shows answers and no summary"
