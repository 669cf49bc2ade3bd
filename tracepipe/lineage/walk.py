"""Walk from a row to all that it stands on: rows, models, requests, down to the response as it came."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracepipe.journal import Journal
from tracepipe.lineage.catalogue import MEMORY
from tracepipe.lineage.links import FAMILIES, Link, family_of
from tracepipe.lineage.views import key_of, literal
from tracepipe.spec import SpecError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Version:
    """One version of a table, as the catalogue has it."""

    number: int
    study: str
    asset: str
    partition: str
    version: str
    current: bool
    rows: int
    path: str
    created_at: str
    run_id: str
    code_version: str
    commit: str | None
    recorded: str

    @property
    def config(self) -> dict[str, Any]:
        """What decided its rows."""
        found: dict[str, Any] = json.loads(self.recorded)
        return found

    @property
    def suffix(self) -> str:
        """What stands behind the `/` of the asset."""
        return self.asset.partition("/")[2]


@dataclass
class Node:
    """One row of a walk.

    Attributes:
        key: Its id: the key columns, joined by a space.
        row: Its values.
        of: How many rows the row above stands on here, of which this is the first.
        repeated: Whether it stands in the walk already; its own rows are not repeated.
        response: Where the raw response lies: `journal`, `offset`, and `found`, whether it is that request's.
    """

    version: Version
    key: str
    row: dict[str, Any]
    of: int = 1
    repeated: bool = False
    response: dict[str, Any] | None = None
    children: list["Node"] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def all(self) -> Iterator["Node"]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.all()

    @property
    def noun(self) -> str:
        """What the row is."""
        return FAMILIES[family_of(self.version.asset)].noun

    @property
    def request(self) -> dict[str, Any] | None:
        """How the model was asked that wrote the row; None where no model did."""
        if not FAMILIES[family_of(self.version.asset)].calls:
            return None
        config = self.version.config
        found = config["target"] if family_of(self.version.asset) == "target_outputs" else config["study"].get("calls")
        return found if isinstance(found, dict) else None

    def as_json(self) -> dict[str, Any]:
        """Return the walk as JSON values."""
        version = self.version
        about = {name: getattr(version, name) for name in ("study", "asset", "partition", "version", "path")}
        made = {name: getattr(version, name) for name in ("created_at", "run_id", "code_version", "commit")}
        found = {"row": self.row, "request": self.request, "response": self.response, "missing": self.missing}
        tree = {"of": self.of, "repeated": self.repeated, "stands_on": [child.as_json() for child in self.children]}
        return {"id": self.key, **about, **made, **found, **tree}


class Lineage:
    """Reads the catalogue; closes with the `with` block.

    Raises:
        SpecError: If there is no catalogue, or one of another version.
    """

    def __init__(self, catalogue: Path, responses: Path) -> None:
        import duckdb

        if not catalogue.exists():
            raise SpecError(f"{catalogue}: there is no catalogue; run a study, or: tracepipe lineage rebuild")
        self.connection: duckdb.DuckDBPyConnection = duckdb.connect(
            str(catalogue), read_only=True, config={"memory_limit": MEMORY}
        )
        self._responses = responses
        self._read: dict[int, list[Version]] = {}
        self._found: dict[tuple[Any, ...], dict[str, Any] | None] = {}
        tables = {name for (name,) in self.connection.execute("SHOW TABLES").fetchall()}
        if "about" not in tables or not self.ask("SELECT 1 FROM about WHERE duckdb = version()"):
            self.connection.close()
            raise SpecError(f"{catalogue}: was built by another version; run: tracepipe lineage rebuild")

    def __enter__(self) -> "Lineage":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, query: Any, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a query by their columns' names."""
        found = self.connection.execute(query, list(parameters))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def versions(self, where: str, parameters: Sequence[Any] = ()) -> list[Version]:
        """Return versions of tables by an SQL condition on `materializations m`, those in use and the latest first."""
        found = self.connection.execute(
            "SELECT m.materialization, m.study, m.asset, m.partition, m.version, m.current, m.rows, m.path, "  # noqa: S608
            "strftime(m.created_at, '%Y-%m-%d %H:%M:%SZ'), m.run_id, m.code_version, m.commit, "
            f"m.config FROM materializations m WHERE {where} ORDER BY m.current DESC, m.created_at DESC",
            list(parameters),
        ).fetchall()
        return [Version(*row) for row in found]

    def holding(self, key: str) -> list[Version]:
        """Return the versions in which a row of this id stands, the family looked for first in front."""
        found = self.versions(
            "m.materialization IN (SELECT materialization FROM row_ids WHERE id_hash = hash(?))", [key]
        )
        order = list(FAMILIES)
        return sorted(found, key=lambda version: order.index(family_of(version.asset)))

    def walk(self, key: str, version: Version) -> Node:
        """Walk from a row of a version.

        Raises:
            SpecError: If the version has no such row.
        """
        row = self._first(version, f"{key_of(version.asset)} = ?", [key])
        if row is None:
            raise SpecError(f"{version.asset} ({version.partition}) has no row '{key}'")
        return self._node(version, row, {})

    def _node(self, version: Version, row: dict[str, Any], seen: dict[tuple[int, str], Node]) -> Node:
        family = FAMILIES[family_of(version.asset)]
        key = " ".join(str(row[column]) for column in family.key)
        if (version.number, key) in seen:
            return Node(version, key, row, repeated=True)
        node = seen[version.number, key] = Node(version, key, row, response=self._response(version, row))
        if node.response is not None and not node.response["found"]:
            node.missing.append(f"response of {row['request_key']} in {node.response['journal']}")
        inputs = self._inputs(version)
        for link in family.links:
            if link.unless_null is None or row[link.unless_null] is not None:
                self._follow(link, node, inputs, seen)
        return node

    def _follow(self, link: Link, node: Node, inputs: list[Version], seen: dict[tuple[int, str], Node]) -> None:
        for family in link.to:
            for version in inputs:
                if family_of(version.asset) != family:
                    continue
                condition, values = _condition(link, node)
                row = self._first(version, condition, values)
                if row is not None:
                    child = self._node(version, row, seen)
                    child.of = self._count(version, condition, values) if link.many else 1
                    node.children.append(child)
                    return
        wanted = ", ".join(f"{own} {node.row[own]}" for own in link.on) or "a row"
        node.missing.append(f"{wanted} in {' or '.join(link.to)}")

    def _inputs(self, version: Version) -> list[Version]:
        if version.number not in self._read:
            self._read[version.number] = self.versions(
                "m.materialization IN (SELECT input_materialization FROM inputs WHERE materialization = ?)",
                [version.number],
            )
        return self._read[version.number]

    def _first(self, version: Version, condition: str, values: list[Any]) -> dict[str, Any] | None:
        """Return the first row of a version that fulfils a condition; rows asked for again are remembered."""
        asked = (version.number, condition, *values)
        if asked not in self._found:
            if not Path(version.path).exists():
                raise SpecError(f"{version.path} is gone; if the home was moved, run: tracepipe lineage rebuild")
            query = f"SELECT * FROM read_parquet({literal(version.path)}) WHERE {condition} LIMIT 1"  # noqa: S608
            self._found[asked] = next(iter(self.ask(query, values)), None)
        return self._found[asked]

    def _count(self, version: Version, condition: str, values: list[Any]) -> int:
        query = f"SELECT count(*) FROM read_parquet({literal(version.path)}) WHERE {condition}"  # noqa: S608
        return int(self.connection.execute(query, values).fetchall()[0][0])

    def _response(self, version: Version, row: dict[str, Any]) -> dict[str, Any] | None:
        """Look a target's response up in its journal."""
        if family_of(version.asset) != "target_outputs" or row["offset"] is None:
            return None
        journal = Journal(self._responses / f"{version.partition.partition('@')[0]}.jsonl")
        try:
            (entry,) = journal.at([row["offset"]])
            found = entry.get("request_key") == row["request_key"]
        except (OSError, SpecError):
            entry, found = {}, False
        about = {name: entry.get(name) for name in ("kind", "attempt", "at", "seconds")}
        return {"journal": str(journal.path), "offset": row["offset"], "found": found, **about}


def _condition(link: Link, node: Node) -> tuple[str, list[Any]]:
    """Return SQL that the rows behind a row fulfil, and its values."""
    pairs = [(theirs, node.row[own]) for own, theirs in link.on.items()]
    if link.suffix is not None:
        pairs.append((link.suffix, node.version.suffix))
    return " AND ".join(f'"{column}" = ?' for column, _ in pairs) or "true", [value for _, value in pairs]
