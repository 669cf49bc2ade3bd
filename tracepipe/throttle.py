"""How fast a target is asked: its limits kept from this side, less at once while it asks for that, when to stop."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType

from tracepipe import progress
from tracepipe.engines.failures import Failure
from tracepipe.engines.reading import Usage
from tracepipe.target import Limits

_HOPELESS = 20
_LONGEST_PAUSE = 60.0


class Meter:
    """Spaces what is spent evenly, so that no minute holds more than is allowed."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._free_at = 0.0

    def take(self, amount: float, now: float) -> float:
        """Take an amount and return the time at which it may be spent."""
        at = max(now, self._free_at)
        self._free_at = at + amount * self._seconds_each
        return at

    def give_back(self, amount: float) -> None:
        """Correct what was taken by what was not needed; a negative amount takes more."""
        self._free_at -= amount * self._seconds_each


class Throttle:
    """Gives out turns to ask.

    The number of turns at once starts at `limits.concurrency`. A failure that is no single row's fault takes a
    quarter of it away, at most once a second; every success gives a little back. Where nothing succeeds, turns come
    one at a time with growing pauses between them, until `limits.patience_seconds` are over; then `gave_up` says so.
    """

    def __init__(
        self,
        limits: Limits,
        largest_output: int,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], Awaitable[bool]] | None = None,
    ) -> None:
        """Open a throttle.

        Args:
            limits: The target's.
            largest_output: Tokens that a response has at most; expected until responses say otherwise.
            clock: Seconds.
            rest: Waits so many seconds, and returns False at once where the run is stopped.
        """
        self._limits = limits
        self._rest = rest or _sleep
        self.now = clock
        self.width = float(limits.concurrency)
        self._active = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._requests = Meter(limits.requests_per_minute)
        self._tokens = Meter(limits.tokens_per_minute)
        self._expected_output = float(largest_output)
        self._not_before = 0.0
        self._narrowed_at = 0.0
        self._failures_in_a_row = 0
        self._last_success = clock()
        self._tested_at = 0.0
        self._test_pause = 0.0
        self.gave_up: str | None = None

    def turn(self, prompt: str) -> "Turn":
        """Return a turn to ask a prompt; entering it waits until it may be asked."""
        return Turn(self, len(prompt.encode()) / 4)

    async def enter(self, input_tokens: float) -> float:
        """Wait for a free turn and for the time it may be used; return the tokens it is expected to use."""
        while self._active >= max(1, int(self.width)):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(waiter)
            await waiter
        self._active += 1
        expected = input_tokens + self._expected_output
        now = self.now()
        at = max(self._requests.take(1, now), self._tokens.take(expected, now))
        while (wait := max(at, self._not_before) - self.now()) > 0 and await self._rest(wait):
            continue
        return expected

    def leave(self) -> None:
        """Free a turn."""
        self._active -= 1
        self._wake()

    def _wake(self) -> None:
        free = max(1, int(self.width)) - self._active
        while free > 0 and self._queue:
            self._queue.popleft().set_result(None)
            free -= 1

    def succeeded(self, expected: float, usage: Usage | None, pause: float) -> None:
        """Take note of a response: what it used, and whether the provider says that nothing is left for a while."""
        self._failures_in_a_row, self._test_pause = 0, 0.0
        self._last_success = self.now()
        self.width = min(float(self._limits.concurrency), self.width + max(0.25, 4 / self.width))
        if usage:
            self._tokens.give_back(expected - usage.input_tokens - usage.output_tokens)
            self._expected_output += (usage.output_tokens - self._expected_output) / 16
        self._pause(pause)

    def failed(self, began: float, failure: Failure) -> None:
        """Take note of a failure of a turn that began at a time of the clock."""
        if failure.kind != "passing":
            return
        now = self.now()
        self._failures_in_a_row += 1
        if now - self._narrowed_at >= 1:
            self._narrowed_at = now
            self.width = max(1.0, self.width * 0.75)
        # More failures than those in flight could explain: this is no burst that others will get through.
        if self._failures_in_a_row >= _HOPELESS + self._active and began >= self._tested_at:
            self._test_alone(now)
        self._pause(failure.retry_after or 0.0)

    def _test_alone(self, now: float) -> None:
        """Let one request at a time find out whether the endpoint works again, and give up at the end of patience."""
        self.width, self._tested_at = 1.0, now
        self._test_pause = min(2 * self._test_pause or 0.5, self._limits.patience_seconds / 8, _LONGEST_PAUSE)
        self._pause(self._test_pause)
        silent = now - self._last_success
        if silent >= self._limits.patience_seconds and self._active <= 1:
            self.gave_up = f"{self._failures_in_a_row} requests in a row failed, and none succeeded for {silent:.0f} s"

    def _pause(self, seconds: float) -> None:
        if seconds > _LONGEST_PAUSE and self.now() + seconds > self._not_before + 1:
            progress.note(f"the provider asks to wait {seconds:.0f} s; nothing is asked until then")
        self._not_before = max(self._not_before, self.now() + seconds)


async def _sleep(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return True


class Turn:
    """Leave to ask once; `succeeded` or `failed` tells the throttle how it went."""

    def __init__(self, throttle: Throttle, input_tokens: float) -> None:
        self._throttle = throttle
        self._input_tokens = input_tokens
        self._expected = self._began = 0.0

    def succeeded(self, usage: Usage | None, pause: float) -> None:
        """Take note of a response."""
        self._throttle.succeeded(self._expected, usage, pause)

    def failed(self, failure: Failure) -> None:
        """Take note of a failure."""
        self._throttle.failed(self._began, failure)

    async def __aenter__(self) -> "Turn":
        self._expected = await self._throttle.enter(self._input_tokens)
        self._began = self._throttle.now()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._throttle.leave()
