"""Progress of long steps, reported through one door: a bar in a terminal, log lines elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]
"""Called with a label, how much is done, and the total."""

Advance = Callable[[int], None]

_log = logging.getLogger("tracepipe.progress")
_QUIET_SECONDS = 10.0


class LineReport:
    """Write a line when a label ends, and one every ten seconds until then: items, rate and time left."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Write a line where one is due."""
        now = time.monotonic()
        started = self._started.setdefault(label, now)
        if done < total and now - self._written.get(label, started) < _QUIET_SECONDS:
            return
        self._written[label] = now
        rate = done / (now - started) if now > started else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        self._write(f"{label}: {done} of {total}, {rate:.1f}/s{left}")
        if done >= total:
            del self._started[label], self._written[label]


_report: Report = LineReport(_log.info)


_note: Callable[[str], None] = _log.info


def note(message: str) -> None:
    """Tell the user something that is neither progress nor an error."""
    _note(message)


def note_to(write: Callable[[str], None]) -> None:
    """Send the notes of this process to `write`."""
    global _note  # noqa: PLW0603 - one door per process
    _note = write


def report_to(report: Report) -> None:
    """Send the progress of this process to `report`."""
    global _report  # noqa: PLW0603 - one door per process
    _report = report


def emit(label: str, done: int, total: int) -> None:
    """Pass one reading on; the door that readings from worker processes come through."""
    _report(label, done, total)


@contextmanager
def task(label: str, total: int) -> Iterator[Advance]:
    """Count the items of a step; the block is given a function that adds to the count."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        _report(label, done, total)

    _report(label, 0, total)
    yield advance
