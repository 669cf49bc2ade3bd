"""Processes that end with the one that started them: a killed parent can end nothing.

    python -m tracepipe.tether PARENT_PID LOG COMMAND ...

runs a command in place of itself, so that it has the tie and no process in between.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """End this process when its parent's thread ends, even out of a C loop that no Python thread can interrupt."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def tethered(command: Sequence[str], log: Path | None = None) -> list[str]:
    """Return the command tied to this process; its output goes to a file, if one is named."""
    return [sys.executable, "-m", "tracepipe.tether", str(os.getpid()), str(log or "-"), *command]


def _main(parent: int, log: str, command: list[str]) -> None:
    end_with_parent()
    if os.getppid() != parent:  # it ended before the tie was there
        sys.exit(1)
    if log != "-":
        kept = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(kept, 1)
        os.dup2(kept, 2)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
