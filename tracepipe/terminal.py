"""What the command line prints: progress, tables and messages, readable without colours."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from tracepipe import progress
from tracepipe.report.tables import Grid

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)
_PLAIN_SECONDS = 10.0
_WIDEST = 400


def print_grid(grid: Grid, title: str) -> None:
    """Print a table, wide enough for all its cells."""
    table = RichTable(title=title, title_justify="left", header_style="bold")
    for index, name in enumerate(grid.header):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*row)
    widest = Console(width=_WIDEST)
    needed = Measurement.get(widest, widest.options, table).maximum
    Console(width=max(console.width, needed)).print(table)


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show long steps as bars in a terminal, and as plain lines elsewhere."""
    if errors.is_terminal:
        with _bars() as bars:
            progress.report_to(_BarReport(bars))
            yield
    else:
        progress.report_to(_LineReport())
        yield


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, TimeRemainingColumn(), console=errors)


class _BarReport:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total, rate="")
        task = self._tasks[label]
        elapsed = self._bars.tasks[self._bars.task_ids.index(task)].elapsed
        self._bars.update(task, completed=done, total=total, rate=f"{done / elapsed:.1f}/s" if elapsed else "")
        if done >= total:
            self._bars.remove_task(self._tasks.pop(label))
            self._bars.console.print(f"done: {label} ({total})")


class _LineReport:
    """One line when a step ends, and one every ten seconds until then."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._printed: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        started = self._started.setdefault(label, now)
        if done < total and now - self._printed.get(label, started) < _PLAIN_SECONDS:
            return
        self._printed[label] = now
        rate = done / (now - started) if now > started else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        sys.stderr.write(f"{label}: {done} of {total}, {rate:.1f}/s{left}\n")
        if done >= total:
            del self._started[label], self._printed[label]
