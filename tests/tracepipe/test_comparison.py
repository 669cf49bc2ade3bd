"""Conditions side by side, and every pair with its difference."""

import pytest

from tracepipe.comparison import compare, differences
from tracepipe.records import BENCHMARK_SCORES, from_rows
from tracepipe.statistics import holm


def score(
    item: str,
    seed: int | None,
    value: float,
    *,
    outcome: str | None = None,
    truncated: bool = False,
    looped: bool = False,
    condition: str = "oracle",
    sample: int = 0,
    cluster: str | None = None,
) -> dict:
    outcome = outcome or ("correct" if value else "wrong")
    names = {
        "request_key": f"{condition}{item}{seed}{sample}",
        "item_id": item,
        "benchmark": "b",
        "cluster": cluster or item,
    }
    who = {"condition": condition, "seed": seed, "sample": sample, "gold": "1"}
    official = {"extracted": None, "rule": "none", "score": value, "outcome": outcome}
    return {**names, **who, **official, **{f"fair_{key}": one for key, one in official.items()}} | {
        "truncated": truncated,
        "looped": looped,
    }


def test_no_accuracy_without_interval_seed_spread_truncation_no_answer_and_loop_rate():
    rows = [
        score("i1", 0, 1.0),
        score("i2", 0, 0.0, outcome="no_answer", truncated=True, looped=True),
        score("i1", 1, 1.0),
        score("i2", 1, 1.0),
    ]
    (cell,) = compare(from_rows(rows, BENCHMARK_SCORES), ["base", "oracle"], {"oracle": 7}).to_dicts()
    assert (cell["accuracy"], cell["seed_low"], cell["seed_high"]) == (75.0, 50.0, 100.0)
    assert (cell["truncation_rate"], cell["no_answer_rate"], cell["loop_rate"]) == (25.0, 25.0, 25.0)
    assert (cell["items"], cell["clusters"], cell["samples"], cell["seeds"], cell["training_rows"]) == (2, 2, 1, 2, 7)
    assert cell["low"] < 75 < cell["high"]
    assert (cell["fair_low"], cell["fair_accuracy"], cell["fair_high"]) == (cell["low"], 75.0, cell["high"])


def test_items_of_one_source_widen_the_interval():
    def width(cluster: str | None) -> float:
        rows = [score(f"i{n}", 0, float(n < 20), cluster=cluster and f"{cluster}{n // 5}") for n in range(40)]
        (cell,) = compare(from_rows(rows, BENCHMARK_SCORES), ["oracle"], {}).to_dicts()
        return float(cell["high"] - cell["low"])

    assert width("paper") > 1.5 * width(None)


def test_every_pair_gets_a_difference_item_by_item_and_a_verdict():
    good = [score(f"i{n}", None, float(n != 3), condition="oracle") for n in range(40)]
    poor = [score(f"i{n}", None, float(n < 5), condition="base") for n in range(40)]
    same = [score(f"i{n}", None, float(n < 6), condition="answer_only") for n in range(40)]
    found = differences(from_rows([*good, *poor, *same], BENCHMARK_SCORES), ["base", "answer_only", "oracle"])
    pairs = {(row["condition"], row["against"]): row for row in found.iter_rows(named=True)}
    assert set(pairs) == {("answer_only", "base"), ("oracle", "base"), ("oracle", "answer_only")}
    large, small = pairs[("oracle", "base")], pairs[("answer_only", "base")]
    assert large["difference"] == pytest.approx(100 * 34 / 40)
    assert (large["resolved"], small["resolved"]) == (True, False)
    assert large["mcnemar_p"] == pytest.approx(2 * 37 / 2**36, rel=1e-6)  # 35 items better, 1 worse
    assert small["low"] < 0 < small["high"]
    assert found["p_holm"].to_list() == holm(found["p"].to_list()) != found["p"].to_list()
    assert large["seed_low"] is None


def test_the_spread_over_training_seeds_stands_beside_the_difference():
    rows = [score(f"i{n}", seed, float(n < 4 + seed), condition="oracle") for n in range(10) for seed in (0, 1, 2)]
    rows += [score(f"i{n}", None, float(n < 2), condition="base") for n in range(10)]
    (found,) = differences(from_rows(rows, BENCHMARK_SCORES), ["base", "oracle"]).to_dicts()
    assert found["difference"] == pytest.approx(30)
    assert (found["seed_low"], found["seed_high"]) == (pytest.approx(20), pytest.approx(40))
    assert found["mcnemar_p"] is None


def test_only_items_that_both_answered_are_compared():
    rows = [score(f"i{n}", None, 1.0, condition="oracle") for n in range(10)]
    rows += [score(f"i{n}", None, 0.0, condition="base") for n in range(5)]
    (found,) = differences(from_rows(rows, BENCHMARK_SCORES), ["base", "oracle"]).to_dicts()
    assert found["items"] == 5
