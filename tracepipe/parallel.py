"""Work spread over processes of this machine: in order, each in the main thread of a process that can be killed."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from typing import Any, TypeVar

from tracepipe.tether import end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

_WAITING = 4  # tasks handed out ahead, per process: enough to keep all busy, few enough to hold in memory


@dataclass(frozen=True)
class Lost:
    """A task without a result: it ran out of time, or its process died (mostly for want of memory)."""

    reason: str


def each(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    seconds: float | None = None,
    memory_bytes: int | None = None,
) -> Iterator[Result | Lost]:
    """Apply a function to every task, on all cores, and yield the results in the order of the tasks.

    Args:
        function: Importable by name; runs in the main thread of a fresh process, so signals work in it.
        tasks: Taken a few ahead of the results, so that a long stream needs little memory.
        seconds: A task that runs longer is killed with its process, and yields `Lost`.
        memory_bytes: Address space of each process.

    Raises:
        Exception: What `function` raises.
    """
    from pebble import ProcessPool

    workers = os.cpu_count() or 1
    pool = ProcessPool(
        workers, context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=[memory_bytes]
    )
    waiting: deque[Any] = deque()
    try:
        for task in tasks:
            waiting.append(pool.schedule(function, args=[task], timeout=seconds))
            if len(waiting) >= _WAITING * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it bare
        pool.join()


def _result(future: Any) -> Any:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TookTooLong:
        return Lost("not done in time")
    except ProcessExpired as death:
        return Lost(f"its process died (exit code {death.exitcode})")


def _begin(memory_bytes: int | None) -> None:
    """Bound this process, and end it with its parent, even out of a C loop that no Python thread can interrupt."""
    if memory_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    end_with_parent()
