"""What derives from a target or a prompt: rows in every version of every table, checkpoints, scores, files."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tracepipe.checkpoints import Checkpoints
from tracepipe.lineage.entries import Entry
from tracepipe.lineage.links import FAMILIES, Link, family_of


@dataclass(frozen=True)
class Touched:
    """A version of a table with rows that derive from what was asked about."""

    entry: Entry
    rows: int

    @property
    def whole(self) -> bool:
        """Whether all of its rows derive from it."""
        return self.rows == self.entry.event.rows


@dataclass(frozen=True)
class Impact:
    """All that derives from a target or a prompt.

    Attributes:
        versions: Versions of tables, oldest first.
        checkpoints: Ids of checkpoints trained on such rows.
        shared: Those of them that other tables name too.
        files: What lies beside the tables: journals, traces, step files, reports.
    """

    versions: Sequence[Touched]
    checkpoints: Sequence[str]
    shared: frozenset[str] = frozenset()
    files: Sequence[Path] = field(default_factory=tuple)

    @property
    def scores(self) -> int:
        """Benchmark scores in versions in use."""
        return sum(
            one.rows
            for one in self.versions
            if one.entry.current and family_of(one.entry.event.asset) == "benchmark_scores"
        )


def of_partition(partition: str, target: str) -> bool:
    """Whether a partition is a target's: its own, or one of its dated revisions; or that very revision."""
    return partition == target or partition.partition("@")[0] == target


def impact_of_target(entries: Sequence[Entry], target: str, checkpoints: Checkpoints) -> Impact:
    """Return what derives from a target: its own partitions, and whatever other tables were made from these."""
    touched = {entry.number for entry in entries if of_partition(entry.event.partition, target)}
    children = _children(entries)
    waiting = list(touched)
    while waiting:
        below = children[waiting.pop()] - touched
        touched |= below
        waiting += below
    versions = [Touched(entry, entry.event.rows) for entry in entries if entry.number in touched]
    own = _named(one.entry for one in versions)
    others = _named(entry for entry in entries if entry.number not in touched)
    return Impact(versions, sorted(id_ for id_ in own if checkpoints.find(id_)), frozenset(own & others))


def impact_of_prompt(entries: Sequence[Entry], prompt_id: str, checkpoints: Checkpoints) -> Impact:
    """Return what derives from a prompt, row by row; through a model all that it wrote."""
    affected: dict[int, pl.DataFrame] = {}
    parents = _parents(entries)
    for entry in _in_order(entries, parents):
        if not entry.path.exists() or family_of(entry.event.asset) not in FAMILIES:
            continue
        rows = _affected(
            entry, prompt_id, [(by, affected[by.number]) for by in parents[entry.number] if by.number in affected]
        )
        if rows is not None and rows.height:
            affected[entry.number] = rows
    versions = [Touched(entry, affected[entry.number].height) for entry in entries if entry.number in affected]
    trained = {
        id_
        for one in versions
        if family_of(one.entry.event.asset) in ("student", "inverter")
        for id_ in affected[one.entry.number]["checkpoint_id"]
    }
    return Impact(versions, sorted(id_ for id_ in trained if checkpoints.find(id_)))


def _affected(entry: Entry, prompt_id: str, above: Sequence[tuple[Entry, pl.DataFrame]]) -> pl.DataFrame | None:
    """Return the key and link columns of the rows that stand on affected rows of the tables read."""
    family = FAMILIES[family_of(entry.event.asset)]
    columns = {*family.key, *(own for link in family.links for own in link.on), *_matched(entry)}
    rows = pl.read_parquet(entry.path, columns=sorted(columns & set(entry.event.columns)))
    if family_of(entry.event.asset) == "prompts":
        return rows.filter(prompt_id=prompt_id)
    found = [
        _standing_on(rows, link, theirs, entry)
        for link in family.links
        for by, theirs in above
        if family_of(by.event.asset) in link.to
    ]
    return pl.concat(found).unique(maintain_order=True) if found else None


def _standing_on(rows: pl.DataFrame, link: Link, theirs: pl.DataFrame, entry: Entry) -> pl.DataFrame:
    if link.suffix is not None:
        theirs = theirs.filter(pl.col(link.suffix) == entry.event.asset.partition("/")[2])
    if not theirs.height:
        return rows.clear()
    if not link.on:
        return rows
    return rows.join(theirs, left_on=list(link.on), right_on=list(link.on.values()), how="semi")


def _matched(entry: Entry) -> set[str]:
    """Columns that rows of other tables match on, and checkpoints, which are counted."""
    own = family_of(entry.event.asset)
    links = [link for family in FAMILIES.values() for link in family.links if own in link.to]
    found = {theirs for link in links for theirs in link.on.values()} | {link.suffix for link in links if link.suffix}
    return found | {"checkpoint_id"}


def _in_order(entries: Sequence[Entry], parents: dict[int, list[Entry]]) -> list[Entry]:
    """Return entries so that each comes after those it was made from."""
    from graphlib import TopologicalSorter

    by_number = {entry.number: entry for entry in entries}
    order = TopologicalSorter({entry.number: [by.number for by in parents[entry.number]] for entry in entries})
    return [by_number[number] for number in order.static_order()]


def _parents(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    by_version = {(entry.event.study, entry.event.as_input): entry for entry in entries}
    return {
        entry.number: [
            by for one in entry.event.inputs if (by := by_version.get((entry.event.study, one))) and by is not entry
        ]
        for entry in entries
    }


def _children(entries: Sequence[Entry]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for number, parents in _parents(entries).items():
        for by in parents:
            found[by.number].add(number)
    return found


def _named(entries: Iterable[Entry]) -> set[str]:
    """Return the ids of the checkpoints that tables name as trained."""
    found: set[str] = set()
    for entry in entries:
        if family_of(entry.event.asset) in ("student", "inverter") and entry.path.exists():
            rows = pl.read_parquet(entry.path, columns=["checkpoint_id", "dataset_hash"])
            found |= set(rows.drop_nulls("dataset_hash")["checkpoint_id"])
    return found
