"""The one way a table becomes an asset: reads and writes, reuse, gates and metadata are done here for all.

A table is named by its recipe (code version, configuration, data versions of what it reads). Where the
store holds a table of the same recipe, it is put in use again and nothing is computed.
"""

import platform
import time
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import checkpoint_paths, column_lineage, event_metadata, table_schema
from assets.step import Made, Step, TableAsset
from resources.compute import ComputeResource
from resources.home import HomeResource
from resources.jobs import StepFailed
from resources.registry import RegistryResource
from tracepipe.collection import CollectionStopped
from tracepipe.compute import Compute, totals
from tracepipe.engines.generation import EngineError
from tracepipe.gates import Gate
from tracepipe.grading.sandbox import SandboxMissing
from tracepipe.home import Home
from tracepipe.identity import code_commit, digest, weights_id
from tracepipe.records import STAGES, conform, empty
from tracepipe.serving import ServingError
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED, Event, Making, Store, recipe_key
from tracepipe.students import TermsForbid
from tracepipe.study import Study
from tracepipe.target import Target
from tracepipe.words import MissingTokenizerData

TARGETS = dg.DynamicPartitionsDefinition(name="target")
GPU_POOL = "gpu"
_OWNERS = ["team:tracepipe"]

STOPS = (
    SpecError,
    CollectionStopped,
    EngineError,
    StepFailed,
    ServingError,
    TermsForbid,
    SandboxMissing,
    MissingTokenizerData,
)
"""What ends a step with a message for the user instead of a traceback."""


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
            group_name=group_of(asset.stage),
            kinds=set(asset.kinds),
            owners=_OWNERS,
            code_version=asset.code_version,
            partitions_def=TARGETS if asset.partitioned else None,
            metadata={"dagster/column_schema": table_schema(asset.table), "withheld": asset.withheld},
            freshness_policy=asset.freshness,
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
            runs = compute.for_step(context, home.home)
            step, store = self._step(asset, home.home, runs, partition, target, context.run.run_id)
            return self._result(step, store, *self._make_or_reuse(step, store, partition))

        return materialise

    def _step(
        self,
        asset: TableAsset,
        home: Home,
        compute: Compute,
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
        bench = home.bench(withheld_store if asset.sees_withheld else open_store, compute, partition)
        return Step(asset, self.study, bench, run_id, tables, target, home), store

    def _make_or_reuse(self, step: Step, store: Store, partition: str) -> tuple[Event, pl.DataFrame, bool]:
        asset = step.asset
        target = step.target if asset.partitioned else None
        read = {name: step.event(name) for name in asset.reads}
        beside = {f"{event.asset}@{other}": event for other, event in step.events_beside().items()}
        reason = asset.inapplicable(target) if target else None
        config = asset.config_for(target)
        inputs = {name: event.data_version for name, event in (read | beside).items()}
        about = {"target": config["target"], "inapplicable": reason}
        key = recipe_key(asset.name, asset.code_version, inputs, about)
        found = store.find(asset.name, partition, key)
        if found and not asset.rereads:
            store.use(found)
            frame = store.read(asset.name, partition)
            if asset.intact(step, frame):
                return found, frame, True
        started, steps_before = time.monotonic(), len(step.bench.compute.figures)
        try:
            made = asset.make(step) if reason is None else _nothing(asset, reason)
        except STOPS as stop:
            raise dg.Failure(str(stop), metadata={"stop": type(stop).__name__}, allow_retries=False) from None
        frame = conform(made.frame, asset.table)
        if found and asset.rereads:
            store.use(found)
            if store.read(asset.name, partition).equals(frame):
                return found, frame, True
        making = Making(
            asset=asset.name,
            partition=partition,
            stage=asset.stage,
            recipe_key=key,
            code_version=asset.version,
            config_version=digest(config),
            run_id=step.run_id,
            seconds=time.monotonic() - started,
            inputs=tuple(event.as_input for event in (read | beside).values()),
            commit=code_commit(),
            cost_usd=made.cost_usd,
            ran_on=f"{platform.node()}, {step.bench.compute.place}",
            config=config,
            models={weights_id(one.model): one.name for one in asset.given},
            gates=tuple(made.gates),
            details={
                "study seed": self.study.seed,
                **totals(step.bench.compute.figures[steps_before:]),
                **made.details,
            },
        )
        return store.write(frame, making), frame, False

    @staticmethod
    def _result(step: Step, store: Store, event: Event, frame: pl.DataFrame, reused: bool) -> dg.MaterializeResult[Any]:
        asset = step.asset
        place = {"path": dg.MetadataValue.path(str(store.root / event.path)), "reused": reused}
        described = dict(asset.describe(frame)) if frame.height else {}
        columns = {"dagster/column_lineage": column_lineage(asset.name, asset.table, asset.reads)}
        models = checkpoint_paths(frame, step.bench.checkpoints)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(event.data_version),
            metadata=event_metadata(event, frame, asset.partitioned, asset.withheld)
            | place
            | columns
            | models
            | described,
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


def _nothing(asset: TableAsset, reason: str) -> Made:
    gates = [Gate(name, passed=True, summary=f"does not apply: {reason}") for name in asset.gates]
    return Made(empty(asset.table), gates, {"does not apply": reason})


def group_of(stage: str) -> str:
    """Return the group of a stage in the UI, which sorts groups by name."""
    return f"{STAGES.index(stage) + 1}_{stage}"


def asset_key(name: str) -> dg.AssetKey:
    """Return the Dagster key of a table's name."""
    return dg.AssetKey(name.split("/"))
