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


class LogReport:
    """Report to the log, at most every ten seconds for each label: items, rate and time left."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._reported: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Log a line where one is due."""
        now = time.monotonic()
        started = self._started.setdefault(label, now)
        if done < total and now - self._reported.get(label, started) < _QUIET_SECONDS:
            return
        self._reported[label] = now
        rate = done / (now - started) if now > started else 0.0
        left = f"{(total - done) / rate:.0f} s left" if rate else "time left unknown"
        _log.info("%s: %d of %d, %.1f/s, %s", label, done, total, rate, left)
        if done >= total:
            self._started.pop(label), self._reported.pop(label)


_report: Report = LogReport()


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
