"""The one place through which a target is paid: an attempt is on disk before it is sent, a response before it is read.

No attempt begins whose worst case does not fit into the budget, counted over all runs; one that timed out, or was
under way when a process died, counts as billed.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from tracepipe import progress
from tracepipe.books import Books
from tracepipe.engines.base import Request
from tracepipe.engines.failures import Failure
from tracepipe.engines.reading import Reading, Separated, read, separate
from tracepipe.journal import GroupCommit, Journal, Sink
from tracepipe.target import Target

_TEMPLATE_TOKENS = 64


@contextlib.contextmanager
def only_one(journal: Journal) -> Iterator[None]:
    """Let one process at a time ask a target; another waits, and then finds what the first has collected.

    The lock is the operating system's, so a killed process holds it no longer.
    """
    journal.path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(journal.path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note(f"another process is asking the same target ({journal.path.stem}); waiting until it is done")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Ledger:
    """Writes the journal of one target and keeps its books; open it under `only_one`."""

    def __init__(self, target: Target, journal: Journal, trace_sink: Sink) -> None:
        self._target = target
        self.books = Books.of(journal)
        self._journal = journal
        self._entries = GroupCommit(journal)
        self._traces = GroupCommit(trace_sink)
        self.stopped: str | None = None
        self._stop = asyncio.Event()
        self._changed = asyncio.Condition()
        self._in_flight: set[str] = set()
        self._recover(trace_sink)

    def _recover(self, trace_sink: Sink) -> None:
        """Take over responses that had landed beside their trace, and not here, when a process was killed."""
        for part in trace_sink.visible_parts():
            if part["attempt"] in self.books.pending:
                self._write(_response(part["attempt"], part["request_key"], part["visible"], part["seconds"]))

    def _write(self, entry: dict[str, Any]) -> None:
        self.books.enter(entry, self._journal.append(entry))

    def reopen(self, keys: Sequence[str]) -> None:
        """Have requests asked again that were answered or given up; what they brought before is kept."""
        for key in keys:
            self._write(
                {"kind": "reopened", "request_key": key, "at": _now(), "round": self.books.account(key).round + 1}
            )

    def stop(self, reason: str) -> None:
        """Begin no further attempt; those under way are awaited. The first reason stands."""
        self.stopped = self.stopped or reason
        self._stop.set()

    async def rest(self, seconds: float) -> None:
        """Wait, but no longer than until the run is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def goes_on_after(self, seconds: float) -> bool:
        """Rest, and return whether the run goes on."""
        await self.rest(seconds)
        return not self.stopped

    def fits(self, worst_usd: float) -> bool:
        """Whether a worst case fits into what is left of the budget."""
        return self.books.committed_usd + worst_usd <= self._target.budget_usd

    def stop_over_budget(self) -> None:
        """Stop because the next request does not fit and none is left to wait for."""
        self.stop(
            f"target '{self._target.name}': the next request could exceed budget_usd {self._target.budget_usd:g}; "
            "raise it, or ask for fewer prompts"
        )

    async def begin(self, request: Request) -> str | None:
        """Reserve the worst case of a live request and record the attempt.

        While requests are in flight, one that does not fit waits: they may cost less than was reserved. Where none
        is left to wait for, the run is stopped.

        Returns:
            The attempt's id, or None where the run is stopped.
        """
        worst_usd = worst_case(self._target, request.prompt, "live")
        while not self.stopped and not self.fits(worst_usd):
            await self._wait_for_another()
        if self.stopped:
            return None
        entry = self._attempt(request, "live")
        self.books.enter(entry, 0)
        self._in_flight.add(entry["attempt"])
        await self._entries.append(entry)
        return str(entry["attempt"])

    async def _wait_for_another(self) -> None:
        async with self._changed:
            if self._in_flight:
                await self._changed.wait()
            else:
                self.stop_over_budget()

    async def begin_shard(self, requests: Sequence[Request], shard: str) -> None:
        """Record the attempts of a batch, whose worst cases fit, with one flush."""
        entries = [self._attempt(request, "batch") | {"shard": shard} for request in requests]
        await asyncio.gather(*(self.record(entry) for entry in entries))

    async def record(self, entry: dict[str, Any]) -> None:
        """Record an entry of a batch."""
        self.books.enter(entry, 0)
        await self._entries.append(entry)

    def _attempt(self, request: Request, delivery: str) -> dict[str, Any]:
        account = self.books.account(request.key)
        return {
            "kind": "attempt",
            "attempt": f"{request.key}.{account.attempts + 1}",
            "request_key": request.key,
            "number": account.attempts + 1,
            "round": account.round,
            "at": _now(),
            "delivery": delivery,
            "worst_usd": worst_case(self._target, request.prompt, delivery),
            "price": _price(self._target, delivery),
        }

    async def receive(self, attempt: str, body: str, seconds: float | None) -> Reading:
        """Put a response on disk, then read it; a trace that came along goes to the trace log alone."""
        key = self.books.pending[attempt].request_key
        separated = separate(self._target, body)
        if separated.trace is not None:
            await self._put_trace_away(attempt, key, separated, seconds)
        entry = _response(attempt, key, separated.visible, seconds)
        self.books.enter(entry, await self._entries.append(entry))
        await self._settled(attempt)
        return read(self._target, separated.visible)

    async def _put_trace_away(self, attempt: str, key: str, separated: Separated, seconds: float | None) -> None:
        await self._traces.append(
            {
                "response_id": separated.response_id,
                "trace": separated.trace,
                "attempt": attempt,
                "request_key": key,
                "seconds": seconds,
                "visible": separated.visible,
            }
        )
        if not self._target.open:
            self.stop(
                f"target '{self._target.name}' sends its trace with the answer; declare `open: true` in its file, or "
                "chat_reasoning: summary where this is its summary"
            )

    async def fail(self, attempt: str, failure: Failure, *, final: bool) -> None:
        """Record that an attempt brought no response; `final` gives its row up."""
        pending = self.books.pending[attempt]
        entry = {
            "kind": "failure",
            "attempt": attempt,
            "request_key": pending.request_key,
            "at": _now(),
            "reason": failure.reason,
            "outcome": "refused" if failure.kind == "refused" else "api_error",
            "possible_usd": pending.worst_usd if failure.billed else 0.0,
            "final": final,
        }
        self.books.enter(entry, await self._entries.append(entry))
        await self._settled(attempt)

    async def _settled(self, attempt: str) -> None:
        self._in_flight.discard(attempt)
        async with self._changed:
            self._changed.notify_all()


def worst_case(target: Target, prompt: str, delivery: str) -> float:
    """Return what a request can cost at most, USD.

    No tokenizer makes more tokens of a text than the text has bytes; some more cover the chat template.
    """
    input_price, output_price = _price(target, delivery)
    return ((len(prompt.encode()) + _TEMPLATE_TOKENS) * input_price + target.max_output_tokens * output_price) / 1e6


def _price(target: Target, delivery: str) -> tuple[float, float]:
    share = target.price.batch if delivery == "batch" else 1.0
    return target.price.input * share, target.price.output * share


def _response(attempt: str, key: str, body: str, seconds: float | None) -> dict[str, Any]:
    return {"kind": "response", "attempt": attempt, "request_key": key, "at": _now(), "seconds": seconds, "body": body}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
