"""The Batch API: its id kept at once, both result files read however it ended, only what is missing sent again."""

import polars as pl
import pytest

from tests.provider import Provider, bill
from tests.tracepipe.collection.conftest import Collecting, target_of
from tracepipe.collection import CollectionStopped
from tracepipe.engines import batch as batch_engine
from tracepipe.outputs import read_attempts

PROMPTS = [f"prompt {number}" for number in range(20)]


def rows_of(outputs: pl.DataFrame) -> pl.DataFrame:
    """All of TARGET_OUTPUTS but where a response lies in the journal."""
    return outputs.drop("offset")


def test_a_batch_brings_the_same_rows_as_live_requests_at_half_the_price(provider: Provider, collecting: Collecting):
    prompts = [*PROMPTS, "cut", "refuse", "no summary", "break", "half"]
    batched = collecting.run(target_of(provider, delivery="batch"), *prompts)
    assert batched["outcome"].to_list()[20:] == ["truncated", "refused", "empty_summary", "ok", "ok"]
    assert batched["cost_usd"].sum() == pytest.approx(sum(bill(prompt, 0.5) for prompt in prompts))
    assert sum(provider.batches.billed.values()) == pytest.approx(batched["cost_usd"].sum())
    live = collecting.run(target_of(provider), *prompts)
    assert rows_of(live).equals(rows_of(batched))
    assert provider.asked == dict.fromkeys(prompts, 1)


@pytest.mark.parametrize("ending", ["expired", "cancelled", "errors only"])
def test_results_of_a_batch_that_ended_early_are_kept_and_the_rest_is_sent_again(
    provider: Provider, collecting: Collecting, ending: str
):
    provider.batches.endings = [ending]
    outputs = collecting.run(target_of(provider, delivery="batch"), *PROMPTS)
    assert outputs["outcome"].unique().to_list() == ["ok"]
    assert provider.asked == dict.fromkeys(PROMPTS, 1)
    sent_again = 20 if ending == "errors only" else 10
    assert [len(lines) for lines in provider.batches.lines.values()] == [20, sent_again]
    attempts = read_attempts(outputs, collecting.journal)
    assert attempts.filter(result="failed").height == sent_again
    assert attempts["possible_usd"].sum() == 0


def test_a_request_that_no_batch_answers_is_given_up_with_its_reason(provider: Provider, collecting: Collecting):
    provider.batches.endings = ["expired"] * 3
    target = target_of(provider, delivery="batch", limits={"attempts": 2})
    outputs = collecting.run(target, *PROMPTS[:4])
    assert sorted(outputs["outcome"]) == ["api_error", "ok", "ok", "ok"]
    assert outputs.filter(outcome="api_error")["reason"].to_list() == ["batch_expired: not executed in time"]


def test_requests_are_split_by_number_and_by_size(
    provider: Provider, collecting: Collecting, monkeypatch: pytest.MonkeyPatch
):
    collecting.run(target_of(provider, delivery="batch", limits={"batch_rows": 6}), *PROMPTS)
    assert [len(lines) for lines in provider.batches.lines.values()] == [6, 6, 6, 2]
    monkeypatch.setattr(batch_engine, "MOST_BYTES", 1000)
    long = [f"{number} {'x' * 900}" for number in range(3)]
    collecting.run(target_of(provider, delivery="batch"), *long, "a", "b")
    assert [len(lines) for lines in provider.batches.lines.values()][4:] == [1, 1, 1, 2]


def killed_after(collecting: Collecting, kind: str) -> None:
    """Cut the journal behind its first line of a kind, as a kill at that moment leaves it."""
    kept = []
    for line in collecting.journal.path.read_text().splitlines(keepends=True):
        kept.append(line)
        if f'"kind": "{kind}"' in line:
            break
    collecting.journal.path.write_text("".join(kept))


def killed_before_its_batch_was_noted(collecting: Collecting) -> None:
    """Leave the journal's attempts alone."""
    lines = collecting.journal.path.read_text().splitlines(keepends=True)
    collecting.journal.path.write_text("".join(line for line in lines if '"kind": "attempt"' in line))


@pytest.mark.parametrize("kind", ["batch", "response"])
def test_a_batch_under_way_when_a_process_died_is_taken_up(provider: Provider, collecting: Collecting, kind: str):
    target = target_of(provider, delivery="batch")
    before = collecting.run(target, *PROMPTS)
    killed_after(collecting, kind)
    assert rows_of(collecting.run(target, *PROMPTS)).equals(rows_of(before))
    assert len(provider.batches.created) == 1


def test_a_batch_whose_creation_was_never_noted_is_found_again(provider: Provider, collecting: Collecting):
    target = target_of(provider, delivery="batch")
    before = collecting.run(target, *PROMPTS)
    killed_before_its_batch_was_noted(collecting)
    assert rows_of(collecting.run(target, *PROMPTS)).equals(rows_of(before))
    assert len(provider.batches.created) == 1


def test_a_batch_that_was_never_created_is_asked_for_again(provider: Provider, collecting: Collecting):
    target = target_of(provider, delivery="batch")
    before = collecting.run(target, *PROMPTS)
    killed_before_its_batch_was_noted(collecting)
    provider.batches.created.clear()
    provider.batches.files.clear()
    provider.asked.clear()
    assert rows_of(collecting.run(target, *PROMPTS)).equals(rows_of(before))
    assert provider.asked == dict.fromkeys(PROMPTS, 1)


def test_a_creation_whose_answer_was_lost_is_not_repeated(provider: Provider, collecting: Collecting):
    provider.batches.lose_creation = True
    outputs = collecting.run(target_of(provider, delivery="batch"), *PROMPTS)
    assert outputs["outcome"].unique().to_list() == ["ok"]
    assert len(provider.batches.created) == 1


def test_a_batch_under_way_is_waited_for_when_the_target_goes_live(provider: Provider, collecting: Collecting):
    before = collecting.run(target_of(provider, delivery="batch"), *PROMPTS)
    killed_after(collecting, "batch")
    again = collecting.run(target_of(provider, probe=3), *PROMPTS, "a").head(20)
    assert rows_of(again).equals(rows_of(before))
    assert provider.asked == dict.fromkeys([*PROMPTS, "a"], 1)


def test_a_failed_batch_stops_with_the_providers_reason_and_costs_nothing(provider: Provider, collecting: Collecting):
    provider.batches.endings = ["failed"]
    target = target_of(provider, delivery="batch")
    with pytest.raises(CollectionStopped, match="token_limit_exceeded: too much"):
        collecting.run(target, *PROMPTS)
    assert collecting.books.committed_usd == 0
    assert collecting.run(target, *PROMPTS)["outcome"].unique().to_list() == ["ok"]


def test_batches_are_created_only_as_far_as_their_worst_case_fits(provider: Provider, collecting: Collecting):
    prompts = [f"even {number}" for number in range(40)]
    budget = 20 * bill("even", 0.5)
    with pytest.raises(CollectionStopped, match="could exceed budget_usd"):
        collecting.run(target_of(provider, delivery="batch", budget_usd=budget), *prompts)
    assert 15 < provider.asked.total() <= 20
    assert sum(provider.batches.billed.values()) <= budget


def test_the_probe_of_a_batched_collection_is_asked_live(provider: Provider, collecting: Collecting):
    outputs = collecting.run(target_of(provider, delivery="batch", probe=3), *PROMPTS)
    attempts = read_attempts(outputs, collecting.journal)
    assert attempts.group_by("delivery").agg(pl.len()).sort("delivery").rows() == [("batch", 17), ("live", 3)]
