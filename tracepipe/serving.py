"""Serve a target on this machine while it is collected, where its file says how."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tracepipe.target import Serve, Target


class ServingError(RuntimeError):
    """The server could not be started; the message names the target and holds the end of its output."""


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    trace_log.parent.mkdir(parents=True, exist_ok=True)
    log = trace_log.with_suffix(".server.log")
    places = {"python": sys.executable, "port": port, "folder": folder, "trace_log": trace_log, "parent": os.getpid()}
    command = [part.format(**places) for part in target.serve.command]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        base_url = target.base_url.format(port=port)
        _wait_until_healthy(target, target.serve, server, f"http://127.0.0.1:{port}{target.serve.health}", log)
        yield base_url
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_healthy(target: Target, serve: Serve, server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + serve.ready_seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServingError(
                f"target '{target.name}': its server ended with status {server.returncode}:\n{_end_of(log)}"
            )
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - an http address of this machine
            return
        time.sleep(0.1)
    raise ServingError(
        f"target '{target.name}': its server was not healthy within {serve.ready_seconds:g} s:\n{_end_of(log)}"
    )


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
