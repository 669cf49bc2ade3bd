"""The pace of asking, on a clock of the test's own where time matters."""

import asyncio
import itertools
import time

import pytest

from tests.provider import Provider
from tests.tracepipe.collection.conftest import Collecting, target_of
from tracepipe.collection import CollectionStopped
from tracepipe.engines.failures import Failure, by_status, exhausted_for
from tracepipe.engines.reading import Usage
from tracepipe.target import Limits
from tracepipe.throttle import Meter, Throttle

PROMPTS = [f"even {number}" for number in range(24)]


def test_a_meter_lets_no_minute_hold_more_than_is_allowed():
    meter = Meter(120)
    times = [meter.take(1, now=0.0) for _ in range(300)]
    assert all(later - earlier == pytest.approx(0.5) for earlier, later in itertools.pairwise(times))
    assert meter.take(1, now=1000.0) == 1000.0


def test_requests_per_minute_are_kept_from_this_side(provider: Provider, collecting: Collecting):
    collecting.run(target_of(provider, limits={"requests_per_minute": 1200, "concurrency": 24}), *PROMPTS)
    times = sorted(provider.times)
    # Any one request may arrive late, the first of all; one of the first twelve has come in time.
    ahead = [times[-1] - times[place] - (23 - place) * 0.05 for place in range(12)]
    assert len(times) == 24
    assert max(ahead) >= -0.02


def test_tokens_per_minute_are_kept_by_what_was_used_and_not_by_the_worst_case(
    provider: Provider, collecting: Collecting
):
    # 110 tokens a request; the worst case would be 200 and more.
    started = time.monotonic()
    collecting.run(target_of(provider, limits={"tokens_per_minute": 120_000, "concurrency": 2}), *PROMPTS)
    took = time.monotonic() - started
    assert 24 * 110 / 2000 - 0.2 <= took <= 24 * 200 / 2000


def test_retry_after_holds_everybody_back(provider: Provider, collecting: Collecting):
    provider.retry_after = "2"
    collecting.run(target_of(provider, limits={"concurrency": 2}), "flaky", *PROMPTS)
    times = sorted(provider.times)
    # One more may have been under way when the first was told to wait.
    assert times[2] - times[0] >= 1.9


def test_rate_headers_that_say_nothing_is_left_make_a_pause(provider: Provider, collecting: Collecting):
    provider.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms"}
    collecting.run(target_of(provider, limits={"concurrency": 1}), "a", "b", "c")
    assert max(provider.times) - min(provider.times) >= 0.24


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("1s", 1), ("6m0s", 360), ("1h2m3s", 3723), ("7", 7), ("?", 0)]
)
def test_durations_are_read_as_providers_write_them(text: str, seconds: float):
    assert exhausted_for({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": text}) == pytest.approx(
        seconds
    )
    assert exhausted_for({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": text}) == 0


def test_retry_after_is_read_in_all_its_forms(provider: Provider):
    def waits(**headers: str) -> float | None:
        return by_status(
            429, {}, {name.replace("_", "-"): text for name, text in headers.items()}, target_of(provider)
        ).retry_after

    assert waits(retry_after="3") == 3
    assert waits(retry_after_ms="250") == 0.25
    assert waits(retry_after="Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert waits(retry_after="soon") is None
    assert waits() is None


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_less_is_asked_at_once_after_failures_and_more_again_after_successes():
    clock = Clock()
    throttle = Throttle(Limits(concurrency=64), 100, clock)
    for _ in range(10):
        clock.now += 1
        throttle.failed(clock.now, Failure("passing", "503"))
    narrow = throttle.width
    assert 1 <= narrow < 8
    throttle.failed(clock.now, Failure("row", "400"))
    assert throttle.width == narrow
    for _ in range(400):
        throttle.succeeded(100, Usage(1, 1, 0), 0)
    assert throttle.width == 64


def test_a_blip_is_waited_out_and_silence_is_not():
    clock = Clock()
    throttle = Throttle(Limits(concurrency=64, patience_seconds=100), 100, clock)
    for _ in range(300):
        throttle.failed(clock.now, Failure("passing", "refused"))
    assert throttle.width == 1
    assert throttle.gave_up is None
    while throttle.gave_up is None and clock.now < 400:
        clock.now += 10
        throttle.failed(clock.now, Failure("passing", "refused"))
    assert 200 <= clock.now <= 220
    assert "none succeeded for" in (throttle.gave_up or "")


def test_no_more_than_the_given_number_is_asked_at_once(provider: Provider, collecting: Collecting):
    provider.latency = 0.1
    collecting.run(target_of(provider, limits={"concurrency": 3}), *PROMPTS)
    assert provider.most == 3


def test_a_stopped_run_does_not_wait_for_its_turns(provider: Provider, collecting: Collecting):
    provider.fatal = "bad key"
    started = time.monotonic()
    with pytest.raises(CollectionStopped):
        collecting.run(target_of(provider, limits={"requests_per_minute": 2, "concurrency": 8}), *PROMPTS)
    assert time.monotonic() - started < 10


def test_turns_are_given_to_all_who_wait():
    async def all_ask() -> int:
        throttle, done = Throttle(Limits(concurrency=2), 100), 0

        async def ask() -> None:
            nonlocal done
            async with throttle.turn("prompt") as turn:
                await asyncio.sleep(0)
                turn.succeeded(None, 0)
                done += 1

        await asyncio.gather(*(ask() for _ in range(50)))
        return done

    assert asyncio.run(all_ask()) == 50
