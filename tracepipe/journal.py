"""An append-only file of JSON lines that survives being killed at any moment."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tracepipe.spec import SpecError

_BLOCK = 1 << 12


class Journal:
    """Lines are on disk before `append` returns; one cut short by a kill is discarded when reading or appending.

    One process writes at a time. Any number may read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def append(self, entry: dict[str, Any]) -> int:
        """Write one entry, wait until it is on disk, and return the offset of its line in bytes."""
        return self.append_all([entry])[0]

    def append_all(self, entries: Sequence[dict[str, Any]]) -> list[int]:
        """Write entries with one flush, wait until they are on disk, and return the offsets of their lines.

        Raises:
            OSError: If they cannot be written; none of them is kept.
        """
        if not entries:
            return []
        lines = [json.dumps(entry, ensure_ascii=False).encode(errors="surrogatepass") + b"\n" for entry in entries]
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+", buffering=0) as stream:
                _drop_torn_line(stream)
                return _write_whole(stream, lines)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield every whole entry, oldest first."""
        return (entry for _, entry in self.placed())

    def placed(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every whole entry with the offset of its line in bytes, oldest first."""
        if not self.path.exists():
            return
        offset = 0
        with self.path.open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield offset, self._decode(line, offset)
                offset += len(line)

    def at(self, offsets: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the entries whose lines begin at the given offsets, in that order."""
        if not offsets:
            return
        with self.path.open("rb") as stream:
            for offset in offsets:
                stream.seek(offset)
                yield self._decode(stream.readline(), offset)

    def _decode(self, line: bytes, offset: int) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise SpecError(
                f"{self.path}: the line at byte {offset} is no JSON ({error}); the file was changed by something else: "
                "restore it, or take that line out"
            ) from None
        return entry


def _drop_torn_line(stream: Any) -> None:
    end = kept = stream.seek(0, os.SEEK_END)
    while kept:
        start = max(0, kept - _BLOCK)
        stream.seek(start)
        newline = stream.read(kept - start).rfind(b"\n")
        if newline >= 0:
            kept = start + newline + 1
            break
        kept = start
    if kept < end:
        stream.truncate(kept)


def _write_whole(stream: Any, lines: Sequence[bytes]) -> list[int]:
    start = stream.seek(0, os.SEEK_END)
    try:
        content = memoryview(b"".join(lines))
        while content:
            content = content[stream.write(content) :]
        os.fsync(stream.fileno())
    except OSError:
        stream.truncate(start)
        raise
    offsets = [start]
    for line in lines[:-1]:
        offsets.append(offsets[-1] + len(line))
    return offsets


class Writable(Protocol):
    """What entries can be appended to: a journal or a sink."""

    def append_all(self, entries: Sequence[dict[str, Any]]) -> list[int]:
        """Write entries with one flush and return the offsets of their lines."""


class GroupCommit:
    """Lets many tasks append at once: while one flush is on its way to disk, the next one gathers."""

    def __init__(self, journal: Writable) -> None:
        self._journal = journal
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[int]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def append(self, entry: dict[str, Any]) -> int:
        """Write one entry, wait until it is on disk, and return its offset in bytes.

        Raises:
            OSError: If it cannot be written.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[int] = loop.create_future()
        self._waiting.append((entry, written))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        return await written

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                offsets = await asyncio.to_thread(self._journal.append_all, [entry for entry, _ in batch])
            except OSError as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
            else:
                for (_, written), offset in zip(batch, offsets, strict=True):
                    if not written.done():
                        written.set_result(offset)
        self._flushing = None


class Sink:
    """What collection is given of an open target's trace log: it adds traces and cannot read them."""

    def __init__(self, journal: Journal) -> None:
        self.append_all = journal.append_all
        self.path = journal.path
        self._entries = journal.entries

    def visible_parts(self) -> Iterator[dict[str, Any]]:
        """Yield what may be seen of the responses that landed here: `{attempt, request_key, seconds, visible}`."""
        for entry in self._entries():
            if "visible" in entry:
                yield {name: entry[name] for name in ("attempt", "request_key", "seconds", "visible")}
