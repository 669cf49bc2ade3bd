"""Fidelity as its reference defines it, and intervals that cover what they promise."""

import random
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from tests.conftest import MODELS
from tracepipe.fidelity import Scorer, fidelity, mean_fidelity, token_f1
from tracepipe.records import BENCHMARK_SCORES, INVERTED_TRACES, TARGET_TRACES, from_rows
from tracepipe.report.tables import Grid
from tracepipe.statistics import compare, interval_over_items


def test_rouge_is_the_reference_with_stemming_times_hundred():
    reference, synthesized = "we add the numbers, then checked twice", "adding a number and checks it"
    expected = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(reference, synthesized)
    found = Scorer().score(reference, synthesized)
    assert {name: found[name] for name in expected} == {name: 100 * value.fmeasure for name, value in expected.items()}


def test_token_f1_is_over_sets():
    assert token_f1(["a", "a", "b"], ["a", "c"]) == 0.5
    assert token_f1([], ["a"]) == 0.0


def test_traces_are_compared_by_prompt_and_not_by_place():
    traces = from_rows(
        [{"prompt_id": p, "request_key": p, "trace": t} for p, t in (("p1", "A +1 2"), ("p2", "B -1 4 C +1 5"))],
        TARGET_TRACES,
    )
    rows = [
        {
            "prompt_id": p,
            "request_key": f"i{p}",
            "checkpoint_id": "c",
            "inverted_trace": t,
            "outcome": "ok",
            "reason": None,
        }
        | {"input_tokens": 1, "output_tokens": 1}
        for p, t in (("p2", "B -1 4 C +1 5"), ("p1", "A +1"))
    ]
    scores = fidelity(from_rows(rows, INVERTED_TRACES), traces, "trained", str(MODELS / "base"))
    by_prompt = {row["prompt_id"]: row for row in scores.iter_rows(named=True)}
    assert by_prompt["p2"]["rougeL"] == pytest.approx(100)
    assert by_prompt["p1"]["length_recovery"] == pytest.approx(2 / 3)
    assert mean_fidelity(scores)["length_recovery"][0] == pytest.approx(8 / 9)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_an_interval_holds_its_mean_and_stays_between_0_and_1(thirds: list[int]):
    interval = interval_over_items([third / 3 for third in thirds])
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.low < interval.high


def test_the_interval_of_single_samples_is_close_to_wilson():
    interval = interval_over_items([1.0] * 80 + [0.0] * 20)
    assert (interval.low, interval.high) == (pytest.approx(0.7112, abs=0.002), pytest.approx(0.8666, abs=0.002))


@pytest.mark.parametrize("ability", [0.05, 0.5, 0.95])
def test_intervals_cover_the_truth_about_95_times_in_100(ability: float):
    rng = random.Random(f"coverage {ability}")
    covered = 0
    for _ in range(2000):
        difficulties = [min(1.0, max(0.0, rng.gauss(ability, 0.03))) for _ in range(100)]
        interval = interval_over_items([sum(rng.random() < chance for _ in range(3)) / 3 for chance in difficulties])
        covered += interval.low <= ability <= interval.high
    assert 0.92 <= covered / 2000 <= 0.98


def score(item: str, seed: int | None, value: float, outcome: str, truncated: bool = False) -> dict:
    row = {"request_key": f"{item}{seed}", "item_id": item, "benchmark": "b", "condition": "oracle", "seed": seed}
    return row | {"extracted": None, "gold": "1", "score": value, "outcome": outcome, "truncated": truncated}


def test_no_accuracy_without_interval_seed_spread_truncation_and_no_answer_rate():
    rows = [
        score("i1", 0, 1.0, "correct"),
        score("i2", 0, 0.0, "no_answer", truncated=True),
        score("i1", 1, 1.0, "correct"),
        score("i2", 1, 1.0, "correct"),
    ]
    (cell,) = compare(from_rows(rows, BENCHMARK_SCORES), ["base", "oracle"], {"oracle": 7}).to_dicts()
    assert (cell["accuracy"], cell["seed_low"], cell["seed_high"]) == (75.0, 50.0, 100.0)
    assert (cell["truncation_rate"], cell["no_answer_rate"]) == (25.0, 25.0)
    assert (cell["items"], cell["seeds"], cell["training_rows"]) == (2, 2, 7)
    assert cell["low"] < 75 < cell["high"]


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one item"):
        interval_over_items(pl.Series([], dtype=pl.Float64).to_list())


def test_model_written_text_stays_text_in_a_markdown_table():
    hostile = "a | b\n![x](http://evil/p.png) [y](javascript:alert(1)) <script> `c` **d**"
    (line,) = Grid(("text",), ((hostile,),)).markdown().splitlines()[2:]
    assert re.findall(r"(?<!\\)[|`*\[\]!<]", line.removeprefix("|").removesuffix("|")) == []
