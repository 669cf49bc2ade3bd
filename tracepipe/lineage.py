"""The catalogue `lineage.duckdb`: rebuilt from lineage events, swapped in whole, thrown away at will."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracepipe.store import UNPARTITIONED, Event, Store, events_under

if TYPE_CHECKING:
    import duckdb

_TABLES = """
CREATE TABLE materializations (
    study TEXT, asset TEXT, "partition" TEXT, recipe_key TEXT, code_version TEXT, data_version TEXT,
    current BOOLEAN, path TEXT, "rows" BIGINT, bytes BIGINT, seconds DOUBLE, created_at TIMESTAMPTZ,
    run_id TEXT, details JSON
);
CREATE TABLE inputs (study TEXT, asset TEXT, "partition" TEXT, recipe_key TEXT, input TEXT, input_data_version TEXT);
CREATE TABLE gates (
    study TEXT, asset TEXT, "partition" TEXT, recipe_key TEXT, gate TEXT, passed BOOLEAN, summary TEXT,
    failing_rows TEXT[]
);
"""


def rebuild(roots: Sequence[Path], catalogue: Path) -> int:
    """Write the catalogue anew and swap it in; readers of the old file are not disturbed.

    Tables `materializations`, `inputs` and `gates`; for each asset one view named after it
    (`inverter/summary` becomes `inverter_summary`) over the versions in use of every study and target.

    Args:
        roots: The roots of the open store and the withheld one.
        catalogue: Where `lineage.duckdb` goes.

    Returns:
        The number of events.
    """
    import duckdb

    catalogue.parent.mkdir(parents=True, exist_ok=True)
    temporary = catalogue.with_name(f".{catalogue.name}.{uuid.uuid4().hex}.tmp")
    events = [(Store(root, event.study), event) for root in roots for event in events_under(root)]
    try:
        with duckdb.connect(str(temporary)) as connection:
            connection.execute(_TABLES)
            current = [(store, event) for store, event in events if _in_use(store, event)]
            in_use = {(event.study, event.asset, event.partition, event.recipe_key) for _, event in current}
            for _, event in events:
                _insert(connection, event, (event.study, event.asset, event.partition, event.recipe_key) in in_use)
            _create_views(connection, current)
        temporary.replace(catalogue)
    finally:
        temporary.unlink(missing_ok=True)
    catalogue.with_name(catalogue.name + ".wal").unlink(missing_ok=True)
    return len(events)


def ancestors(stores: Sequence[Store], events: Sequence[Event]) -> list[Event]:
    """Return the given events and those of everything they were made from, each once."""
    found: dict[tuple[str, str], Event] = {}
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        if (event.asset, event.partition) in found:
            continue
        found[event.asset, event.partition] = event
        for asset in event.inputs:
            parents = [store.current(asset, part) for store in stores for part in (event.partition, UNPARTITIONED)]
            waiting += [parent for parent in parents if parent is not None]
    return list(found.values())


def _in_use(store: Store, event: Event) -> bool:
    current = store.current(event.asset, event.partition)
    return current is not None and current.recipe_key == event.recipe_key


def _insert(connection: "duckdb.DuckDBPyConnection", event: Event, current: bool) -> None:
    key = [event.study, event.asset, event.partition, event.recipe_key]
    about = [event.path, event.rows, event.bytes, event.seconds, event.created_at, event.run_id]
    connection.execute(
        "INSERT INTO materializations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [*key, event.code_version, event.data_version, current, *about, json.dumps(event.details)],
    )
    for asset, version in event.inputs.items():
        connection.execute("INSERT INTO inputs VALUES (?, ?, ?, ?, ?, ?)", [*key, asset, version])
    for gate in event.gates:
        verdict = [gate.name, gate.passed, gate.summary, list(gate.rows)]
        connection.execute("INSERT INTO gates VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*key, *verdict])


def _create_views(connection: "duckdb.DuckDBPyConnection", current: list[tuple[Store, Event]]) -> None:
    by_asset: dict[str, list[tuple[Store, Event]]] = {}
    for store, event in current:
        if (store.root / event.path).exists():
            by_asset.setdefault(event.asset, []).append((store, event))
    for asset, found in by_asset.items():
        parts = [
            f"SELECT {_literal(event.study)} AS study, {_literal(event.partition)} AS target, * "  # noqa: S608 - escaped literals
            f"FROM read_parquet({_literal(str(store.root / event.path))})"
            for store, event in found
        ]
        connection.execute(f'CREATE VIEW "{asset.replace("/", "_")}" AS {" UNION ALL BY NAME ".join(parts)}')


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
