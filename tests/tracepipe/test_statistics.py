"""Intervals and tests keep what they promise, on simulated benchmarks whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.statistics import holm, interval_over_items, item_means, mcnemar, paired_difference, smallest_difference

DRAWS = 2000


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_an_interval_holds_its_mean_and_stays_between_0_and_1(thirds: list[int]):
    interval = interval_over_items(np.array(thirds) / 3, [str(n) for n in range(len(thirds))])
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.low < interval.high


def test_the_interval_of_single_samples_is_close_to_wilson():
    interval = interval_over_items(np.array([1.0] * 80 + [0.0] * 20), [str(n) for n in range(100)])
    assert (interval.low, interval.high) == (pytest.approx(0.7112, abs=0.003), pytest.approx(0.8666, abs=0.003))


def benchmark(
    rng: np.random.Generator, items: int, clusters: int, samples: int, ability: float
) -> tuple[np.ndarray, list[str]]:
    """Mean scores of items drawn from a world of clusters whose mean chance is `ability`, and their clusters."""
    shared = rng.beta(12 * ability, 12 * (1 - ability), clusters)
    numbers = np.arange(items) % clusters
    chances = rng.beta(6 * shared[numbers] + 0.01, 6 * (1 - shared[numbers]) + 0.01)
    return rng.binomial(samples, chances) / samples, [str(number) for number in numbers]


def expected(ability: float) -> float:
    """The world's mean chance, which the small offsets of `benchmark` move a little."""
    rng = np.random.default_rng(1)
    shared = rng.beta(12 * ability, 12 * (1 - ability), 400_000)
    return float(((6 * shared + 0.01) / 6.02).mean())


@pytest.mark.parametrize(
    ("items", "clusters", "samples", "ability"),
    [
        (500, 500, 1, 0.75),
        (500, 500, 4, 0.2),
        (515, 40, 3, 0.4),
        (200, 20, 1, 0.5),
        (200, 8, 1, 0.5),
        (100, 100, 8, 0.6),
        (30, 30, 16, 0.3),
    ],
)
def test_intervals_cover_the_truth_in_93_to_97_of_100_worlds(items: int, clusters: int, samples: int, ability: float):
    rng, truth = np.random.default_rng(items * samples), expected(ability)
    intervals = [interval_over_items(*benchmark(rng, items, clusters, samples, ability)) for _ in range(DRAWS)]
    covered = sum(interval.low <= truth <= interval.high for interval in intervals) / DRAWS
    assert 0.93 <= covered <= 0.97, covered


@pytest.mark.parametrize(
    ("items", "clusters", "samples", "gain"),
    [
        (500, 500, 1, 0.05),
        (500, 500, 4, 0.0),
        (515, 40, 3, 0.1),
        (200, 20, 1, 0.05),
        (200, 8, 1, 0.05),
        (100, 100, 8, 0.1),
        (30, 30, 16, 0.0),
    ],
)
def test_paired_intervals_cover_the_true_difference_in_93_to_97_of_100_worlds(
    items: int, clusters: int, samples: int, gain: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tracepipe.statistics._RESAMPLES", 1)  # resampling has a test of its own
    rng, covered = np.random.default_rng(items + samples), 0
    numbers = np.arange(items) % clusters
    names = [str(number) for number in numbers]
    for _ in range(DRAWS):
        easy = rng.uniform(0.25, 0.65, clusters)[numbers] + rng.uniform(-0.1, 0.1, items)
        moved = gain + rng.uniform(-0.05, 0.05, clusters)[numbers] + rng.uniform(-0.05, 0.05, items)
        left, right = rng.binomial(samples, easy + moved) / samples, rng.binomial(samples, easy) / samples
        found = paired_difference(left, right, names, single=False).interval
        covered += found.low <= gain <= found.high
    assert 0.93 <= covered / DRAWS <= 0.97, covered / DRAWS


def test_ignoring_clusters_would_not_cover():
    rng, truth = np.random.default_rng(3), expected(0.4)
    drawn = [benchmark(rng, 515, 40, 3, 0.4)[0] for _ in range(500)]
    alone = [interval_over_items(means, [str(n) for n in range(515)]) for means in drawn]
    assert sum(interval.low <= truth <= interval.high for interval in alone) / 500 < 0.85


def test_resampling_agrees_with_the_t_interval_and_repeats():
    rng = np.random.default_rng(5)
    left, right = rng.random(300), rng.random(300)
    found = paired_difference(left, right, [str(n) for n in range(300)], single=False)
    assert found.bootstrap.low == pytest.approx(found.interval.low, abs=0.01)
    assert found.bootstrap.high == pytest.approx(found.interval.high, abs=0.01)
    assert found == paired_difference(left, right, [str(n) for n in range(300)], single=False)


def test_a_difference_without_effect_is_called_significant_once_in_twenty():
    rng, names = np.random.default_rng(6), [str(n) for n in range(200)]
    chances = rng.uniform(0, 1, (400, 200))
    p_values = [paired_difference(rng.binomial(1, one), rng.binomial(1, one), names, single=True).p for one in chances]
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.075


def test_repeats_of_an_item_are_no_more_items():
    import polars as pl

    rows = pl.DataFrame({"item": ["a", "a", "b"], "cluster": ["x", "x", "x"], "score": [1.0, 0.0, 0.25]})
    means, clusters = item_means(rows)
    assert (means.tolist(), clusters) == ([0.5, 0.25], ["x", "x"])
    with pytest.raises(ValueError, match="at least one item"):
        item_means(rows.clear())


def test_mcnemar_and_holm_by_hand():
    assert mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(0, 0) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=12), st.randoms())
def test_holm_does_not_depend_on_the_order_and_only_raises(p_values: list[float], random: object):
    order = list(range(len(p_values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    adjusted = holm(p_values)
    assert holm([p_values[index] for index in order]) == [adjusted[index] for index in order]
    assert all(p <= raised <= 1 for p, raised in zip(p_values, adjusted, strict=True))


@pytest.mark.parametrize(
    ("problems", "samples", "points"), [(500, 1, 5.8), (500, 4, 2.9), (500, 8, 2.0), (30, 16, 5.9)]
)
def test_the_smallest_difference_that_is_seen(problems: int, samples: int, points: float):
    assert round(100 * smallest_difference(problems, samples), 1) == points


def test_a_difference_of_that_size_is_found_in_four_of_five_worlds():
    rng, names = np.random.default_rng(8), [str(n) for n in range(500)]
    gain, found = smallest_difference(500, 1, within=0.249), 0
    for _ in range(600):
        left, right = rng.binomial(1, 0.5 + gain, 500), rng.binomial(1, 0.5, 500)
        found += paired_difference(left, right, names, single=True).p < 0.05
    assert 0.74 <= found / 600 <= 0.86
