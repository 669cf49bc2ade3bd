"""Collection against a real server: every prompt one row, every response on disk, nothing hidden beside it."""

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from tests.provider import TRACE, Provider, bill
from tests.tracepipe.collection.conftest import VARIABLE, Collecting, target_of
from tracepipe.collection import CollectionStopped, check, reopen
from tracepipe.engines.base import request_of
from tracepipe.identity import prompt_id
from tracepipe.journal import Journal
from tracepipe.outputs import dead_letters, output_gates, read_attempts, read_outputs, read_traces, trace_gates
from tracepipe.spec import SpecError


def test_each_prompt_ends_in_one_row_with_its_outcome(provider: Provider, collecting: Collecting):
    expected = {
        "plain": "ok",
        "flaky": "ok",
        "drop": "ok",
        "down": "api_error",
        "flagged": "refused",
        "cut": "truncated",
        "refuse": "refused",
        "blank": "empty_answer",
        "no summary": "empty_summary",
        "odd": "parse_error",
        "garbage": "parse_error",
    }
    outputs = collecting.run(target_of(provider), *expected)
    assert outputs["prompt_id"].to_list() == [prompt_id(prompt) for prompt in expected]
    assert dict(zip(expected, outputs["outcome"], strict=True)) == expected
    assert outputs.filter(pl.col("outcome") != "ok")["reason"].null_count() == 0
    assert provider.asked == dict.fromkeys(expected, 1) | {"flaky": 3, "down": 3, "drop": 2}


def test_an_answer_without_summary_stays_usable_for_the_answer_exposure(provider: Provider, collecting: Collecting):
    shown = collecting.run(target_of(provider), "no summary")
    assert shown["outcome"].to_list() == ["empty_summary"]
    assert shown["answer"].to_list() == ["answer to no summary"]
    answers = collecting.run(target_of(provider, exposes="answer"), "no summary")
    assert answers["outcome"].to_list() == ["ok"]


def test_all_summary_parts_are_joined_and_tokens_priced(provider: Provider, collecting: Collecting):
    row = collecting.run(target_of(provider), "even").row(0, named=True)
    assert row["summary"] == "first part\n\nsecond part"
    assert row["answer"] == "answer to even"
    assert (row["reasoning_tokens"], row["model"]) == (50, "m-2026")
    assert row["cost_usd"] == pytest.approx((10 * 1.0 + 100 * 10.0) / 1e6)


@pytest.mark.parametrize("prompt", ["break", "half", "null"])
def test_text_that_lines_and_tables_stumble_over_arrives(provider: Provider, collecting: Collecting, prompt: str):
    row = collecting.run(target_of(provider), prompt, "plain").row(0, named=True)
    expected = {"break": "a\u2028b\u0085c\u000bd", "half": "\ufffd alone", "null": "a\u0000b"}
    assert row["answer"] == f"answer to {prompt}{expected[prompt]}"


