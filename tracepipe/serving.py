"""Servers on this machine: a target's while it is collected, where its file says how; a model's while it is asked."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tracepipe.target import Target
from tracepipe.tether import tethered

_LAST_SECONDS = 10


class ServingError(RuntimeError):
    """The server could not be started; the message names it and holds the end of its output."""


@contextlib.contextmanager
def reachable(target: Target, folder: Path, trace_log: Path) -> Iterator[str]:
    """Make a target reachable and yield its base URL.

    Args:
        target: The target; one without `serve` is taken to be running.
        folder: The folder of its file, for `{folder}`.
        trace_log: For `{trace_log}`.

    Raises:
        ServingError: If its server ends or does not become healthy in time.
    """
    if target.serve is None:
        yield target.base_url
        return
    port = free_port()
    log = trace_log.with_suffix(".server.log")
    places = {"python": sys.executable, "port": port, "folder": folder, "trace_log": trace_log, "parent": os.getpid()}
    command = [part.format(**places) for part in target.serve.command]
    health = f"http://127.0.0.1:{port}{target.serve.health}"
    with running(command, health, target.serve.ready_seconds, log, f"target '{target.name}': its server"):
        yield target.base_url.format(port=port)


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def running(command: Sequence[str], health: str, ready_seconds: float, log: Path, name: str) -> Iterator[None]:
    """Run a server for the length of a block; it ends with this process, however that ends.

    Args:
        command: What starts it.
        health: URL that answers once it is ready.
        ready_seconds: How long that may take.
        log: Where its output goes.
        name: What it is, for errors.

    Raises:
        ServingError: If it ends or does not become healthy in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        server = subprocess.Popen(tethered(command), stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_until_healthy(server, health, ready_seconds, log, name)
        yield
    finally:
        _stop(server)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End a server and what it has started."""
    server.terminate()
    try:
        server.wait(_LAST_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def _wait_until_healthy(
    server: "subprocess.Popen[bytes]", url: str, ready_seconds: float, log: Path, name: str
) -> None:
    deadline = time.monotonic() + ready_seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServingError(f"{name} ended with status {server.returncode}:\n{_end_of(log)}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - an http address of this machine
            return
        time.sleep(0.1)
    raise ServingError(f"{name} was not healthy within {ready_seconds:g} s:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
