"""The catalogue `lineage.duckdb`: rebuilt from lineage events, swapped in whole, thrown away at will.

Its tables and their columns are documented in docs/lineage.md; users write SQL against them, so names stay.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from filelock import FileLock

from tracepipe.lineage.links import FAMILIES, family_of
from tracepipe.records import CHECKPOINTS, schema
from tracepipe.store import Event, events_under, in_use_under

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

_GENERATIONS = {
    "surrogate_traces": ("prompt_id", "NULL", "config->>'$.study.calls.weights'", "outcome"),
    "surrogate_summaries": (
        "prompt_id", "NULL", "coalesce(config->>'$.study.calls.weights', config->>'$.study.calls.function')", "outcome"
    ),
    "target_outputs": ("prompt_id", "NULL", "config->>'$.target.model'", "outcome"),
    "inverted_traces": ("prompt_id", "NULL", "checkpoint_id", "outcome"),
    "zero_shot_traces": ("prompt_id", "NULL", "checkpoint_id", "outcome"),
    "benchmark_answers": (
        "NULL", "item_id", "checkpoint_id", "CASE finish_reason WHEN 'length' THEN 'truncated' ELSE 'ok' END"
    ),
}  # fmt: skip
"""Family to SQL of: prompt, benchmark item, model, outcome."""


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


def read_entries(open_root: Path, withheld_root: Path) -> list[Entry]:
    """Read the events of both stores, oldest first."""
    numbers = count(1)
    return [
        Entry(next(numbers), root, event, (event.study, event.as_input) in in_use, root == withheld_root)
        for root in (open_root, withheld_root)
        for in_use in [in_use_under(root)]
        for event in events_under(root)
    ]


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
    standing = [entry for entry in entries if entry.path.exists()]
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
    _create_index(connection, standing)
    current = [entry for entry in standing if entry.current]
    _create_views(connection, current)


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


def _gate(gate: Any) -> dict[str, Any]:
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


def key_of(asset: str) -> str:
    """Return SQL for the id of a row: its key columns, joined by a space."""
    key = [f"{_quoted(column)}::VARCHAR" for column in FAMILIES[family_of(asset)].key]
    return " || ' ' || ".join(key)


def _create_index(connection: "duckdb.DuckDBPyConnection", entries: Sequence[Entry]) -> None:
    """Note for every row's id, hashed, in which materialisations it stands; sorted, so that one is found at once.

    The hash is DuckDB's own, four times faster than MD5, and may be another in its next version: hence `about`.
    """
    connection.execute("CREATE TABLE about AS SELECT version() AS duckdb, now() AS built_at")
    connection.execute("CREATE TABLE row_ids (id_hash UBIGINT, materialization INTEGER)")
    families: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.event.rows and family_of(entry.event.asset) in FAMILIES:
            families[family_of(entry.event.asset)].append(entry)
    if not families:
        return
    parts = []
    for family, members in families.items():
        numbers = "[" + ", ".join(str(entry.number) for entry in members) + "]"
        parts.append(
            f"SELECT hash({key_of(family)}) AS id_hash, "  # noqa: S608 - escaped
            f"{numbers}[file_index::BIGINT + 1] AS materialization FROM {_files(members)}"
        )
    connection.execute(f"INSERT INTO row_ids SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY id_hash")  # noqa: S608


def _create_views(connection: "duckdb.DuckDBPyConnection", current: Sequence[Entry]) -> None:
    """Create one view per asset (`inverter/summary` becomes `inverter_summary`), `scores` and `generations`."""
    by_asset: dict[str, list[Entry]] = defaultdict(list)
    for entry in current:
        by_asset[entry.event.asset].append(entry)
    for asset, members in by_asset.items():
        _create_view(connection, asset.replace("/", "_"), [_select(members)])
    scores = [entry for entry in current if family_of(entry.event.asset) == "benchmark_scores"]
    if scores:
        _create_view(connection, "scores", [_select(scores)])
    calls = [_calls(family, members) for family, members in _by_family(current).items() if family in _GENERATIONS]
    if calls:
        _create_view(connection, "generations", calls)


def _by_family(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[family_of(entry.event.asset)].append(entry)
    return found


def _create_view(connection: "duckdb.DuckDBPyConnection", name: str, parts: Sequence[str]) -> None:
    connection.execute(f"CREATE VIEW {_quoted(name)} AS {' UNION ALL BY NAME '.join(parts)}")


def _select(members: Sequence[Entry]) -> str:
    """Select the rows of versions with the study and the target they belong to."""
    return _with_owner(members, "* EXCLUDE (file_index)", "m.study, m.partition AS target")


def _with_owner(members: Sequence[Entry], columns: str, of_version: str) -> str:
    """Select from versions; those of the same columns are read as one, since DuckDB opens only the first of them."""
    groups: dict[tuple[tuple[str, str], ...], list[Entry]] = defaultdict(list)
    for entry in members:
        groups[tuple(entry.event.columns.items())].append(entry)
    parts = []
    for group in groups.values():
        numbers = "[" + ", ".join(str(entry.number) for entry in group) + "]"
        parts.append(
            f"SELECT {of_version}, r.{columns} FROM (SELECT *, file_index FROM {_files(group)}) r "  # noqa: S608 - escaped
            f"JOIN materializations m ON m.materialization = {numbers}[r.file_index::BIGINT + 1]"
        )
    return " UNION ALL BY NAME ".join(parts)


def _calls(family: str, members: Sequence[Entry]) -> str:
    prompt, item, model, outcome = _GENERATIONS[family]
    known = members[0].event.columns
    optional = {name: name if name in known else "NULL" for name in ("input_tokens", "output_tokens", "cost_usd")}
    request = (
        "json_object('reasoning', config->'$.target.reasoning', 'temperature', config->'$.target.temperature', "
        "'top_p', config->'$.target.top_p', 'max_output_tokens', config->'$.target.max_output_tokens')"
        if family == "target_outputs"
        else "config->'$.study.calls.sampling'"
    )
    cost = optional["cost_usd"] if family == "target_outputs" else "0.0"
    inner = _with_owner(members, "*", "m.study, m.asset, m.partition AS target, m.config")
    return (
        f"SELECT study, asset, target, request_key, {prompt}::VARCHAR AS prompt_id, {item}::VARCHAR AS item_id, "  # noqa: S608 - escaped
        f"{model} AS model, ({request})::JSON AS sampling, {optional['input_tokens']}::BIGINT AS input_tokens, "
        f"{optional['output_tokens']}::BIGINT AS output_tokens, {outcome} AS outcome, {cost}::DOUBLE AS cost_usd "
        f"FROM ({inner})"
    )


def _files(members: Sequence[Entry]) -> str:
    return f"read_parquet([{', '.join(literal(str(entry.path)) for entry in members)}])"


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def event_json(entry: Entry) -> dict[str, Any]:
    """Return an event as JSON values, with where its file lies."""
    return asdict(entry.event) | {"file": str(entry.path), "current": entry.current, "withheld": entry.withheld}
