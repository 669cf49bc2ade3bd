"""The one way a table becomes an asset: reads and writes, reuse, gates and metadata are done here for all.

A table is named by its recipe (code version, configuration, data versions of what it reads). Where the
store holds a table of the same recipe, it is put in use again and nothing is computed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import event_metadata, table_schema
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.registry import RegistryResource
from tracepipe.collection import CollectionStopped
from tracepipe.gates import Gate
from tracepipe.home import Home
from tracepipe.identity import digest
from tracepipe.journal import Journal, Sink
from tracepipe.lineage import ancestors
from tracepipe.records import Table, conform, empty
from tracepipe.serving import ServingError
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED, Event, Store, recipe_key
from tracepipe.students import TermsForbid
from tracepipe.study import Study
from tracepipe.target import Target
from tracepipe.workbench import Workbench

TARGETS = dg.DynamicPartitionsDefinition(name="target")
GPU_POOL = "gpu"
_OWNERS = ["team:tracepipe"]

STOPS = (SpecError, CollectionStopped, ServingError, TermsForbid)
"""What ends a step with a message for the user instead of a traceback."""

Describe = Callable[[pl.DataFrame], Mapping[str, Any]]


@dataclass(frozen=True)
class Made:
    """What a step makes: the table, the verdicts on it, and figures worth keeping with it."""

    frame: pl.DataFrame
    gates: Sequence[Gate] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TableAsset:
    """How one table is made.

    Attributes:
        name: Asset key, parts separated by `/`.
        reads: The tables it is made from; a step can read no other.
        gates: Names of its blocking checks, with what each promises.
        config: The part of the study that decides the rows.
        target_config: The part of the target's file that decides them.
        inapplicable: Why this table has no rows for a target, or None.
        withheld: Whether it holds hidden traces, and so lies in the withheld store.
        sees_withheld: Whether its step may read withheld tables.
        intact: Whether the files that earlier rows name still stand, so that the rows can be reused.
        describe: More Dagster metadata from the rows.
    """

    name: str
    stage: str
    description: str
    table: Table
    make: Callable[["Step"], Made]
    version: str
    config: Any = None
    reads: Sequence[str] = ()
    gates: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset({"polars", "parquet"})
    partitioned: bool = True
    target_config: Callable[[Target], Any] = lambda _: None
    inapplicable: Callable[[Target], str | None] = lambda _: None
    withheld: bool = False
    sees_withheld: bool = False
    gpu: bool = False
    intact: Callable[["Step", pl.DataFrame], bool] = lambda _step, _frame: True
    describe: Describe = lambda _: {}

    @property
    def code_version(self) -> str:
        """Version of the code, and a hash of the configuration, which Dagster would not version by itself."""
        return f"{self.version}-{digest(self.config)[:12]}"


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
        store, partition = self._tables[name]
        return store.read(name, partition)

    def event(self, name: str) -> Event:
        """Return the lineage event of one of the declared tables."""
        store, partition = self._tables[name]
        event = store.current(name, partition)
        if event is None:
            raise dg.Failure(
                f"'{self.asset.name}' reads '{name}' ({partition}), which is not materialised; materialise it first"
            )
        return event

    def input_versions(self) -> dict[str, str]:
        """Return the data version of every declared table."""
        return {name: self.event(name).data_version for name in self.asset.reads}

    @property
    def target(self) -> Target:
        """The target of the partition."""
        return self._target_and_file[0]

    @property
    def target_folder(self) -> Path:
        """The folder of the target's file."""
        return self._target_and_file[1].parent

    @property
    def _target_and_file(self) -> tuple[Target, Path]:
        if self._target is None:
            raise ValueError(f"asset '{self.asset.name}' is not partitioned by target")
        return self._target

    @property
    def journal(self) -> Journal:
        """The target's raw responses."""
        return self._home.journal(self.target.name)

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
        return self._home.reports(self.study.name, self.target.name)

    def history(self) -> list[Event]:
        """Return the events of the declared tables and of all they were made from."""
        stores = [self._home.store(self.study.name), self._home.withheld(self.study.name)]
        return ancestors(stores, [self.event(name) for name in self.asset.reads])


