"""Tables on disk: Parquet files named by what they were made from and hold, and one lineage event per materialisation.

Files are the truth. A version of a table is written once, to
`<root>/tables/<study>/<asset>/<partition>/<version>.parquet`, and never changed; a version is its recipe (code,
configuration and inputs) and its content. `current.json` beside it is the event of the version in use. Every write
goes to a temporary name first and is moved into place.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.files import write_atomically, write_parquet
from tracepipe.gates import Gate
from tracepipe.identity import digest, frame_hash
from tracepipe.mirror import Mirror

UNPARTITIONED = "all"
"""Folder of a table that belongs to the study and to no target."""

_FORMAT = 2


@dataclass(frozen=True)
class Input:
    """The very version of a table that was read."""

    asset: str
    partition: str
    version: str

    @property
    def data_version(self) -> str:
        """Content hash of the rows read."""
        return self.version.partition(".")[2]


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a table was made: all about a materialisation but its rows.

    Attributes:
        stage: The stage of the pipeline.
        recipe_key: Hash of asset, code and configuration, and the data versions of the inputs.
        config_version: Hash of the configuration.
        commit: The git commit of the code; None outside a checkout.
        seconds: Time it took to make the rows.
        cost_usd: What the rows cost at a provider's price; 0 where no provider was asked.
        ran_on: Machine and processes.
        config: The part of the study and of the target's file that decided the rows.
        models: Weights id to the name of each given model, as the study has it.
        gates: The verdicts reached when the rows were made.
        details: Figures worth keeping (counts), as JSON values.
    """

    asset: str
    partition: str
    stage: str
    recipe_key: str
    code_version: str
    config_version: str
    run_id: str
    seconds: float
    inputs: tuple[Input, ...] = ()
    commit: str | None = None
    cost_usd: float = 0.0
    ran_on: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event(Making):
    """One materialisation of a table: what was made, from what, by what.

    Attributes:
        data_version: Content hash of the rows.
        path: The Parquet file, relative to the store's root.
        columns: Name to type.
        created_at: UTC.
    """

    study: str
    data_version: str
    path: str
    columns: dict[str, str]
    rows: int
    bytes: int
    created_at: str

    @property
    def version(self) -> str:
        """Recipe and content: the name of the version's files."""
        return f"{self.recipe_key}.{self.data_version}"

    @property
    def as_input(self) -> Input:
        """This version as another table's event names it."""
        return Input(self.asset, self.partition, self.version)

    def to_json(self) -> str:
        """Write the event as JSON."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)


def read_event(path: Path) -> Event | None:
    """Read an event; None where there is none, or only one of an earlier TracePipe, whose table is then made anew."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if content.pop("format", None) != _FORMAT:
        return None
    content["gates"] = tuple(Gate(**{**gate, "rows": tuple(gate["rows"])}) for gate in content["gates"])
    content["inputs"] = tuple(Input(**one) for one in content["inputs"])
    return Event(**content)


def recipe_key(asset: str, code_version: str, inputs: Mapping[str, str], about: Mapping[str, Any]) -> str:
    """Return the identity of what makes a table: the same recipe is never made twice."""
    return digest({"asset": asset, "code": code_version, "inputs": dict(inputs), "about": dict(about)})


class Store:
    """The tables of one study under one root.

    The withheld root is another `Store`: code that is handed only the open one cannot reach it.
    """

    def __init__(self, root: Path, study: str, mirror: Mirror | None = None) -> None:
        self.root = root
        self.study = study
        self._mirror = mirror

    def _folder(self, asset: str, partition: str) -> Path:
        return self.root / "tables" / self.study / asset / partition

    def current(self, asset: str, partition: str) -> Event | None:
        """Return the event of the version in use, if the table was ever made."""
        return read_event(self._folder(asset, partition) / "current.json")

    def version(self, one: Input) -> Event | None:
        """Return the event of a version that another table has read, if it is here."""
        return read_event(self._folder(one.asset, one.partition) / f"{one.version}.json")

    def read(self, asset: str, partition: str) -> pl.DataFrame:
        """Read the version in use.

        Raises:
            FileNotFoundError: If the table was never made, or its file is gone; names the asset.
        """
        event = self.current(asset, partition)
        if event is None:
            raise FileNotFoundError(f"table '{asset}' ({partition}) has not been materialised; materialise it first")
        return self.read_version(event)

    def read_version(self, event: Event) -> pl.DataFrame:
        """Read a version.

        Raises:
            FileNotFoundError: If its file is gone; names the asset.
        """
        path = self.root / event.path
        if not self._here(path):
            raise FileNotFoundError(f"table '{event.asset}' ({event.partition}): {path} is gone; materialise it again")
        return pl.read_parquet(path)

    def partitions(self, asset: str) -> list[str]:
        """Return the partitions for which a table was made."""
        return sorted(path.parent.name for path in (self.root / "tables" / self.study / asset).glob("*/current.json"))

    def find(self, asset: str, partition: str, key: str) -> Event | None:
        """Return the latest event of an earlier materialisation by the same recipe whose file still stands."""
        found = [read_event(path) for path in self._folder(asset, partition).glob(f"{key}.*.json")]
        whole = [event for event in found if event is not None and self._stands(event)]
        return max(whole, key=lambda event: event.created_at, default=None)

    def _stands(self, event: Event) -> bool:
        file = self.root / event.path
        return self._here(file) and file.stat().st_size == event.bytes

    def _here(self, file: Path) -> bool:
        return file.exists() or (self._mirror is not None and self._mirror.pull(file))

    def _share(self, file: Path) -> None:
        if self._mirror is not None and file.exists():
            self._mirror.push(file)

    def write(self, frame: pl.DataFrame, making: Making) -> Event:
        """Write a version of a table and its event, and make it the version in use."""
        data_version = frame_hash(frame)
        path = self._folder(making.asset, making.partition) / f"{making.recipe_key}.{data_version}.parquet"
        write_parquet(frame, path)
        event = Event(
            **{one.name: getattr(making, one.name) for one in fields(making)},
            study=self.study,
            data_version=data_version,
            path=str(path.relative_to(self.root)),
            columns={name: str(dtype) for name, dtype in frame.schema.items()},
            rows=frame.height,
            bytes=path.stat().st_size,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        write_atomically(path.with_suffix(".json"), event.to_json().encode())
        self.use(event)
        return event

    def use(self, event: Event) -> None:
        """Make a version the one in use; where the home lies on S3, all of it gets there first."""
        file = self.root / event.path
        current = self._folder(event.asset, event.partition) / "current.json"
        self._share(file)
        self._share(file.with_suffix(".json"))
        write_atomically(current, event.to_json().encode())
        self._share(current)


def events_under(root: Path) -> list[Event]:
    """Return every event under a store's root, of every study, oldest first."""
    found = [read_event(file) for file in _event_files(root) if file.name != "current.json"]
    events = [event for event in found if event is not None]
    return sorted(events, key=lambda event: (event.created_at, event.asset, event.partition))


def in_use_under(root: Path) -> set[tuple[str, Input]]:
    """Return study and version of every table's version in use under a store's root."""
    found = [read_event(file) for file in _event_files(root) if file.name == "current.json"]
    return {(event.study, event.as_input) for event in found if event is not None}


def _event_files(root: Path) -> Iterator[Path]:
    return (root / "tables").rglob("*.json")
