"""Remove all that derives from a target, and leave a tombstone. Killed half-way, the same command goes on."""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from tracepipe.books import Books
from tracepipe.files import write_atomically
from tracepipe.home import Home
from tracepipe.ledger import only_one
from tracepipe.lineage.entries import read_entries
from tracepipe.lineage.impact import Impact, impact_of_target, of_partition
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED


@dataclass(frozen=True)
class Plan:
    """What a purge removes.

    Attributes:
        impact: Versions of tables and checkpoints that derive from the target.
        checkpoints: Those to remove: what another target's tables name too stays.
        orphans: Checkpoints that a killed run trained on the target's rows, and no table names.
        folders: The target's own folders: tables, step files, reports.
        files: Its responses and traces, and what other targets' reports show of it.
        unfinished: Whether an earlier purge was killed.
    """

    target: str
    impact: Impact
    checkpoints: tuple[str, ...]
    orphans: tuple[str, ...]
    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    unfinished: bool

    def covers(self, partition: str) -> bool:
        """Whether a partition is the target's."""
        return of_partition(partition, self.target)

    @property
    def stale(self) -> list[tuple[str, str, str]]:
        """Study, asset and partition of what other targets have to make anew."""
        shown = (one.entry.event for one in self.impact.versions if one.entry.current)
        return sorted(
            (event.study, event.asset, event.partition) for event in shown if not self.covers(event.partition)
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        found = self.impact.versions or self.checkpoints or self.orphans or self.folders or self.files
        return not (found or self.unfinished)


def plan_purge(home: Home, target: str) -> Plan:
    """List what a purge would remove.

    Raises:
        SpecError: If a single revision is named, since all revisions share one journal; or what belongs to no target.
    """
    if target == UNPARTITIONED:
        raise SpecError(f"'{target}' is no target: what lies there belongs to the study")
    if "@" in target:
        raise SpecError(f"'{target}' is a revision; all revisions share one journal: purge {target.partition('@')[0]}")
    impact = impact_of_target(read_entries(*home.roots), target, home.checkpoints)
    theirs = {one for one in home.root.glob("reports/*/*") if of_partition(one.name, target)}
    own = {folder for root in home.roots for folder in _partitions(root) if of_partition(folder.name, target)}
    shown = [one.entry for one in impact.versions if not of_partition(one.entry.event.partition, target)]
    reports = {
        file
        for entry in shown
        if entry.event.asset == "report"
        for file in (home.root / "reports" / entry.event.study / entry.event.partition).glob("report.*")
    }
    versions = {file for entry in shown for file in (entry.path, entry.path.with_suffix(".json"))}
    versions |= {entry.path.with_name("current.json") for entry in shown if entry.current}
    kept = {home.journal(target).path, home.trace_log(target).path} if not _only_sums(home, target) else set()
    return Plan(
        target=target,
        impact=impact,
        checkpoints=tuple(id_ for id_ in impact.checkpoints if id_ not in impact.shared),
        orphans=_orphans(home, target, impact),
        folders=tuple(sorted(own | theirs)),
        files=tuple(sorted(file for file in reports | versions | kept if file.exists())),
        unfinished=_unfinished(_tombstone(home, target)),
    )


def _partitions(root: Path) -> set[Path]:
    """Return the folders of partitions: of tables, and of step files."""
    tables = {path.parent for path in (root / "tables").rglob("*") if path.is_file()}
    return tables | {path for path in (root / "work").glob("*") if path.is_dir()}


def _orphans(home: Home, target: str, impact: Impact) -> tuple[str, ...]:
    frames: dict[bool, set[str]] = {True: set(), False: set()}
    for root in home.roots:
        for path in root.glob("work/*/frames/*.parquet"):
            frames[of_partition(path.parents[1].name, target)].add(path.stem)
    only_here = frames[True] - frames[False]
    trained = {path.name for path in home.checkpoints.root.glob("c_*") if path.is_dir()} - set(impact.checkpoints)
    found = {id_: home.checkpoints.find(id_) for id_ in trained}
    return tuple(sorted(id_ for id_, manifest in found.items() if manifest and manifest.dataset_hash in only_here))


def purge(home: Home, plan: Plan, forget: Callable[[], object]) -> Path:
    """Carry a plan out. The tables go last: they say which checkpoints were the target's.

    Args:
        home: Where everything lies; on S3, what is not here afterwards is removed there, so it was fetched whole
            before the plan was made.
        plan: See `plan_purge`.
        forget: Takes the target's runs out of Dagster.

    Returns:
        The tombstone.

    Raises:
        SpecError: If a batch of the target is under way; nothing is removed then.
    """
    journal = home.journal(plan.target)
    with only_one(journal):
        if Books.of(journal).batches:
            raise SpecError(
                f"target '{plan.target}' has batches under way, whose results would be paid and lost; let a run take "
                "them in first"
            )
        forget()
        tombstone = _bury(home, plan)
        checkpoints = [home.checkpoints.path(one) for one in (*plan.checkpoints, *plan.orphans)]
        for checkpoint in checkpoints:
            shutil.rmtree(checkpoint)
        for left_over in home.checkpoints.root.glob(".*"):
            shutil.rmtree(left_over)
        _close_books(home, plan.target)
    for file in plan.files:
        if file != journal.path:
            file.unlink(missing_ok=True)
    # Step files name the rows that orphans were trained on, tables the checkpoints: in that order, last.
    for folder in sorted(plan.folders, key=lambda path: "tables" in path.parts):
        shutil.rmtree(folder)
    _finish(tombstone)
    if home.mirror is not None:
        home.mirror.forget([*checkpoints, *plan.files, *plan.folders])
        for kept in (path for path in (tombstone, journal.path) if path.exists()):
            home.mirror.push(kept)
    home.rebuild_catalogue()
    return tombstone


def _bury(home: Home, plan: Plan) -> Path:
    """Write the tombstone: what was removed, in numbers. One left by a purge that was killed keeps its numbers."""
    path = _tombstone(home, plan.target)
    if _unfinished(path):
        return path
    tables: Counter[str] = Counter()
    for one in plan.impact.versions:
        tables[one.entry.event.asset] += one.rows
    content = {
        "target": plan.target,
        "purged_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": False,
        "versions": len(plan.impact.versions),
        "rows": tables.total(),
        "checkpoints": len(plan.checkpoints) + len(plan.orphans),
        "rows_by_table": dict(sorted(tables.items())),
    }
    write_atomically(path, json.dumps(content, indent=1).encode())
    return path


def _tombstone(home: Home, target: str) -> Path:
    return home.tombstones / f"{target}.json"


def _unfinished(tombstone: Path) -> bool:
    return tombstone.exists() and not json.loads(tombstone.read_text(encoding="utf-8"))["finished"]


def _finish(tombstone: Path) -> None:
    content = json.loads(tombstone.read_text(encoding="utf-8")) | {"finished": True}
    write_atomically(tombstone, json.dumps(content, indent=1).encode())


def _close_books(home: Home, target: str) -> None:
    """Replace the journal by its sums: what was billed stays on the books, since the budget is for all time."""
    journal = home.journal(target)
    if not journal.path.exists() or _only_sums(home, target):
        return
    books = Books.of(journal)
    entry = {
        "kind": "purged",
        "id": uuid.uuid4().hex,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "paid_usd": books.paid_usd,
        "possible_usd": books.possible_usd + books.pending_usd,
    }
    write_atomically(journal.path, json.dumps(entry).encode() + b"\n")


def _only_sums(home: Home, target: str) -> bool:
    kinds = [entry.get("kind") for entry in islice(home.journal(target).entries(), 2)]
    return kinds == ["purged"] and not home.trace_log(target).path.exists()
