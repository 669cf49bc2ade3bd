"""What every way of running a local model has in common: calls by request key in, one text per key out."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from tracepipe.chat import begun_block, opening, prompt_tokens
from tracepipe.engines.settings import Engine, RayDataEngine, Sampling, TransformersEngine, VllmServer
from tracepipe.identity import digest, request_key

GENERATED = {
    "id": pl.String(),
    "request_key": pl.String(),
    "text": pl.String(),
    "finish_reason": pl.String(),
    "input_tokens": pl.Int64(),
    "output_tokens": pl.Int64(),
    "prompt_text": pl.String(),
}
"""Columns of what an engine wrote; `prompt_text` is the prompt as the model saw it."""


class EngineError(RuntimeError):
    """An engine that cannot run a model, or gave up on rows; the message names them."""


@dataclass(frozen=True)
class Asking:
    """How a model is asked. `thinking` switches a template's think block on or off; None where it has no switch."""

    engine: Engine
    sampling: Sampling
    thinking: bool | None = None

    def identity(self) -> dict[str, Any]:
        """Return all that decides what a model writes, beside its weights, the prompt and the seed."""
        return {
            "engine": self.engine.identity(),
            "sampling": self.sampling.model_dump(mode="json"),
            "thinking": self.thinking,
        }

    def key(self, weights: str, prompt: str, seed: int) -> str:
        """Return the request key of one prompt."""
        identity = self.identity()
        engine = identity.pop("engine")
        return request_key(
            endpoint=engine.pop("endpoint"),
            base_url=engine.pop("base_url", ""),
            model=weights,
            body={"prompt": prompt, "seed": seed, **engine, **identity},
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One prompt, rendered. `opened` is what the template has begun for the model, such as a think block."""

    key: str
    text: str
    tokens: list[int]
    opened: str = ""

    @property
    def seed(self) -> int:
        """Seed of this call alone: what it draws does not depend on what is drawn beside it."""
        return int(self.key.rpartition("_")[2], 16) % 2**31


@dataclass(frozen=True, slots=True)
class Generated:
    """What came back for one call. `finish_reason` is `stop`, or `length` at the token cap."""

    key: str
    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    prompt_text: str


class LocalEngine(Protocol):
    """A loaded model."""

    tokenizer: Any

    def generate(self, calls: Sequence[Call], sampling: Sampling) -> Iterator[Generated]:
        """Answer every call once, in any order.

        Raises:
            EngineError: If a call cannot be answered.
        """

    def close(self) -> None:
        """Give back the model's memory, or stop its server."""


def open_engine(engine: Engine, model: str, log: Path) -> LocalEngine:
    """Load a model into an engine.

    Args:
        engine: Which engine, and how.
        model: Checkpoint folder or hub id.
        log: Where a server that is started writes its output.
    """
    if isinstance(engine, TransformersEngine):
        from tracepipe.engines.transformers import Transformers

        return Transformers(model, engine)
    if isinstance(engine, VllmServer):
        from tracepipe.engines.vllm_server import Server

        return Server(model, engine, log)
    if isinstance(engine, RayDataEngine):
        from tracepipe.engines.ray_data import RayData

        return RayData(model, engine)
    from tracepipe.engines.vllm import Vllm

    return Vllm(model, engine)


def call_of(tokenizer: Any, key: str, prompt: str, thinking: bool | None = None) -> Call:
    """Render a prompt into a call."""
    begun = opening(tokenizer, prompt, thinking)
    return Call(key, begun, prompt_tokens(tokenizer, prompt, thinking), begun_block(begun))


def ask(
    engine: LocalEngine, prompts: Sequence[str], sampling: Sampling, thinking: bool | None = None
) -> list[Generated]:
    """Ask a loaded model some prompts and return what it wrote, in their order."""
    keys = [f"r_{digest([number, prompt])}" for number, prompt in enumerate(prompts)]
    calls = [call_of(engine.tokenizer, key, prompt, thinking) for key, prompt in zip(keys, prompts, strict=True)]
    made = {one.key: one for one in engine.generate(calls, sampling)}
    return [made[key] for key in keys]


def by_length(calls: Sequence[Call]) -> list[Call]:
    """Return calls sorted by their prompts' length, so that neighbours need little padding."""
    return sorted(calls, key=lambda call: (len(call.tokens), call.key))


def generated_frame(ids: dict[str, list[str]], generated: Sequence[Generated]) -> pl.DataFrame:
    """Return GENERATED rows: one per id that asked, sorted by id.

    Args:
        ids: Request key to the ids that ask it; the same prompt may stand under several.
        generated: One per request key.
    """
    rows = [{"id": one, "request_key": made.key, **asdict(made)} for made in generated for one in ids[made.key]]
    return pl.DataFrame(rows, schema=GENERATED).sort("id")