def test_what_was_answered_is_never_asked_again(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    first = collecting.run(target, "a", "b")
    again = collecting.run(target, "b", "a", "c")
    assert provider.asked == {"a": 1, "b": 1, "c": 1}
    kept = again.filter(pl.col("prompt_id").is_in(first["prompt_id"].to_list()))
    assert kept.sort("prompt_id").equals(first.sort("prompt_id"))


def test_what_was_given_up_is_asked_again_only_when_reopened(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    assert collecting.run(target, "down", "a")["outcome"].to_list() == ["api_error", "ok"]
    provider.down = False
    assert collecting.run(target, "down", "a")["outcome"].to_list() == ["api_error", "ok"]
    reopen(target, collecting.journal, collecting.sink, [request_of(target, "down").key])
    assert collecting.run(target, "down", "a")["outcome"].to_list() == ["ok", "ok"]
    assert provider.asked == {"down": 4, "a": 1}


def test_what_was_paid_is_kept_when_buying_it_again_fails(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    before = collecting.run(target, "cut")
    reopen(target, collecting.journal, collecting.sink, [request_of(target, "cut").key])
    assert read_outputs(collecting.prompts("cut"), target, collecting.journal).equals(before)
    provider.fatal = "no quota"
    with pytest.raises(CollectionStopped, match="insufficient_quota"):
        collecting.run(target, "cut")
    assert read_outputs(collecting.prompts("cut"), target, collecting.journal).equals(before)


def test_the_key_of_a_request_covers_what_is_asked_and_not_how(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    collecting.run(target, "plain")
    assert provider.bodies[0]["reasoning"] == {"effort": "medium", "summary": "auto"}
    key = request_of(target, "plain").key
    same = [{"limits": {"concurrency": 1}}, {"delivery": "batch"}, {"price": {"input": 9}}, {"budget_usd": 9}]
    other = [{"reasoning": {"effort": "low"}}, {"revision": "2026-11-23"}, {"model": "n"}, {"max_output_tokens": 9}]
    assert {request_of(target_of(provider, **change), "plain").key for change in same} == {key}
    assert key not in {request_of(target_of(provider, **change), "plain").key for change in other}


def test_chat_template_switches_travel_in_the_body_and_enter_the_key(provider: Provider, collecting: Collecting):
    switches = {"enable_thinking": True, "depth": 2}
    target = target_of(provider, api="chat", exposes="answer", chat_template_kwargs=switches)
    assert collecting.run(target, "plain")["answer"].to_list() == ["answer to plain"]
    assert provider.bodies[0]["chat_template_kwargs"] == switches
    assert provider.bodies[0]["reasoning_effort"] == "medium"
    without = target.model_copy(update={"chat_template_kwargs": None})
    assert request_of(without, "plain").key != request_of(target, "plain").key


@pytest.mark.parametrize("prompt", ["trace", "trace!"])
def test_a_chat_provider_may_show_a_summary_where_others_send_the_trace(
    provider: Provider, collecting: Collecting, prompt: str
):
    target = target_of(provider, api="chat", chat_reasoning="summary")
    assert collecting.run(target, prompt)["summary"].to_list() == [TRACE]
    assert not collecting.trace_log.path.exists()


@pytest.mark.parametrize(("api", "prompt"), [("responses", "trace"), ("chat", "trace"), ("chat", "trace!")])
def test_a_trace_sent_along_by_an_open_target_goes_to_the_trace_log_alone(
    provider: Provider, collecting: Collecting, api: str, prompt: str
):
    target = target_of(provider, api=api, open=True, exposes="answer")
    outputs = collecting.run(target, prompt, "plain")
    assert TRACE not in collecting.journal.path.read_text()
    assert TRACE not in outputs.write_json()
    traces = read_traces(outputs, collecting.trace_log)
    assert traces.filter(prompt_id=prompt_id(prompt))["trace"].to_list() == [TRACE]
    failed = {gate.name: gate.rows for gate in trace_gates(outputs, traces) if not gate.passed}
    assert failed == {"every_answer_has_its_trace": (prompt_id("plain"),)}
    leaking = outputs.with_columns(answer=pl.lit(f"because {TRACE}"))
    failed = {gate.name: gate.rows for gate in trace_gates(leaking, traces) if not gate.passed}
    assert failed["traces_stay_hidden"] == (prompt_id(prompt),)


def test_a_body_of_an_open_target_that_is_no_json_is_withheld_whole(provider: Provider, collecting: Collecting):
    outputs = collecting.run(target_of(provider, open=True), "garbage")
    assert outputs["outcome"].to_list() == ["parse_error"]
    assert "resp_1" not in collecting.journal.path.read_text()
    assert "resp_1" in collecting.trace_log.path.read_text()


def test_a_response_that_landed_beside_its_trace_alone_is_taken_over_after_a_kill(
    provider: Provider, collecting: Collecting
):
    target = target_of(provider, open=True)
    before = collecting.run(target, "trace")
    lines = collecting.journal.path.read_text().splitlines(keepends=True)
    collecting.journal.path.write_text("".join(lines[:-1]))
    assert collecting.run(target, "trace").equals(before)
    assert provider.asked == {"trace": 1}
    assert TRACE not in collecting.journal.path.read_text()


def test_a_closed_target_that_sends_its_trace_stops_the_collection_and_loses_nothing(
    provider: Provider, collecting: Collecting
):
    with pytest.raises(CollectionStopped, match="declare `open: true`"):
        collecting.run(target_of(provider), "trace this")
    assert TRACE not in collecting.journal.path.read_text()
    declared = collecting.run(target_of(provider, open=True), "trace this")
    assert declared["outcome"].to_list() == ["ok"]
    assert provider.asked == {"trace this": 1}


@pytest.mark.parametrize(
    ("fatal", "words"),
    [
        ("bad key", f"the key in {VARIABLE} is refused"),
        ("no quota", "add credit"),
        ("unverified", "verify it in the provider's settings"),
        ("unknown model", "the model 'm' or the address is not known"),
        ("bad parameter", "Unsupported parameter: temperature; mend the target's file"),
    ],
)
@pytest.mark.parametrize("delivery", ["live", "batch"])
def test_what_every_request_would_meet_stops_at_once_and_says_what_to_do(
    provider: Provider, collecting: Collecting, fatal: str, words: str, delivery: str
):
    provider.fatal = fatal
    prompts = [f"prompt {number}" for number in range(50)]
    with pytest.raises(CollectionStopped) as stop:
        collecting.run(target_of(provider, delivery=delivery), *prompts)
    assert words in str(stop.value)
    assert provider.key not in str(stop.value) + collecting.journal.path.read_text()
    assert "0 of 50 rows are collected" in str(stop.value)
    assert provider.asked.total() <= 4
    provider.fatal = None
    assert collecting.run(target_of(provider), *prompts)["outcome"].unique().to_list() == ["ok"]


class Full(Journal):
    def append_all(self, entries: Sequence[dict]) -> list[int]:
        raise OSError(28, "No space left on device", str(self.path))


def test_a_full_disk_stops_before_anything_is_sent(provider: Provider, collecting: Collecting, tmp_path: Path):
    collecting.journal = Full(tmp_path / "journal.jsonl")
    with pytest.raises(CollectionStopped, match=r"journal\.jsonl: cannot be written: .*No space left on device"):
        collecting.run(target_of(provider), *"abcdefgh")
    assert provider.asked.total() == 0


def test_a_missing_key_is_named_by_its_variable(
    provider: Provider, collecting: Collecting, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SpecError, match=f"variable {VARIABLE} is not set"):
        collecting.run(target_of(provider), "a")


def test_a_probe_is_judged_before_the_rest_is_bought(provider: Provider, collecting: Collecting):
    prompts = [f"cut {number}" for number in range(40)]
    with pytest.raises(CollectionStopped, match=r"no row of the probe is usable .*raise max_output_tokens"):
        collecting.run(target_of(provider, probe=3), *prompts)
    assert provider.asked.total() == 3
    silent = [f"no summary {number}" for number in range(40)]
    with pytest.raises(CollectionStopped, match="is to expose summaries, and no row of the probe has one"):
        collecting.run(target_of(provider, probe=3), *silent)
    assert provider.asked.total() == 6
    with pytest.raises(CollectionStopped, match="no row of the probe has one"):
        collecting.run(target_of(provider, probe=3), *silent)
    assert provider.asked.total() == 6
    assert collecting.run(target_of(provider, probe=3, exposes="answer"), *silent).height == 40


def test_a_run_whose_rows_are_all_unusable_stops_before_it_is_paid_for(provider: Provider, collecting: Collecting):
    prompts = [f"cut {number}" for number in range(100)]
    with pytest.raises(CollectionStopped, match=r"30 rows in a row are unusable \(truncated 30\); raise max_output"):
        collecting.run(target_of(provider), *prompts)
    assert provider.asked.total() <= 30 + 2 * 4


def test_a_run_in_which_everything_fails_is_stopped_and_gives_no_row_up(provider: Provider, collecting: Collecting):
    provider.fatal = "overloaded"
    target = target_of(provider, limits={"patience_seconds": 1, "attempts": 8, "concurrency": 8})
    prompts = [f"prompt {number}" for number in range(200)]
    with pytest.raises(CollectionStopped, match=r"requests in a row failed, and none succeeded for .* HTTP 503"):
        collecting.run(target, *prompts)
    provider.fatal = None
    assert collecting.run(target, *prompts)["outcome"].unique().to_list() == ["ok"]


def test_dead_letters_and_attempts_tell_what_happened_and_where_it_lies(provider: Provider, collecting: Collecting):
    prompts = ["plain", "cut", "down", "garbage", "drop"]
    outputs = collecting.run(target_of(provider), *prompts)
    dead = dead_letters(collecting.prompts(*prompts), outputs, collecting.journal)
    assert dict(dead.select("prompt", "outcome").iter_rows()) == {
        "cut": "truncated",
        "down": "api_error",
        "garbage": "parse_error",
    }
    (cut,) = collecting.journal.at(dead.filter(prompt="cut")["offset"].to_list())
    assert json.loads(cut["body"])["status"] == "incomplete"
    attempts = read_attempts(outputs, collecting.journal)
    assert attempts.height == 1 + 1 + 3 + 1 + 2
    assert set(attempts["attempt"]) >= set(provider.billed)
    known = attempts.filter(pl.col("cost_usd") > 0)
    assert dict(known.select("attempt", "cost_usd").iter_rows()) == {
        sent: pytest.approx(usd) for sent, prompt, usd, _ in provider.sent if prompt != "garbage"
    }
    unsure = attempts.filter(pl.col("possible_usd") > 0)
    assert set(unsure["attempt"]) == {one for one, _ in provider.billed.items()} - set(known["attempt"])


def test_a_check_is_asked_anew_and_counts_as_spent(provider: Provider, collecting: Collecting, tmp_path: Path):
    target = target_of(provider, check_prompt="plain")
    for _ in range(2):
        row = check(target, tmp_path, collecting.journal, collecting.sink).row(0, named=True)
        assert (row["outcome"], row["answer"]) == ("ok", "answer to plain")
    assert provider.asked == {"plain": 2}
    assert collecting.books.paid_usd == pytest.approx(2 * bill("plain"))


def _collect_in_a_process(folder: Path, target_json: str, prompts: list[str]) -> None:
    from tracepipe.target import Target

    Collecting(folder).run(Target.model_validate_json(target_json), *prompts)


def test_two_processes_do_not_ask_the_same_thing_twice(provider: Provider, collecting: Collecting, tmp_path: Path):
    provider.latency = 0.02
    target = target_of(provider)
    prompts = [f"prompt {number}" for number in range(60)]
    context = multiprocessing.get_context("spawn")
    both = [
        context.Process(target=_collect_in_a_process, args=(tmp_path, target.model_dump_json(), asked))
        for asked in (prompts[:50], prompts[10:])
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert provider.asked == dict.fromkeys(prompts, 1)


def test_the_gates_count_rows_and_notice_a_collection_that_failed(provider: Provider, collecting: Collecting):
    prompts = ["down 1", "down 2", "plain"]
    outputs = collecting.run(target_of(provider), *prompts)
    verdicts = {gate.name: gate for gate in output_gates(collecting.prompts(*prompts), outputs)}
    assert verdicts["one_row_per_prompt"].passed
    assert verdicts["no_trace_column"].passed
    assert set(verdicts["most_rows_usable"].rows) == {prompt_id("down 1"), prompt_id("down 2")}