class Graph:
    """The assets of one study, added in the order of the pipeline."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.tables: dict[str, TableAsset] = {}
        self.assets: list[dg.AssetsDefinition] = []

    def add(self, asset: TableAsset) -> None:
        """Add a table.

        Raises:
            ValueError: If it reads a table not yet added, or a withheld one that it may not see.
        """
        for name in asset.reads:
            if name not in self.tables:
                raise ValueError(f"asset '{asset.name}' reads '{name}', which is not in the graph")
            if self.tables[name].withheld and not asset.sees_withheld:
                raise ValueError(f"asset '{asset.name}' is on the attack side and may not read '{name}'")
            if self.tables[name].partitioned and not asset.partitioned:
                raise ValueError(f"asset '{asset.name}' belongs to the study and may not read '{name}' of a target")
        self.tables[asset.name] = asset
        self.assets.append(self._definition(asset))

    def _definition(self, asset: TableAsset) -> dg.AssetsDefinition:
        key = asset_key(asset.name)

        @dg.asset(
            key=key,
            deps=[asset_key(name) for name in asset.reads],
            description=asset.description,
            group_name=asset.stage,
            kinds=set(asset.kinds),
            owners=_OWNERS,
            code_version=asset.code_version,
            partitions_def=TARGETS if asset.partitioned else None,
            metadata={"dagster/column_schema": table_schema(asset.table), "withheld": asset.withheld},
            pool=GPU_POOL if asset.gpu else None,
            check_specs=[
                dg.AssetCheckSpec(name, asset=key, description=promise, blocking=True)
                for name, promise in asset.gates.items()
            ],
        )
        def materialise(
            context: dg.AssetExecutionContext,
            home: HomeResource,
            compute: ComputeResource,
            registry: RegistryResource,
        ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster knows only the bare class
            partition = context.partition_key if asset.partitioned else UNPARTITIONED
            target = registry.find(partition) if asset.partitioned else None
            step, store = self._step(asset, home.home, compute, partition, target, context.run.run_id)
            return self._result(asset, *self._make_or_reuse(step, store, partition))

        return materialise

    def _step(
        self,
        asset: TableAsset,
        home: Home,
        compute: ComputeResource,
        partition: str,
        target: tuple[Target, Path] | None,
        run_id: str,
    ) -> tuple[Step, Store]:
        open_store, withheld_store = home.store(self.study.name), home.withheld(self.study.name)
        tables = {
            name: (
                withheld_store if self.tables[name].withheld else open_store,
                partition if self.tables[name].partitioned else UNPARTITIONED,
            )
            for name in asset.reads
        }
        store = withheld_store if asset.withheld else open_store
        # A step that reads withheld rows leaves its step files with them.
        bench = home.bench(withheld_store if asset.sees_withheld else open_store, compute.compute)
        return Step(asset, self.study, bench, run_id, tables, target, home), store

    def _make_or_reuse(self, step: Step, store: Store, partition: str) -> tuple[Event, pl.DataFrame, bool]:
        asset, inputs = step.asset, step.input_versions()
        about = {"target": asset.target_config(step.target)} if asset.partitioned else {}
        key = recipe_key(asset.name, asset.code_version, inputs, about)
        found = store.find(asset.name, partition, key)
        if found:
            store.use(found)
            frame = store.read(asset.name, partition)
            if asset.intact(step, frame):
                return found, frame, True
        started = time.monotonic()
        try:
            made = self._make(step)
        except STOPS as stop:
            raise dg.Failure(str(stop), metadata={"stop": type(stop).__name__}, allow_retries=False) from None
        event = store.write(
            conform(made.frame, asset.table),
            asset=asset.name,
            partition=partition,
            key=key,
            code_version=asset.code_version,
            inputs=inputs,
            seconds=time.monotonic() - started,
            run_id=step.run_id,
            gates=made.gates,
            details=made.details,
        )
        return event, made.frame, False

    @staticmethod
    def _make(step: Step) -> Made:
        reason = step.asset.inapplicable(step.target) if step.asset.partitioned else None
        if reason is None:
            return step.asset.make(step)
        gates = [Gate(name, passed=True, summary=f"does not apply: {reason}") for name in step.asset.gates]
        return Made(empty(step.asset.table), gates, {"does not apply": reason})

    @staticmethod
    def _result(asset: TableAsset, event: Event, frame: pl.DataFrame, reused: bool) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(
            data_version=dg.DataVersion(event.data_version),
            metadata=event_metadata(event, frame, asset.partitioned, reused)
            | dict(asset.describe(frame) if frame.height else {}),
            check_results=[
                dg.AssetCheckResult(
                    check_name=gate.name,
                    passed=gate.passed,
                    description=gate.message,
                    metadata={"failing_rows": list(gate.rows[:100]), "failing_row_count": len(gate.rows)},
                )
                for gate in event.gates
            ],
        )


def checkpoints_exist(step: Step, checkpoints: pl.DataFrame) -> bool:
    """Whether every checkpoint of a table (CHECKPOINTS) lies in its folder."""
    return all(step.bench.checkpoints.find(checkpoint) for checkpoint in checkpoints["checkpoint_id"])


def asset_key(name: str) -> dg.AssetKey:
    """Return the Dagster key of a table's name."""
    return dg.AssetKey(name.split("/"))
