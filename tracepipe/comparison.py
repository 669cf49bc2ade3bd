"""Conditions side by side: every accuracy with what qualifies it, every pair with its difference."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from tracepipe.conditions import Condition
from tracepipe.records import COMPARISON, DIFFERENCES, from_rows
from tracepipe.statistics import holm, interval_over_items, item_means, paired_difference

VERSION = "3"
SIGNIFICANCE = 0.05


def compare(
    scores: pl.DataFrame, conditions: Sequence[Condition], training_rows: Mapping[Condition, int]
) -> pl.DataFrame:
    """Put every condition's accuracy on every benchmark side by side.

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
    means, clusters = item_means(cell.select("cluster", "score", item="item_id"))
    interval = interval_over_items(means, clusters)
    fair = interval_over_items(*item_means(cell.select("cluster", item="item_id", score="fair_score")))
    seeds = cell.group_by("seed").agg(pl.col("score").mean())["score"].to_numpy()
    rates = {
        "exact_rate": pl.col("outcome") == "correct",
        "truncation_rate": pl.col("truncated"),
        "no_answer_rate": pl.col("outcome") == "no_answer",
        "loop_rate": pl.col("looped"),
        "timeout_rate": pl.col("outcome") == "timeout",
    }
    return {
        "accuracy": 100 * interval.mean,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "fair_accuracy": 100 * fair.mean,
        "fair_low": 100 * fair.low,
        "fair_high": 100 * fair.high,
        "seed_low": 100 * seeds.min(),
        "seed_high": 100 * seeds.max(),
        **cell.select((100 * rate.mean()).alias(name) for name, rate in rates.items()).row(0, named=True),
        "items": len(means),
        "clusters": len(set(clusters)),
        "samples": cell["sample"].n_unique(),
        "seeds": cell["seed"].drop_nulls().n_unique(),
    }


def differences(scores: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """Compare every pair of conditions on every benchmark, item by item; Holm's adjustment is over a benchmark's pairs.

    Args:
        scores: BENCHMARK_SCORES of all conditions.
        conditions: The study's order; the later of a pair is compared with the earlier.

    Returns:
        DIFFERENCES.
    """
    rows: list[dict[str, Any]] = []
    for benchmark in scores["benchmark"].unique(maintain_order=True):
        cells = {condition: scores.filter(benchmark=benchmark, condition=condition) for condition in conditions}
        there = [condition for condition in conditions if cells[condition].height]
        found = [
            {"benchmark": benchmark, "condition": later, "against": earlier, **_pair(cells[later], cells[earlier])}
            for earlier, later in combinations(there, 2)
        ]
        for row, adjusted in zip(found, holm([row["p"] for row in found]), strict=True):
            rows.append(row | {"p_holm": adjusted, "resolved": adjusted < SIGNIFICANCE})
    return from_rows(rows, DIFFERENCES)


def _pair(later: pl.DataFrame, earlier: pl.DataFrame) -> dict[str, Any]:
    both = set(later["item_id"]) & set(earlier["item_id"])
    sides = [frame.filter(pl.col("item_id").is_in(list(both))) for frame in (later, earlier)]
    (left, clusters), (right, _) = (item_means(side.select("cluster", "score", item="item_id")) for side in sides)
    found = paired_difference(left, right, clusters, single=all(side.height == len(both) for side in sides))
    spread = _over_seeds(*sides)
    return {
        "difference": 100 * found.interval.mean,
        "low": 100 * found.interval.low,
        "high": 100 * found.interval.high,
        "bootstrap_low": 100 * found.bootstrap.low,
        "bootstrap_high": 100 * found.bootstrap.high,
        "p": found.p,
        "mcnemar_p": found.mcnemar,
        "seed_low": None if spread is None else 100 * spread[0],
        "seed_high": None if spread is None else 100 * spread[1],
        "items": len(both),
    }


def _over_seeds(later: pl.DataFrame, earlier: pl.DataFrame) -> tuple[float, float] | None:
    """The smallest and the largest difference over training seeds; None where neither side has several.

    Seeds of two conditions are independent trainings, so every seed of one side meets every seed of the other.
    """
    means = [side.group_by("seed").agg(pl.col("score").mean())["score"].to_list() for side in (later, earlier)]
    if max(len(values) for values in means) < 2:
        return None
    return min(means[0]) - max(means[1]), max(means[0]) - min(means[1])
