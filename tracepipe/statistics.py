"""What a score and a difference of scores are worth (Miller, arXiv 2411.00640).

Each item's score is first averaged over its samples and training seeds, so that repeats of one item do not count as
more items. Standard errors are over items, clustered where items share a source; differences are paired item by item.
Spread over training seeds is another matter and stands beside them: an interval over items says nothing of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

VERSION = "2"
CONFIDENCE = 0.95
_RESAMPLES = 2000

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference of two means, from -1 to 1.

    Attributes:
        interval: The difference with its 95 % interval (t, clustered).
        bootstrap: The same by resampling clusters, with a fixed seed.
        p: Of no difference, two-sided, not adjusted.
        mcnemar: Exact p of McNemar's test; None unless every item was scored 0 or 1, once on each side.
    """

    interval: Interval
    bootstrap: Interval
    p: float
    mcnemar: float | None


def item_means(rows: pl.DataFrame) -> tuple[Values, list[str]]:
    """Return the mean score of every item, and its cluster, in the order of the item ids.

    Args:
        rows: `item, cluster, score`, one row per response.

    Raises:
        ValueError: If there is none.
    """
    if not rows.height:
        raise ValueError("an interval needs at least one item")
    means = rows.group_by("item").agg(pl.col("cluster").first(), pl.col("score").mean()).sort("item")
    return means["score"].to_numpy(), means["cluster"].to_list()


def interval_over_items(means: Values, clusters: Sequence[str]) -> Interval:
    """Return the mean over items with a Wilson interval, whose ends stay between 0 and 1.

    The effective number of items follows from the clustered standard error, which keeps the interval open where
    every item scores the same; the quantile is Student's t for the number of clusters.
    """
    mean = float(means.mean())
    variance, freedom = _clustered_variance(means - mean, clusters)
    binomial = mean * (1 - mean)
    effective = binomial / variance if variance > 0 and binomial > 0 else float(freedom + 1)
    t = _t_quantile(freedom)
    centre = (mean + t**2 / (2 * effective)) / (1 + t**2 / effective)
    half = t / (1 + t**2 / effective) * math.sqrt(binomial / effective + t**2 / (4 * effective**2))
    return Interval(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


def interval_of_mean(values: Values) -> Interval:
    """Return the mean of independent values with its 95 % interval (Student's t); a single value has no width."""
    mean = float(values.mean())
    variance, freedom = _clustered_variance(values - mean, [str(index) for index in range(len(values))])
    half = _t_quantile(freedom) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def paired_difference(left: Values, right: Values, clusters: Sequence[str], *, single: bool) -> Difference:
    """Compare two sets of scores of the same items.

    Args:
        left: Mean score of every item on one side.
        right: On the other, in the same order.
        clusters: Of the items.
        single: Whether each side scored every item once, so that McNemar's test applies to scores of 0 and 1.
    """
    differences = left - right
    mean = float(differences.mean())
    variance, freedom = _clustered_variance(differences - mean, clusters)
    half = _t_quantile(freedom) * math.sqrt(variance)
    binary = single and bool(np.isin(np.concatenate([left, right]), (0.0, 1.0)).all())
    return Difference(
        Interval(mean, mean - half, mean + half),
        _bootstrap(differences, clusters),
        _p_value(mean, math.sqrt(variance), freedom),
        mcnemar(int((differences > 0).sum()), int((differences < 0).sum())) if binary else None,
    )


def _clustered_variance(residuals: Values, clusters: Sequence[str]) -> tuple[float, int]:
    """Return the variance of a mean and its degrees of freedom; each item its own cluster gives the usual one."""
    _, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(numbers, weights=residuals)
    groups = len(sums)
    scale = groups / (groups - 1) if groups > 1 else 1.0
    return float(scale * (sums**2).sum() / len(residuals) ** 2), max(groups - 1, 1)


def _t_quantile(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def _p_value(mean: float, error: float, freedom: int) -> float:
    from scipy.stats import t

    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean) / error, freedom))


def _bootstrap(differences: Values, clusters: Sequence[str]) -> Interval:
    """Resample clusters with replacement; the seed is fixed, so the ends repeat."""
    _, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    sums, sizes = np.bincount(numbers, weights=differences), np.bincount(numbers)
    drawn = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(float(differences.mean()), float(low), float(high))


def mcnemar(better: int, worse: int) -> float:
    """Return the exact two-sided p of McNemar's test: items that only one side solved, by either side."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of one family of comparisons (Holm 1979), in their order."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


WITHIN_VARIANCE = 0.10625
"""Variance of one answer to one problem, averaged over problems: assumed, not measured (see `--within`)."""


def smallest_difference(problems: int, samples: int, *, power: float = 0.8, within: float = WITHIN_VARIANCE) -> float:
    """Return the smallest paired difference that is found with the given power at 5 % (Miller, section 5).

    Args:
        problems: Independent items.
        samples: Answers per item and side.
        power: Chance to find it.
        within: Variance of one answer to one problem, averaged over problems; both sides have the same chances but
            for the difference, which is the same everywhere.
    """
    from scipy.stats import norm

    error = math.sqrt(2 * within / samples / problems)
    return float((norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(power)) * error)
