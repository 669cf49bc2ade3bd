"""What a collection will cost, from a stated prior or from rows that are answered."""

import pytest

from tests.provider import Provider, bill
from tests.tracepipe.collection.conftest import Collecting, target_of
from tracepipe.estimate import estimate

PROMPTS = [f"prompt {number}" for number in range(200)]


def test_without_answers_a_stated_prior_gives_a_range(provider: Provider, collecting: Collecting):
    target = target_of(provider, max_output_tokens=5000, limits={"concurrency": 10})
    estimated = estimate(collecting.prompts(*PROMPTS), target, collecting.journal)
    assert (estimated.rows, estimated.collected) == (200, 0)
    assert estimated.basis.startswith("prior: 1000 / 4000 / 5000 output tokens a row")
    assert estimated.live_usd.low < estimated.live_usd.likely < estimated.live_usd.high < estimated.worst_usd
    assert estimated.live_usd.likely == pytest.approx(200 * 4000 * 10 / 1e6, rel=0.01)
    assert estimated.batch_usd.likely == pytest.approx(estimated.live_usd.likely / 2)
    assert estimated.hours.likely == pytest.approx(200 * (4000 / 60) / 10 / 3600)


def test_with_answers_what_they_cost_is_within_the_range(provider: Provider, collecting: Collecting):
    target = target_of(provider)
    collecting.run(target, *PROMPTS[:50])
    estimated = estimate(collecting.prompts(*PROMPTS), target, collecting.journal)
    assert (estimated.rows, estimated.collected) == (150, 50)
    assert estimated.basis.startswith("50 answered rows")
    actual = sum(bill(prompt) for prompt in PROMPTS[50:])
    assert estimated.live_usd.low <= actual <= estimated.live_usd.high
    assert estimated.live_usd.high < 1.3 * actual
    assert estimated.left_usd == pytest.approx(1 - collecting.books.paid_usd)


def test_the_limit_that_decides_the_time_is_named(provider: Provider, collecting: Collecting):
    limits = {"requests_per_minute": 10, "tokens_per_minute": 1e9}
    estimated = estimate(collecting.prompts(*PROMPTS), target_of(provider, limits=limits), collecting.journal)
    assert (estimated.bound_by, estimated.hours.likely) == ("requests_per_minute", pytest.approx(200 / 10 / 60))
    limits = {"tokens_per_minute": 100}
    estimated = estimate(collecting.prompts(*PROMPTS), target_of(provider, limits=limits), collecting.journal)
    assert estimated.bound_by == "tokens_per_minute"
