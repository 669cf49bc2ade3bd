"""What a report is written from: the tables of one target that there are, and the events behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from tracepipe.lineage.history import ancestors
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED, Event, Store
from tracepipe.study import Study
from tracepipe.target import Target


@dataclass(frozen=True)
class Material:
    """The content of a report.

    Attributes:
        tables: Asset to table; what a target's terms or nature do not allow is not there or has no rows.
        events: The lineage events of these tables and of all they were made from.
        others: Partition to COMPARISON, of the study's other targets and revisions.
    """

    study: Study
    target: Target
    tables: Mapping[str, pl.DataFrame]
    events: Sequence[Event]
    others: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pl.DataFrame | None:
        """Return a table, or None where it has no rows."""
        found = self.tables.get(name)
        return found if found is not None and found.height else None


def tables_of(study: Study) -> list[str]:
    """Return the tables a report shows."""
    per_exposure = ("trace_fidelity", "inverted_traces", "trace_consistency")
    return [
        "comparison",
        "differences",
        "prompts",
        "surrogate_traces",
        "target_outputs",
        "target_traces",
        "row_set",
        *(["summary_style"] if study.of_summaries else []),
        *(["leakage"] if study.has_levels else []),
        *(f"target_exposures/{exposure}" for exposure in study.exposures if exposure in study.policies),
        *(["student_examples"] if any(study.composition(one).length_of for one in study.trained_conditions) else []),
        *(
            f"{family}/{exposure}"
            for family in ("trace_draws", "selected_traces")
            for exposure in study.exposures
            if study.selections_at(exposure)
        ),
        *(f"{family}/{exposure}" for family in per_exposure for exposure in study.exposures),
    ]


def material_of(study: Study, target: Target, stores: Sequence[Store]) -> Material:
    """Gather what there is for a target.

    Args:
        study: The study.
        target: The target, with its revision.
        stores: The open store and the withheld one.

    Raises:
        SpecError: If nothing of the target was collected yet.
    """
    found = {
        name: (store, event)
        for name in tables_of(study)
        for store in stores
        for partition in (target.partition, UNPARTITIONED)
        if (event := store.current(name, partition))
    }
    if "target_outputs" not in found:
        raise SpecError(
            f"study '{study.name}' has no outputs of target '{target.partition}' yet; "
            f"run: tracepipe run STUDY --target {target.partition}"
        )
    open_store = stores[0]
    others = [name for name in open_store.partitions("comparison") if name != target.partition]
    return Material(
        study,
        target,
        {name: store.read_version(event) for name, (store, event) in found.items()},
        ancestors(stores, [event for _, event in found.values()]),
        {name: open_store.read("comparison", name) for name in others},
    )
