"""The program inside the sandbox: runs model-written code on inputs and sends back what came out, as JSON lines.

It is handed to the sandbox's Python as text and uses the standard library alone. It knows no expected output: what
it sends is compared outside. Standard input holds one JSON object: `code`, `kind` (`stdin` or `call`), `function`,
`inputs`, `seconds` (per input), `memory`, `processes`, `file_bytes`, `output_bytes`. Each line it writes is
`{"status": "ok" | "error" | "timeout", "value": ...}`, in the order of the inputs.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

Task = dict[str, Any]
Row = dict[str, Any]

_TIMEOUT = '{"status": "timeout"}'
_PREAMBLE = (
    "from string import *\nfrom re import *\nfrom datetime import *\nfrom collections import *\nfrom heapq import *\n"
    "from bisect import *\nfrom copy import *\nfrom math import *\nfrom random import *\nfrom statistics import *\n"
    "from itertools import *\nfrom functools import *\nfrom operator import *\nfrom typing import *\n"
    "from builtins import *\nimport string, re, datetime, collections, heapq, bisect, copy, math, random, statistics\n"
    "import itertools, functools, operator, io, sys, json\n"
)


def main() -> None:
    """Read the task, bound this process, run all inputs."""
    task = json.load(sys.stdin)
    results = os.fdopen(os.dup(1), "w")
    os.set_inheritable(results.fileno(), False)
    limits = (
        (resource.RLIMIT_AS, task["memory"]),
        (resource.RLIMIT_NPROC, task["processes"]),
        (resource.RLIMIT_FSIZE, task["file_bytes"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, value in limits:
        resource.setrlimit(limit, (value, value))
    sys.setrecursionlimit(20000)
    run = _run_calls if task["kind"] == "call" else _run_programs
    for result in run(task):
        results.write(json.dumps(result) + "\n")
        results.flush()


def _run_programs(task: Task) -> Iterator[Row]:
    """Run the code as a program once per input, each in a process of its own."""
    for number, text in enumerate(task["inputs"]):
        place = "/tmp/%d" % number
        with open(place, "w") as stream:
            stream.write(text)
        child = os.fork()
        if child == 0:
            _become(place, place + ".out", task["seconds"])
            exec(compile(task["code"], "solution.py", "exec"), {"__name__": "__main__"})
            sys.stdout.flush()
            os._exit(0)
        status = _wait(child, task["seconds"])
        try:
            with open(place + ".out", errors="replace") as stream:
                value = stream.read(task["output_bytes"] + 1)
        except OSError:
            value = ""
        _remove(place, place + ".out")
        if status == "ok" and len(value) > task["output_bytes"]:
            status = "error"
        yield {"status": status, "value": value if status == "ok" else None}


def _run_calls(task: Task) -> Iterator[Row]:
    """Load the code once and call its function on every input, all in one process, as the official harness does.

    A call that does not end in time is the last one: code is right on all inputs or not at all.
    """
    place = "/tmp/results"
    child = os.fork()
    if child == 0:
        _become("/dev/null", "/dev/null", None)
        with open(place, "w") as stream:
            _call_all(task, stream)
        os._exit(0)
    _wait(child, task["seconds"] * (len(task["inputs"]) + 1))
    try:
        with open(place, errors="replace") as stream:
            lines: list[str] = stream.read(task["output_bytes"] + 1).split("\n")[:-1]
    except OSError:
        lines = []
    for number in range(len(task["inputs"])):
        try:
            result = json.loads(lines[number])
        except (IndexError, ValueError):
            result = {}
        yield {"status": result.get("status", "error"), "value": result.get("value")}


def _call_all(task: Task, stream: TextIO) -> None:
    space: dict[str, Any] = {"__name__": "solution"}
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(max(1, round(task["seconds"])))
    exec(compile(_PREAMBLE + task["code"], "solution.py", "exec"), space)
    signal.alarm(0)
    function = getattr(space["Solution"](), task["function"]) if "Solution" in space else space[task["function"]]
    for arguments in task["inputs"]:
        try:
            signal.alarm(max(1, round(task["seconds"])))
            value = function(*[_decode(argument) for argument in arguments])
            signal.alarm(0)
            line = json.dumps({"status": "ok", "value": _encode(value)})
        except _OutOfTime:
            line = _TIMEOUT
        except BaseException:
            line = '{"status": "error"}'
        signal.alarm(0)
        stream.write(line + "\n")
        stream.flush()
        if line == _TIMEOUT:
            return


def _become(stdin: str, stdout: str, seconds: float | None) -> None:
    """Turn a fork into the process that runs the code: its own streams, nothing else open, a bound on its time."""
    for number, place, mode in (
        (0, stdin, os.O_RDONLY),
        (1, stdout, os.O_WRONLY | os.O_CREAT),
        (2, "/dev/null", os.O_WRONLY),
    ):
        opened = os.open(place, mode, 0o600)
        os.dup2(opened, number)
    os.closerange(3, 64)
    sys.stdin, sys.stdout = os.fdopen(0, "r"), os.fdopen(1, "w")
    if seconds is not None:
        bound = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (bound, bound))


def _wait(child: int, seconds: float) -> str:
    """Wait for a process; end it when its time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return (
                "ok"
                if status == 0
                else "timeout"
                if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
                else "error"
            )
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


class _OutOfTime(BaseException):
    pass


def _out_of_time(*_: Any) -> None:
    raise _OutOfTime


def _encode(value: Any) -> Any:
    """Write a value so that its builtin types survive JSON; anything that is no builtin is refused."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind is complex:
        return {"complex": repr(value)}
    if kind in (tuple, set, frozenset):
        return {kind.__name__: [_encode(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key), _encode(part)] for key, part in dict.items(value)]}
    if isinstance(value, list):
        return [_encode(part) for part in list.__iter__(value)]
    for base in (bool, int, str):
        if isinstance(value, base):
            return json.loads(json.dumps(base(value)))
    if isinstance(value, float):
        return {"float": float.__repr__(value)}
    raise TypeError("not a builtin value")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(part) for part in value]
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "float":
            return float(inner)
        if kind == "complex":
            return complex(inner)
        if kind == "dict":
            return {_decode(key): _decode(part) for key, part in inner}
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](_decode(part) for part in inner)
    return value


def _remove(*places: str) -> None:
    for place in places:
        try:
            os.remove(place)
        except OSError:
            pass


main()
