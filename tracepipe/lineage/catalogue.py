"""The catalogue `lineage.duckdb`: rebuilt from lineage events, swapped in whole, thrown away at will.

Its tables and their columns are documented in docs/lineage.md; users write SQL against them, so names stay.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from filelock import FileLock

from tracepipe.gates import Gate
from tracepipe.lineage.entries import Entry, read_entries
from tracepipe.lineage.links import family_of
from tracepipe.lineage.views import create_index, create_views
from tracepipe.records import CHECKPOINTS, schema

if TYPE_CHECKING:
    import duckdb

MEMORY = "1GB"
_TEXT, _BOOL, _INT, _FLOAT = pl.String(), pl.Boolean(), pl.Int64(), pl.Float64()

_OF = {"materialization": _INT, "study": _TEXT, "asset": _TEXT, "partition": _TEXT, "version": _TEXT}
SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "materializations": {
        **_OF,
        "current": _BOOL,
        "stage": _TEXT,
        "run_id": _TEXT,
        "recipe_key": _TEXT,
        "code_version": _TEXT,
        "commit": _TEXT,
        "config_version": _TEXT,
        "data_version": _TEXT,
        "rows": _INT,
        "bytes": _INT,
        "seconds": _FLOAT,
        "cost_usd": _FLOAT,
        "ran_on": _TEXT,
        "created_at": _TEXT,
        "withheld": _BOOL,
        "path": _TEXT,
        "config": _TEXT,
        "details": _TEXT,
    },
    "inputs": {**_OF, "input": _TEXT, "input_partition": _TEXT, "input_version": _TEXT, "input_materialization": _INT},
    "gates": {**_OF, "gate": _TEXT, "passed": _BOOL, "summary": _TEXT, "failing_rows": pl.List(_TEXT)},
    "models": {
        **_OF,
        "current": _BOOL,
        "given": _BOOL,
        "name": _TEXT,
        **{name: dtype for name, dtype in schema(CHECKPOINTS).items() if name != "losses"},
        "recipe": _TEXT,
        "losses": pl.List(_FLOAT),
        "last_loss": _FLOAT,
    },
    "tombstones": {
        "target": _TEXT, "purged_at": _TEXT, "finished": _BOOL, "versions": _INT, "rows": _INT, "checkpoints": _INT
    },
}  # fmt: skip


def rebuild(open_root: Path, withheld_root: Path, catalogue: Path, tombstones: Path) -> int:
    """Write the catalogue anew and swap it in; readers of the old file are not disturbed.

    Args:
        open_root: Root of the open store.
        withheld_root: Root of the withheld one.
        catalogue: Where `lineage.duckdb` goes.
        tombstones: Folder of what purges left.

    Returns:
        The number of events.
    """
    import duckdb

    catalogue.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(catalogue.with_suffix(".lock")):
        for left_over in catalogue.parent.glob(f".{catalogue.name}.*"):
            left_over.unlink()  # of a rebuild that was killed: its lock is ours now
        temporary = catalogue.with_name(f".{catalogue.name}.{uuid.uuid4().hex}.tmp")
        entries = read_entries(open_root, withheld_root)
        try:
            with duckdb.connect(str(temporary), config={"memory_limit": MEMORY}) as connection:
                _fill(connection, entries, tombstones)
            temporary.replace(catalogue)
        finally:
            temporary.unlink(missing_ok=True)
        catalogue.with_name(catalogue.name + ".wal").unlink(missing_ok=True)
    return len(entries)


def _fill(connection: "duckdb.DuckDBPyConnection", entries: Sequence[Entry], tombstones: Path) -> None:
    standing = [entry for entry in entries if entry.stands]
    rows = {
        "materializations": [_materialization(entry) for entry in entries],
        "inputs": list(_inputs(entries)),
        "gates": [_of(entry) | _gate(gate) for entry in entries for gate in entry.event.gates],
        "models": list(_models(standing)),
        "tombstones": [_tombstone(path) for path in sorted(tombstones.glob("*.json"))],
    }
    connection.execute("SET enable_progress_bar = false")
    for name, found in rows.items():
        frame = pl.DataFrame(found, schema=SCHEMAS[name], orient="row")
        connection.register("frame", frame.to_arrow())
        types = {"created_at": "::TIMESTAMPTZ", "purged_at": "::TIMESTAMPTZ"} | dict.fromkeys(_JSON, "::JSON")
        columns = ", ".join(f'"{column}"{types.get(column, "")} AS "{column}"' for column in SCHEMAS[name])
        connection.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM frame")  # noqa: S608 - names of our own
        connection.unregister("frame")
    create_index(connection, standing)
    create_views(connection, [entry for entry in standing if entry.current])


_JSON = ("config", "details", "recipe")


def _of(entry: Entry) -> dict[str, Any]:
    event = entry.event
    return {
        "materialization": entry.number,
        "study": event.study,
        "asset": event.asset,
        "partition": event.partition,
        "version": event.version,
    }


def _materialization(entry: Entry) -> dict[str, Any]:
    event = entry.event
    kept = {name: getattr(event, name) for name in SCHEMAS["materializations"] if hasattr(event, name)}
    here = {"current": entry.current, "withheld": entry.withheld, "path": str(entry.path)}
    return kept | _of(entry) | here | {"config": json.dumps(event.config), "details": json.dumps(event.details)}


def _inputs(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    numbers = {(entry.event.study, entry.event.as_input): entry.number for entry in entries}
    for entry in entries:
        for one in entry.event.inputs:
            read = {"input": one.asset, "input_partition": one.partition, "input_version": one.version}
            yield _of(entry) | read | {"input_materialization": numbers.get((entry.event.study, one))}


def _gate(gate: Gate) -> dict[str, Any]:
    return {"gate": gate.name, "passed": gate.passed, "summary": gate.summary, "failing_rows": list(gate.rows)}


def _models(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Trained checkpoints from their tables, and given models from the events of what ran them, each once."""
    given: set[tuple[str, str]] = set()
    for entry in entries:
        about = _of(entry) | {"current": entry.current}
        blank = dict.fromkeys(SCHEMAS["models"])
        for weights, name in entry.event.models.items():
            if (entry.event.study, weights) not in given:
                given.add((entry.event.study, weights))
                yield blank | about | {"given": True, "name": name, "weights": weights, "checkpoint_id": weights}
        if family_of(entry.event.asset) in ("student", "inverter"):
            recipe = json.dumps(entry.event.config["study"].get("recipe"))
            for row in pl.read_parquet(entry.path).iter_rows(named=True):
                if row["dataset_hash"] is not None:
                    last = row["losses"][-1] if row["losses"] else None
                    trained = {"given": False, "name": row["role"], "recipe": recipe, "last_loss": last}
                    yield blank | about | row | trained


def _tombstone(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: content[name] for name in SCHEMAS["tombstones"]}
