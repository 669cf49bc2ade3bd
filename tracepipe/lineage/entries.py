"""The events of both stores as one list, each with where it lies."""

from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tracepipe.store import Event, events_under, in_use_under


@dataclass(frozen=True)
class Entry:
    """One event, where it lies, and its number in the catalogue."""

    number: int
    root: Path
    event: Event
    current: bool
    withheld: bool

    @property
    def path(self) -> Path:
        """The Parquet file."""
        return self.root / self.event.path

    @property
    def stands(self) -> bool:
        """Whether the file is there and whole."""
        return self.path.exists() and self.path.stat().st_size == self.event.bytes


def read_entries(open_root: Path, withheld_root: Path) -> list[Entry]:
    """Read the events of both stores, oldest first."""
    numbers = count(1)
    return [
        Entry(next(numbers), root, event, (event.study, event.as_input) in in_use, root == withheld_root)
        for root in (open_root, withheld_root)
        for in_use in [in_use_under(root)]
        for event in events_under(root)
    ]


def event_json(entry: Entry) -> dict[str, Any]:
    """Return an event as JSON values, with where its file lies."""
    return asdict(entry.event) | {"file": str(entry.path), "current": entry.current, "withheld": entry.withheld}
