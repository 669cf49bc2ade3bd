"""Running model-written code where it can reach nothing: bubblewrap, resource limits, a clock outside.

No network, no files of this machine but the system's programs and libraries (read-only), no `/proc`, no rights, a
process tree that ends with its first process. Without a working bubblewrap there is no sandbox and nothing is run.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_NOBODY = 65534
_INSIDE = Path(__file__).with_name("inside.py")
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/lib32")
_LINE_LIMIT = 32 * 2**20


class SandboxMissing(Exception):
    """There is no working sandbox on this machine; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class Limits:
    """What code may use: seconds per input and in all, bytes of memory per process, of files, and of output."""

    seconds: float = 6
    total_seconds: float = 120
    memory: int = 2**30
    processes: int = 8
    file_bytes: int = 16 * 2**20
    disk_bytes: int = 64 * 2**20
    output_bytes: int = 8 * 2**20


@dataclass(frozen=True)
class Result:
    """What came of one input: `ok` with its output or value, `error`, or `timeout`."""

    status: str
    value: Any = None


def run(
    code: str, inputs: Sequence[Any], function: str | None = None, limits: Limits | None = None
) -> Iterator[Result]:
    """Run code on inputs and yield what came out, in order; closing the iterator ends the process.

    Args:
        code: Model-written Python.
        inputs: Texts for standard input; with `function`, argument lists (see `encode`).
        function: Called on each input; the code's own or its class `Solution`'s. Without it the code is a program.
        limits: What it may use.

    Raises:
        SandboxMissing: If there is no sandbox.
    """
    limits = limits or Limits()
    task = {
        "code": code,
        "kind": "call" if function else "stdin",
        "function": function,
        "inputs": list(inputs),
        "seconds": limits.seconds,
        "memory": limits.memory,
        "processes": limits.processes,
        "file_bytes": limits.file_bytes,
        "output_bytes": limits.output_bytes,
    }
    require()
    given = 0
    with _process(json.dumps(task).encode(), limits) as lines:
        for line in lines:
            if given == len(inputs):
                return
            given += 1
            yield _result(line)
        status = "timeout" if lines.out_of_time else "error"
    for _ in range(len(inputs) - given):
        yield Result(status)


def _result(line: bytes) -> Result:
    """Read a line that hostile code may have written."""
    try:
        row = json.loads(line)
        return Result(row["status"], decode(row["value"])) if row["status"] in ("ok", "timeout") else Result("error")
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return Result("error")


@cache
def require() -> None:
    """Make sure that the sandbox works, by running a program in it.

    Raises:
        SandboxMissing: If it does not; says why and what to do.
    """
    with _process(b"", Limits(total_seconds=20), probe=True) as lines:
        answer = b"".join(lines)
        complaint = lines.complaint() or "it gave no answer"
    if answer.strip() != b"inside":
        raise SandboxMissing(
            "model-written code is run in bubblewrap alone, and it does not work here: "
            f"{complaint}. Install it (Debian, Ubuntu: apt-get install bubblewrap) "
            "and allow unprivileged user namespaces"
        )


class _Lines:
    """The lines of a process, read until it ends, its time is over, or it writes too much."""

    def __init__(self, process: "subprocess.Popen[bytes]", limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._end = time.monotonic() + limits.total_seconds
        self.out_of_time = False

    def __iter__(self) -> Iterator[bytes]:
        assert self._process.stdout is not None
        held, read = b"", 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                left = self._end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    self.out_of_time = True
                    return
                piece = os.read(self._process.stdout.fileno(), 1 << 16)
                if not piece:
                    return
                held, read = held + piece, read + len(piece)
                *lines, held = held.split(b"\n")
                yield from lines
                if len(held) > _LINE_LIMIT or read > 4 * _LINE_LIMIT:
                    return

    def complaint(self) -> str:
        """The end of what the process wrote on its error stream."""
        assert self._process.stderr is not None
        return self._process.stderr.read(2000).decode(errors="replace").strip()


@contextmanager
def _process(task: bytes, limits: Limits, *, probe: bool = False) -> Iterator[_Lines]:
    """Start the sandbox on a task, and end all of it afterwards."""
    program = "print('inside')" if probe else _INSIDE.read_text(encoding="utf-8")
    identity: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [*_bubblewrap(limits), _python(), "-I", "-c", program]
    with tempfile.TemporaryFile() as given:
        given.write(task)
        given.seek(0)
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if probe else subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            **identity,
        )
    with process:  # closes the streams and waits
        try:
            yield _Lines(process, limits)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _bubblewrap(limits: Limits) -> list[str]:
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxMissing(
            "model-written code is run in bubblewrap alone, and there is no program 'bwrap' here: install it "
            "(Debian, Ubuntu: apt-get install bubblewrap)"
        )
    size = str(limits.disk_bytes)
    arguments = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", str(_NOBODY), "--gid", str(_NOBODY)]
    arguments += ["--cap-drop", "ALL", "--clearenv", "--die-with-parent", "--new-session"]
    arguments += [part for place in _SYSTEM for part in _bound(Path(place))]
    if not _python().startswith("/usr/"):
        prefix = str(Path(_python()).parent.parent)
        arguments += ["--ro-bind", prefix, prefix]
    arguments += ["--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm", "--size", size, "--tmpfs", "/tmp"]  # noqa: S108 - inside
    return [program, *arguments, "--chdir", "/tmp", "--remount-ro", "/"]  # noqa: S108 - inside


def _bound(place: Path) -> list[str]:
    if place.is_symlink():
        return ["--symlink", str(place.readlink()), str(place)]
    return ["--ro-bind", str(place), str(place)] if place.is_dir() else []


@cache
def _python() -> str:
    """The interpreter that code is run with: this one, where nobody may read it, otherwise the system's.

    Raises:
        SandboxMissing: If there is none.
    """
    own = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    for candidate in (own, Path("/usr/bin/python3"), Path("/usr/local/bin/python3")):
        if candidate.exists() and all(folder.stat().st_mode & 0o005 == 0o005 for folder in candidate.resolve().parents):
            return str(candidate)
    raise SandboxMissing(
        f"{own} cannot be read by an unprivileged user, and there is no /usr/bin/python3; install that one to run "
        "model-written code"
    )


def encode(value: Any) -> Any:
    """Write a value of builtin types as JSON that keeps the types; the other side is in `inside.py`.

    Raises:
        TypeError: If there is something else in it.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, complex)):
        return {type(value).__name__: repr(value)}
    if isinstance(value, (tuple, set, frozenset)):
        return {type(value).__name__: [encode(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(part)] for key, part in value.items()]}
    if isinstance(value, list):
        return [encode(part) for part in value]
    raise TypeError(f"{type(value).__name__} is no builtin value")


def decode(value: Any) -> Any:
    """Read what `encode` wrote.

    Raises:
        ValueError, TypeError, KeyError: If it is something else.
    """
    if isinstance(value, list):
        return [decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind in ("float", "complex"):
        return {"float": float, "complex": complex}[kind](inner)
    if kind == "dict":
        return {decode(key): decode(part) for key, part in inner}
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(part) for part in inner)
