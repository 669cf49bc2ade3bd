"""Gates: checks of the data itself that must pass before anything is built on it (paper: where it breaks)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

_NAMED = 10


@dataclass(frozen=True)
class Gate:
    """One verdict.

    Attributes:
        name: Name of the gate, a valid Python identifier.
        passed: The verdict.
        summary: What was counted, in one sentence.
        rows: Identities of the failing rows, all of them.
    """

    name: str
    passed: bool
    summary: str
    rows: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The summary followed by the first failing rows."""
        named = ", ".join(self.rows[:_NAMED])
        more = f" and {len(self.rows) - _NAMED} more" if len(self.rows) > _NAMED else ""
        return f"{self.summary}: {named}{more}" if self.rows else self.summary


def none_fail(name: str, failing: Iterable[str], summary: str) -> Gate:
    """Return a gate that passes where no row fails; `summary` describes what a failing row is."""
    rows = tuple(sorted(failing))
    return Gate(name, not rows, f"{len(rows)} {summary}", rows)


def ids_preserved(name: str, expected: pl.Series, found: pl.Series) -> Gate:
    """Every id that went in came out, once, and no other."""
    wanted, got = set(expected), found.to_list()
    lost, invented = wanted - set(got), set(got) - wanted
    repeated = set(found.filter(found.is_duplicated()))
    return none_fail(
        name,
        lost | invented | repeated,
        f"ids lost, invented or repeated ({len(lost)}, {len(invented)}, {len(repeated)}) of {len(wanted)}",
    )


def disjoint(name: str, left: pl.Series, right: pl.Series, summary: str) -> Gate:
    """No id stands on both sides."""
    return none_fail(name, set(left) & set(right), summary)


def no_columns(name: str, frames: dict[str, Sequence[str]], forbidden: set[str]) -> Gate:
    """None of the frames, given as table -> columns, has one of the forbidden columns."""
    found = [f"{table}.{column}" for table, columns in frames.items() for column in columns if column in forbidden]
    return none_fail(name, found, "columns of the attack side hold hidden traces")
