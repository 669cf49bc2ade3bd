"""How a table is declared, and what its step is given: it reads what it declared and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from tracepipe.gates import Gate
from tracepipe.home import Home
from tracepipe.identity import digest
from tracepipe.journal import Journal, Sink
from tracepipe.lineage.history import ancestors
from tracepipe.records import Table
from tracepipe.roles import Model
from tracepipe.store import Event, Store
from tracepipe.study import Study
from tracepipe.target import Target
from tracepipe.workbench import Workbench

Describe = Callable[[pl.DataFrame], Mapping[str, Any]]


@dataclass(frozen=True)
class Made:
    """What a step makes: the table, the verdicts on it, figures worth keeping with it, and what a provider billed."""

    frame: pl.DataFrame
    gates: Sequence[Gate] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Beside:
    """A table of which a step reads other partitions too.

    Attributes:
        choose: From its own partition and all that there are, those it reads.
    """

    table: str
    choose: Callable[[str, Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class TableAsset:
    """How one table is made.

    Attributes:
        name: Asset key, parts separated by `/`.
        reads: The tables it is made from; a step can read no other.
        gates: Names of its blocking checks, with what each promises.
        config: The part of the study that decides the rows; `calls` in it is how a model is asked.
        target_config: The part of the target's file that decides them.
        given: The given models it runs or trains from.
        beside: What it reads of other partitions.
        inapplicable: Why this table has no rows for a target, or None.
        withheld: Whether it holds hidden traces, and so lies in the withheld store.
        sees_withheld: Whether its step may read withheld tables.
        rereads: Whether its rows come from the target's journal, which changes outside any recipe: they are made on
            every run, and written only where they differ.
        intact: Whether the files that earlier rows name still stand, so that the rows can be reused.
        describe: More Dagster metadata from the rows.
    """

    name: str
    stage: str
    description: str
    table: Table
    make: Callable[["Step"], Made]
    version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    given: Sequence[Model] = ()
    beside: Beside | None = None
    reads: Sequence[str] = ()
    gates: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset({"polars", "parquet"})
    freshness: dg.FreshnessPolicy | None = None
    partitioned: bool = True
    target_config: Callable[[Target], Any] = lambda _: None
    inapplicable: Callable[[Target], str | None] = lambda _: None
    withheld: bool = False
    sees_withheld: bool = False
    gpu: bool = False
    rereads: bool = False
    intact: Callable[["Step", pl.DataFrame], bool] = lambda _step, _frame: True
    describe: Describe = lambda _: {}

    @property
    def code_version(self) -> str:
        """Version of the code, and a hash of the configuration, which Dagster would not version by itself."""
        return f"{self.version}-{digest(self.config)[:12]}"

    def config_for(self, target: Target | None) -> dict[str, Any]:
        """All configuration that decides the rows."""
        return {"study": dict(self.config), "target": None if target is None else self.target_config(target)}


@dataclass(frozen=True)
class Step:
    """What a table's `make` is given. It reads what the asset declares, from stores that the asset may see."""

    asset: TableAsset
    study: Study
    bench: Workbench
    run_id: str
    _tables: Mapping[str, tuple[Store, str]]
    _target: tuple[Target, Path] | None
    _home: Home

    def read(self, name: str) -> pl.DataFrame:
        """Read one of the declared tables."""
        return self._tables[name][0].read_version(self.event(name))

    def event(self, name: str) -> Event:
        """Return the lineage event of one of the declared tables."""
        store, partition = self._tables[name]
        event = store.current(name, partition)
        if event is None:
            raise dg.Failure(
                f"'{self.asset.name}' reads '{name}' ({partition}), which is not materialised; materialise it first"
            )
        return event

    def events_beside(self) -> dict[str, Event]:
        """Return what is read of other partitions: partition to lineage event."""
        if self.asset.beside is None:
            return {}
        name = self.asset.beside.table
        store, partition = self._tables[name]
        chosen = self.asset.beside.choose(partition, store.partitions(name))
        return {other: event for other in chosen if (event := store.current(name, other))}

    def read_beside(self) -> dict[str, pl.DataFrame]:
        """Read the other partitions: partition to table."""
        return {
            other: self._tables[event.asset][0].read_version(event) for other, event in self.events_beside().items()
        }

    @property
    def target(self) -> Target:
        """The target of the partition."""
        return self._target_and_file[0]

    @property
    def target_folder(self) -> Path:
        """The folder of the target's file."""
        return self._target_and_file[1].parent

    def history(self) -> list[Event]:
        """Return the events of the declared tables and of all they were made from."""
        stores = [self._home.store(self.study.name), self._home.withheld(self.study.name)]
        return ancestors(stores, [self.event(name) for name in self.asset.reads])

    @property
    def _target_and_file(self) -> tuple[Target, Path]:
        if self._target is None:
            raise ValueError(f"asset '{self.asset.name}' is not partitioned by target")
        return self._target

    @property
    def journal(self) -> Journal:
        """The target's raw responses."""
        return self._home.journal(self.target.name)

    def collecting(self) -> AbstractContextManager[None]:
        """Keep the target's journals safe while it is asked."""
        return self._home.collecting(self.target.name)

    @property
    def trace_sink(self) -> Sink:
        """Where traces that an open target sends along are put out of reach."""
        return Sink(self._home.trace_log(self.target.name))

    @property
    def trace_log(self) -> Journal:
        """The open target's hidden traces.

        Raises:
            PermissionError: If the asset may not see them.
        """
        if not self.asset.sees_withheld:
            raise PermissionError(f"asset '{self.asset.name}' is on the attack side and may not read hidden traces")
        return self._home.trace_log(self.target.name)

    @property
    def report_folder(self) -> Path:
        """Where the target's report goes."""
        return self._home.reports(self.study.name, self.target.partition)


def checkpoints_exist(step: Step, checkpoints: pl.DataFrame) -> bool:
    """Whether every checkpoint of a table (CHECKPOINTS) lies in its folder."""
    return all(step.bench.checkpoints.find(checkpoint) for checkpoint in checkpoints["checkpoint_id"])
