"""What the catalogue has over the data files themselves: an index of all row ids, and views."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracepipe.lineage.entries import Entry
from tracepipe.lineage.links import FAMILIES, family_of

if TYPE_CHECKING:
    import duckdb

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


def key_of(asset: str) -> str:
    """Return SQL for the id of a row: its key columns, joined by a space."""
    key = [f"{_quoted(column)}::VARCHAR" for column in FAMILIES[family_of(asset)].key]
    return " || ' ' || ".join(key)


def create_index(connection: "duckdb.DuckDBPyConnection", entries: Sequence[Entry]) -> None:
    """Note for every row's id, hashed, in which materialisations it stands; sorted, so that one is found at once.

    The hash is DuckDB's own, four times faster than MD5, and may be another in its next version: hence `about`.
    """
    connection.execute("CREATE TABLE about AS SELECT version() AS duckdb, now() AS built_at")
    connection.execute("CREATE TABLE row_ids (id_hash UBIGINT, materialization INTEGER)")
    families = _by_family([entry for entry in entries if entry.event.rows and family_of(entry.event.asset) in FAMILIES])
    if not families:
        return
    parts = [
        f"SELECT hash({key_of(family)}) AS id_hash, {_number(members)} AS materialization FROM {_files(members)}"  # noqa: S608
        for family, members in families.items()
    ]
    connection.execute(f"INSERT INTO row_ids SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY id_hash")  # noqa: S608


def create_views(connection: "duckdb.DuckDBPyConnection", current: Sequence[Entry]) -> None:
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
    parts = [
        f"SELECT {of_version}, r.{columns} FROM (SELECT *, file_index FROM {_files(group)}) r "  # noqa: S608 - escaped
        f"JOIN materializations m ON m.materialization = {_number(group)}"
        for group in groups.values()
    ]
    return " UNION ALL BY NAME ".join(parts)


def _number(members: Sequence[Entry]) -> str:
    """Return SQL for the materialisation of a row, by the place of its file in the list that is read."""
    return f"[{', '.join(str(entry.number) for entry in members)}][file_index::BIGINT + 1]"


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
