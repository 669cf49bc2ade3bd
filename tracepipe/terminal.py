"""What the command line prints: progress, tables and messages, readable without colours."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.tree import Tree

from tracepipe import progress
from tracepipe.report.tables import Grid

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)
_WIDEST = 400
_LONGEST_LINE = 2_000


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


def print_tree(tree: Tree) -> None:
    """Print a tree: folded at the width of a terminal, each node on one line elsewhere."""
    wide = console if console.is_terminal else Console(width=_LONGEST_LINE)
    wide.print(tree, soft_wrap=False)


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show long steps as bars in a terminal, and as plain lines elsewhere; notes as lines in both."""
    progress.note_to(lambda message: errors.print(f"note: {message}", markup=False, highlight=False))
    if errors.is_terminal:
        with _bars() as bars:
            progress.report_to(_BarReport(bars))
            yield
    else:
        progress.report_to(progress.LineReport(lambda line: errors.print(line, markup=False, highlight=False)))
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
