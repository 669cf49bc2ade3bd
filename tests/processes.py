"""Whether processes have ended, given the time that a busy machine needs."""

import time
from collections.abc import Iterable

import psutil


def alive_after(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end, and return those that did not; one that nobody has reaped yet has ended."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while (left := [one for one in left if _runs(one)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
