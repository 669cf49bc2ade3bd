"""Intervals for benchmark scores (Miller, arXiv 2411.00640)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tracepipe.records import COMPARISON, from_rows
from tracepipe.study import Condition

VERSION = "1"
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval, all from 0 to 1."""

    mean: float
    low: float
    high: float


def interval_over_items(item_means: Sequence[float]) -> Interval:
    """Return the mean over items with a Wilson interval.

    Each item's score is first averaged over its repeats (training seeds), so that repeats of one item
    do not count as more items. The effective number of items follows from the standard error of those
    averages, which keeps the interval open where every item scores the same.

    Args:
        item_means: One mean score per item, 0 to 1.

    Raises:
        ValueError: If there is no item.
    """
    count = len(item_means)
    if not count:
        raise ValueError("an interval needs at least one item")
    mean = math.fsum(item_means) / count
    variance = math.fsum((value - mean) ** 2 for value in item_means) / max(count - 1, 1) / count
    binomial = mean * (1 - mean)
    effective = binomial / variance if variance > 0 and binomial > 0 else float(count)
    centre = (mean + _Z95**2 / (2 * effective)) / (1 + _Z95**2 / effective)
    half = _Z95 / (1 + _Z95**2 / effective) * math.sqrt(binomial / effective + _Z95**2 / (4 * effective**2))
    return Interval(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


def compare(
    scores: pl.DataFrame, conditions: Sequence[Condition], training_rows: Mapping[Condition, int]
) -> pl.DataFrame:
    """Put every condition's accuracy on every benchmark side by side, with what qualifies it.

    Args:
        scores: BENCHMARK_SCORES of all conditions.
        conditions: The order of the rows.
        training_rows: Condition to examples each of its students was trained on.

    Returns:
        COMPARISON.
    """
    rows = []
    for benchmark in scores["benchmark"].unique(maintain_order=True):
        for condition in conditions:
            cell = scores.filter(benchmark=benchmark, condition=condition)
            if cell.height:
                rows.append({"benchmark": benchmark, "condition": condition, **_cell(cell)})
    return from_rows([row | {"training_rows": training_rows.get(row["condition"], 0)} for row in rows], COMPARISON)


def _cell(cell: pl.DataFrame) -> dict[str, float | int]:
    items = cell.group_by("item_id").agg(pl.col("score").mean()).sort("item_id")["score"]
    interval = interval_over_items(items.to_list())
    seeds = cell.group_by("seed").agg(pl.col("score").mean())["score"]
    rates = cell.select(pl.col("truncated").mean(), (pl.col("outcome") == "no_answer").mean().alias("no_answer")).row(0)
    return {
        "accuracy": 100 * interval.mean,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "seed_low": 100 * seeds.to_numpy().min(),
        "seed_high": 100 * seeds.to_numpy().max(),
        "truncation_rate": 100 * rates[0],
        "no_answer_rate": 100 * rates[1],
        "items": len(items),
        "seeds": cell["seed"].drop_nulls().n_unique(),
    }
