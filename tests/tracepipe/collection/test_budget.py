"""The budget: a request is sent only if its worst case still fits, over all runs, whatever comes of it."""

import pytest

from tests.provider import Provider, bill
from tests.tracepipe.collection.conftest import Collecting, target_of
from tracepipe.collection import CollectionStopped
from tracepipe.ledger import worst_case

PROMPTS = [f"even {number}" for number in range(500)]


def test_no_request_is_sent_whose_worst_case_exceeds_the_budget(provider: Provider, collecting: Collecting):
    target = target_of(provider, limits={"concurrency": 2})
    worst, cost = worst_case(target, "even 1", "live"), bill("even 1")
    target = target.model_copy(update={"budget_usd": 2 * cost + worst})
    with pytest.raises(CollectionStopped, match=r"could exceed budget_usd .*; 3 of 500 rows are collected and kept"):
        collecting.run(target, *PROMPTS)
    assert provider.asked.total() == 3


@pytest.mark.parametrize("concurrency", [1, 256])
def test_a_budget_for_a_fifth_of_the_rows_is_used_and_never_exceeded(
    provider: Provider, collecting: Collecting, concurrency: int
):
    budget = 100 * bill("even 1")
    target = target_of(provider, budget_usd=budget, limits={"concurrency": concurrency})
    with pytest.raises(CollectionStopped) as stop:
        collecting.run(target, *PROMPTS)
    worst = worst_case(target, PROMPTS[-1], "live")
    assert budget - worst < sum(provider.billed.values()) <= budget
    assert "about" in str(stop.value)
    assert "rows left; run again to go on: nothing that was collected is asked again" in str(stop.value)
    again = target.model_copy(update={"budget_usd": 1.0})
    assert collecting.run(again, *PROMPTS)["outcome"].unique().to_list() == ["ok"]
    assert provider.asked == dict.fromkeys(PROMPTS, 1)


def test_a_timeout_counts_as_billed_also_in_the_next_run(provider: Provider, collecting: Collecting):
    prompts = [f"slow {number}" for number in range(4)]
    limits = {"timeout_seconds": 0.2, "attempts": 1}
    target = target_of(provider, limits=limits)
    four = sum(worst_case(target, prompt, "live") for prompt in prompts)
    with pytest.raises(CollectionStopped, match="4 of 5 rows are collected"):
        collecting.run(target.model_copy(update={"budget_usd": four}), *prompts, "even")
    assert collecting.books.possible_usd == pytest.approx(four)
    with pytest.raises(CollectionStopped, match=r"up to 0\.0083 more may be billed"):
        collecting.run(target.model_copy(update={"budget_usd": four}), "even")
    assert provider.asked["even"] == 0


def test_what_was_under_way_when_a_process_died_counts_as_billed(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    collecting.run(target, "even 1")
    (attempt, *_) = collecting.journal.path.read_text().splitlines(keepends=True)
    collecting.journal.path.write_text(attempt)
    worst = worst_case(target, "even 1", "live")
    assert collecting.books.committed_usd == pytest.approx(worst)
    with pytest.raises(CollectionStopped, match="0 of 1 rows"):
        collecting.run(target.model_copy(update={"budget_usd": 1.5 * worst}), "even 1")


def test_revisions_and_batches_draw_on_the_same_budget(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    collecting.run(target, "even 1")
    collecting.run(target_of(provider, revision="2026-11-23"), "even 1")
    collecting.run(target_of(provider, revision="2026-11-24", delivery="batch"), "even 1")
    assert collecting.books.paid_usd == pytest.approx(2.5 * bill("even 1"))
    full = target.model_copy(update={"budget_usd": collecting.books.paid_usd})
    with pytest.raises(CollectionStopped, match="could exceed budget_usd"):
        collecting.run(full, "even 2")
