"""A fake provider, a target that points to it, and the files of one collection."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.provider import Provider, serving
from tests.provider.replies import INPUT_PRICE, OUTPUT_PRICE
from tracepipe.books import Books
from tracepipe.collection import collect
from tracepipe.identity import prompt_id
from tracepipe.journal import Journal, Sink
from tracepipe.outputs import read_outputs
from tracepipe.target import Target

VARIABLE = "TRACEPIPE_TEST_KEY"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with serving() as running:
        monkeypatch.setenv(VARIABLE, running.key)
        yield running


def target_of(provider: Provider, *, limits: dict | None = None, **changes: object) -> Target:
    content = {
        "name": "fake",
        "model": "m",
        "api": "responses",
        "base_url": provider.url,
        "api_key_env": VARIABLE,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "exposes": "summary",
        "open": False,
        "price": {"input": INPUT_PRICE, "output": OUTPUT_PRICE},
        "limits": {"concurrency": 4, "attempts": 3, "poll_seconds": 0.02} | (limits or {}),
        "max_output_tokens": 200,
        "probe": 0,
        "budget_usd": 1,
    }
    return Target.model_validate(content | changes)


class Collecting:
    """The files of one collection, and the run of it."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self.trace_log = Journal(folder / "traces.jsonl")
        self.sink = Sink(self.trace_log)

    def run(self, target: Target, *prompts: str) -> pl.DataFrame:
        """Collect, and read what there is."""
        frame = self.prompts(*prompts)
        collect(frame, target, base_url=target.base_url, journal=self.journal, trace_sink=self.sink)
        return read_outputs(frame, target, self.journal)

    @property
    def books(self) -> Books:
        return Books.of(self.journal)

    @staticmethod
    def prompts(*prompts: str) -> pl.DataFrame:
        return pl.DataFrame({"prompt_id": [prompt_id(prompt) for prompt in prompts], "prompt": prompts})


@pytest.fixture
def collecting(tmp_path: Path) -> Collecting:
    return Collecting(tmp_path)
