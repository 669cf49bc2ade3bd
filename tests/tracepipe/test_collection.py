"""Collection against a real server: every prompt one row, every response on disk, nothing hidden beside it."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.provider import TRACE, Provider, serving
from tracepipe.collection import CollectionStopped, collect, output_gates, read_outputs, read_traces, trace_gates
from tracepipe.engines.openai import key_of
from tracepipe.identity import prompt_id
from tracepipe.journal import Journal, Sink
from tracepipe.spec import SpecError
from tracepipe.target import Target

VARIABLE = "TRACEPIPE_TEST_KEY"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with serving() as running:
        monkeypatch.setenv(VARIABLE, running.key)
        yield running


def target_of(provider: Provider, **changes: object) -> Target:
    content = {
        "name": "fake",
        "model": "m",
        "api": "responses",
        "base_url": provider.url,
        "api_key_env": VARIABLE,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "exposes": "summary",
        "open": False,
        "price": {"input": 1.0, "output": 10.0},
        "limits": {"concurrency": 4, "attempts": 3},
        "max_output_tokens": 200,
        "budget_usd": 1,
    }
    return Target.model_validate(content | changes)


class Collecting:
    """The files of one collection, and the run of it."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self.trace_log = Journal(folder / "traces.jsonl")

    def run(self, target: Target, *prompts: str) -> pl.DataFrame:
        frame = self.prompts(*prompts)
        collect(frame, target, base_url=target.base_url, journal=self.journal, trace_sink=Sink(self.trace_log))
        return read_outputs(frame, target, self.journal)

    @staticmethod
    def prompts(*prompts: str) -> pl.DataFrame:
        return pl.DataFrame({"prompt_id": [prompt_id(prompt) for prompt in prompts], "prompt": prompts})


@pytest.fixture
def collecting(tmp_path: Path) -> Collecting:
    return Collecting(tmp_path)


def test_each_prompt_ends_in_one_row_with_its_outcome(provider: Provider, collecting: Collecting):
    prompts = ["plain", "flaky", "down", "cut", "refuse", "blank", "no summary", "odd"]
    outputs = collecting.run(target_of(provider), *prompts)
    assert outputs["prompt_id"].to_list() == [prompt_id(prompt) for prompt in prompts]
    assert outputs["outcome"].to_list() == [
        "ok",
        "ok",
        "api_error",
        "truncated",
        "refused",
        "empty_answer",
        "empty_summary",
        "parse_error",
    ]
    assert outputs.filter(pl.col("outcome") != "ok")["reason"].null_count() == 0
    assert provider.asked == dict.fromkeys(prompts, 1) | {"flaky": 3, "down": 3}


def test_all_summary_parts_are_joined_and_tokens_priced(provider: Provider, collecting: Collecting):
    row = collecting.run(target_of(provider), "plain").row(0, named=True)
    assert row["summary"] == "first part\n\nsecond part"
    assert row["answer"] == "answer to plain"
    assert (row["reasoning_tokens"], row["model"]) == (80, "m-2026")
    assert row["cost_usd"] == pytest.approx((10 * 1.0 + 100 * 10.0) / 1e6)


def test_what_was_answered_is_never_asked_again(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    first = collecting.run(target, "a", "b")
    again = collecting.run(target, "b", "a", "c")
    assert provider.asked == {"a": 1, "b": 1, "c": 1}
    assert (
        again.filter(pl.col("prompt_id").is_in(first["prompt_id"].to_list()))
        .sort("prompt_id")
        .equals(first.sort("prompt_id"))
    )


def test_what_only_failed_is_asked_again_by_the_next_run(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    assert collecting.run(target, "down", "a")["outcome"].to_list() == ["api_error", "ok"]
    provider.down = False
    assert collecting.run(target, "down", "a")["outcome"].to_list() == ["ok", "ok"]
    assert provider.asked == {"down": 4, "a": 1}


def test_the_request_carries_reasoning_options_and_the_key_covers_them(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    collecting.run(target, "plain")
    assert provider.bodies[0]["reasoning"] == {"effort": "medium", "summary": "auto"}
    low = target_of(provider, reasoning={"effort": "low"})
    assert key_of(low, "plain") != key_of(target, "plain")
    slower = target_of(provider, limits={"concurrency": 1})
    assert key_of(slower, "plain") == key_of(target, "plain")


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_trace_sent_along_by_an_open_target_goes_to_the_trace_log_alone(
    provider: Provider, collecting: Collecting, api: str
):
    target = target_of(provider, api=api, open=True, exposes="answer")
    outputs = collecting.run(target, "trace this", "plain")
    assert TRACE not in collecting.journal.path.read_text()
    assert TRACE not in outputs.write_json()
    traces = read_traces(outputs, collecting.trace_log)
    assert traces.filter(prompt_id=prompt_id("trace this"))["trace"].to_list() == [TRACE]
    failed = {gate.name: gate.rows for gate in trace_gates(outputs, traces) if not gate.passed}
    assert failed == {"every_answer_has_its_trace": (prompt_id("plain"),)}
    leaking = outputs.with_columns(answer=pl.lit(f"because {TRACE}"))
    failed = {gate.name: gate.rows for gate in trace_gates(leaking, traces) if not gate.passed}
    assert failed["traces_stay_hidden"] == (prompt_id("trace this"),)


def test_a_closed_target_that_sends_its_trace_stops_the_collection(provider: Provider, collecting: Collecting):
    with pytest.raises(CollectionStopped, match="declare `open: true`"):
        collecting.run(target_of(provider), "trace this")


def test_a_refused_key_stops_at_once_and_is_named_by_its_variable_only(
    provider: Provider, collecting: Collecting, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, "sk-planted-secret")
    with pytest.raises(CollectionStopped, match="check api_key_env") as stop:
        collecting.run(target_of(provider), "a", "b", "c", "d", "e", "f")
    assert provider.asked.total() <= 4
    assert "sk-planted-secret" not in str(stop.value)
    assert not collecting.journal.path.exists()
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SpecError, match=f"variable {VARIABLE} is not set"):
        collecting.run(target_of(provider), "a")


def test_no_request_is_sent_whose_worst_case_exceeds_the_budget(provider: Provider, collecting: Collecting):
    # Worst case of one request: 65 input tokens and 200 output tokens, 0.002065 USD; it costs 0.00101 USD.
    target = target_of(provider, budget_usd=0.0045, limits={"concurrency": 2})
    with pytest.raises(CollectionStopped, match=r"budget_usd 0\.0045; 3 responses are collected and kept"):
        collecting.run(target, *"abcdefgh")
    assert provider.asked.total() == 3


def test_the_gates_count_rows_and_notice_a_collection_that_failed(provider: Provider, collecting: Collecting):
    prompts = ["down 1", "down 2", "plain"]
    outputs = collecting.run(target_of(provider), *prompts)
    verdicts = {gate.name: gate for gate in output_gates(collecting.prompts(*prompts), outputs)}
    assert verdicts["one_row_per_prompt"].passed
    assert verdicts["no_trace_column"].passed
    assert set(verdicts["most_rows_usable"].rows) == {prompt_id("down 1"), prompt_id("down 2")}
