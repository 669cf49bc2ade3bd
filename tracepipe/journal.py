"""An append-only file of JSON lines that survives being killed at any moment."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Lines are flushed to disk one by one; a line cut short by a kill is discarded when reading or appending."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry and wait until it is on disk."""
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                self._drop_torn_line(stream)
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())

    @staticmethod
    def _drop_torn_line(stream: Any) -> None:
        end = stream.seek(0, os.SEEK_END)
        if end == 0:
            return
        stream.seek(end - 1)
        if stream.read(1) == b"\n":
            return
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.seek(0, os.SEEK_END)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield every whole entry, oldest first."""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield json.loads(line)


class Sink:
    """A journal that can be written and not read: what collection is given of an open target's trace log."""

    def __init__(self, journal: Journal) -> None:
        self.append = journal.append
        self.path = journal.path
