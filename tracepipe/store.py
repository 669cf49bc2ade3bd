"""Tables on disk: Parquet files named by what they were made from, and one lineage event per materialisation.

Files are the truth. A table of one recipe (code, configuration and inputs) is written once, to
`<root>/<asset>/<partition>/<recipe>.parquet`, and never changed; `current.json` beside it is the
event of the version in use. Every write goes to a temporary name first and is moved into place.
"""

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.gates import Gate
from tracepipe.identity import digest, frame_hash

UNPARTITIONED = "all"
"""Folder of a table that belongs to the study and to no target."""


@dataclass(frozen=True)
class Event:
    """One materialisation of a table: what was made, from what, by what.

    Attributes:
        recipe_key: Hash of asset, code and configuration, and the data versions of the inputs.
        data_version: Content hash of the rows.
        inputs: Asset to data version, for every input read.
        gates: The verdicts reached when the rows were made.
        details: Figures worth keeping (counts, costs), as JSON values.
    """

    study: str
    asset: str
    partition: str
    recipe_key: str
    code_version: str
    data_version: str
    inputs: dict[str, str]
    path: str
    rows: int
    bytes: int
    seconds: float
    created_at: str
    run_id: str
    gates: tuple[Gate, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> "Event":
        """Read an event back."""
        content = json.loads(text)
        content["gates"] = tuple(Gate(**{**gate, "rows": tuple(gate["rows"])}) for gate in content["gates"])
        return cls(**content)

    def to_json(self) -> str:
        """Write the event as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
    move_into_place(temporary, path)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    frame.write_parquet(temporary)
    move_into_place(temporary, path)


def move_into_place(temporary: Path, path: Path) -> None:
    """Flush a finished file or folder to disk and give it its name."""
    for file in temporary.rglob("*") if temporary.is_dir() else [temporary]:
        if file.is_file():
            _flush(file)
    temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recipe_key(asset: str, code_version: str, inputs: Mapping[str, str], about: Mapping[str, Any]) -> str:
    """Return the identity of what makes a table: the same recipe is never made twice."""
    return digest({"asset": asset, "code": code_version, "inputs": dict(inputs), "about": dict(about)})


class Store:
    """The tables of one study under one root.

    The withheld root is another `Store`: code that is handed only the open one cannot reach it.
    """

    def __init__(self, root: Path, study: str) -> None:
        self.root = root
        self.study = study

    def _folder(self, asset: str, partition: str) -> Path:
        return self.root / "tables" / self.study / asset / partition

    def current(self, asset: str, partition: str) -> Event | None:
        """Return the event of the version in use, if the table was ever made."""
        path = self._folder(asset, partition) / "current.json"
        return Event.from_json(path.read_text(encoding="utf-8")) if path.exists() else None

    def read(self, asset: str, partition: str) -> pl.DataFrame:
        """Read the version in use.

        Raises:
            FileNotFoundError: If the table was never made, or its file is gone; names the asset.
        """
        event = self.current(asset, partition)
        if event is None:
            raise FileNotFoundError(f"table '{asset}' ({partition}) has not been materialised; materialise it first")
        path = self.root / event.path
        if not path.exists():
            raise FileNotFoundError(f"table '{asset}' ({partition}): {path} is gone; materialise it again")
        return pl.read_parquet(path)

    def partitions(self, asset: str) -> list[str]:
        """Return the partitions for which a table was made."""
        return sorted(path.parent.name for path in (self.root / "tables" / self.study / asset).glob("*/current.json"))

    def find(self, asset: str, partition: str, key: str) -> Event | None:
        """Return the event of an earlier materialisation by the same recipe whose file still stands."""
        path = self._folder(asset, partition) / f"{key}.json"
        if not path.exists():
            return None
        event = Event.from_json(path.read_text(encoding="utf-8"))
        file = self.root / event.path
        return event if file.exists() and file.stat().st_size == event.bytes else None

    def write(
        self,
        frame: pl.DataFrame,
        *,
        asset: str,
        partition: str,
        key: str,
        code_version: str,
        inputs: Mapping[str, str],
        seconds: float,
        run_id: str,
        gates: Sequence[Gate] = (),
        details: Mapping[str, Any] | None = None,
    ) -> Event:
        """Write a table and its event, and make it the version in use."""
        path = self._folder(asset, partition) / f"{key}.parquet"
        write_parquet(frame, path)
        event = Event(
            study=self.study,
            asset=asset,
            partition=partition,
            recipe_key=key,
            code_version=code_version,
            data_version=frame_hash(frame),
            inputs=dict(inputs),
            path=str(path.relative_to(self.root)),
            rows=frame.height,
            bytes=path.stat().st_size,
            seconds=seconds,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            run_id=run_id,
            gates=tuple(gates),
            details=dict(details or {}),
        )
        write_atomically(path.with_suffix(".json"), event.to_json().encode())
        self.use(event)
        return event

    def use(self, event: Event) -> None:
        """Make an earlier version the one in use."""
        current = self._folder(event.asset, event.partition) / "current.json"
        write_atomically(current, event.to_json().encode())


def events_under(root: Path) -> list[Event]:
    """Return every event under a store's root, of every study, oldest first."""
    files = [file for file in root.glob("tables/**/*.json") if file.name != "current.json"]
    found = [Event.from_json(file.read_text(encoding="utf-8")) for file in files]
    return sorted(found, key=lambda event: (event.created_at, event.asset, event.partition))
