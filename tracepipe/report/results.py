"""The tables people ask for, fidelity, comparison and differences, read from the store with where they come from."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from tracepipe.fidelity import mean_fidelity
from tracepipe.report.tables import Grid, comparison_grid, difference_grid, fidelity_grid
from tracepipe.store import Event, Store
from tracepipe.study import Study


@dataclass(frozen=True)
class Result:
    """One table: its rows, their layout, and seed and time of what made it."""

    name: str
    rows: pl.DataFrame
    grid: Grid
    origin: str


def read_results(study: Study, store: Store, target: str, made: Collection[str] | None = None) -> list[Result]:
    """Read what is there for a target.

    Args:
        study: The study.
        store: Its open tables.
        target: The partition.
        made: Only these tables; None for all.
    """
    found = []
    means, newest = [], None
    for exposure in study.exposures:
        event = _event(store, f"trace_fidelity/{exposure}", target, made)
        if event is not None and event.rows:
            newest = event
            means.append(mean_fidelity(store.read(event.asset, target)).with_columns(exposure=pl.lit(exposure)))
    if newest is not None:
        rows = pl.concat(means)
        found.append(Result("fidelity", rows, fidelity_grid(rows), _origin(newest)))
    event = _event(store, "comparison", target, made)
    if event is not None:
        rows = store.read("comparison", target)
        found.append(Result("comparison", rows, comparison_grid(rows), _origin(event)))
    event = _event(store, "differences", target, made)
    if event is not None:
        rows = store.read("differences", target)
        found.append(Result("differences", rows, difference_grid(rows), _origin(event)))
    return found


def _event(store: Store, asset: str, target: str, made: Collection[str] | None) -> Event | None:
    return store.current(asset, target) if made is None or asset in made else None


def _origin(event: Event) -> str:
    return f"study seed {event.details['study seed']}, made {event.created_at[:19]}Z"
