"""Rules reject draws, one survivor is taken per row, and every row that is lost has its rule."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracepipe.records import TRACE_DRAWS, from_rows
from tracepipe.selection.choose import changes, rejected, selected_traces, selection_gates
from tracepipe.selection.draws import quotes_the_answer
from tracepipe.selection.spec import RULES, Choice

BY_ITSELF = [rule for rule in RULES if rule != "plausible"]


def draw(row: str, number: int, **measured: object) -> dict:
    ids = {"prompt_id": row, "request_key": f"r_{row}_{number}", "checkpoint_id": "c", "draw": number}
    counts = {"input_tokens": 1, "output_tokens": 1, "tokens": 10, "predicted_tokens": 10.0}
    judged = dict.fromkeys(BY_ITSELF, True) | {"consistency": 0.5, "likelihood": -1.0, "plausibility": -1.0}
    texts = {"inverted_trace": f"trace {row} {number}", "outcome": "ok", "reason": None}
    return ids | counts | judged | texts | measured


def table(*rows: dict) -> pl.DataFrame:
    return from_rows(list(rows), TRACE_DRAWS)


def chosen(draws: pl.DataFrame, **choice: object) -> dict[str, int | str]:
    """Row to the number of the draw taken, or the rule that left none."""
    found = selected_traces(draws, {"selected": Choice(**choice)})
    return {row["prompt_id"]: row["lost_to"] or row["draw"] for row in found.iter_rows(named=True)}


@pytest.mark.parametrize("rule", BY_ITSELF)
def test_each_rule_rejects_and_can_be_switched_off(rule: str):
    draws = table(draw("a", 0, **{rule: False}), draw("a", 1), draw("b", 0, **{rule: False}))
    on = tuple({"terminates", rule})
    assert chosen(draws, rules=on) == {"a": 1, "b": rule}
    if rule != "terminates":
        assert chosen(draws, rules=("terminates",)) == {"a": 0, "b": 0}


def test_a_row_is_counted_at_the_first_rule_that_left_it_none():
    draws = table(
        draw("a", 0, terminates=False), draw("a", 1, agrees=False), draw("b", 0, no_quote=False, no_loop=False)
    )
    assert chosen(draws) == {"a": "agrees", "b": "no_loop"}


@pytest.mark.parametrize(
    ("choose", "better"),
    [
        ("likelihood", {"likelihood": -0.1}),
        ("plausibility", {"plausibility": -0.1}),
        ("consistency", {"consistency": 0.9}),
        ("length", {"tokens": 9}),
    ],
)
def test_each_choice_takes_what_is_best_by_its_measure(choose: str, better: dict):
    draws = table(draw("a", 0, tokens=30), draw("a", 1, **{"tokens": 30} | better), draw("a", 2, tokens=31))
    assert chosen(draws, choose=choose) == {"a": 1}
    assert chosen(draws, choose="first") == {"a": 0}


def test_plausible_keeps_the_share_of_rows_whose_best_draw_is_likeliest():
    draws = table(
        draw("a", 0, plausibility=-5.0),
        draw("a", 1, plausibility=-0.1),
        draw("b", 0, plausibility=-3.0),
        draw("c", 0, plausibility=-0.2),
        draw("d", 0, plausibility=-0.01, agrees=False),
    )
    rules = ("terminates", "agrees", "plausible")
    assert chosen(draws, rules=rules, plausible_share=0.67) == {"a": 1, "b": "plausible", "c": 0, "d": "agrees"}
    assert chosen(draws, rules=rules, plausible_share=1) == {"a": 1, "b": 0, "c": 0, "d": "agrees"}


flags = st.fixed_dictionaries({rule: st.booleans() for rule in BY_ITSELF})
rows_of_draws = st.lists(st.lists(flags, min_size=1, max_size=3), min_size=1, max_size=5)


@settings(max_examples=40)
@given(judged=rows_of_draws, extra=st.sampled_from(BY_ITSELF[1:]), random=st.randoms())
def test_another_rule_never_keeps_more_and_the_order_of_draws_does_not_matter(judged: list, extra: str, random):
    rows = [draw(f"p{at}", number, **one) for at, draws in enumerate(judged) for number, one in enumerate(draws)]
    draws = table(*rows)
    random.shuffle(rows)
    choices = {"few": Choice(rules=("terminates",)), "more": Choice(rules=("terminates", extra))}
    found = selected_traces(draws, choices)
    assert found.equals(selected_traces(table(*rows), choices))
    kept = {name: set(found.filter(pl.col("draw").is_not_null(), selection=name)["prompt_id"]) for name in choices}
    assert kept["more"] <= kept["few"]
    assert all(gate.passed for gate in selection_gates(draws, choices, found))
    assert found.height == 2 * len(judged)


def test_what_a_selection_changed_is_counted():
    draws = table(draw("a", 0, agrees=False, tokens=20), draw("a", 1), draw("b", 0, agrees=False))
    choices = {"selected": Choice()}
    (row,) = changes(draws, selected_traces(draws, choices)).to_dicts()
    assert (row["rows"], row["kept"], row["agrees"], row["no_loop"], row["changed"]) == (2, 1, 1, 0, 1)
    assert (row["tokens_first"], row["tokens"], row["mean_draws"]) == (20, 10, 1.5)
    by_rule = {one["rule"]: (one["rejected"], one["alone"]) for one in rejected(draws).to_dicts()}
    assert by_rule == {"terminates": (0, 0), "no_loop": (0, 0), "agrees": (2, 2), "no_quote": (0, 0)}


@pytest.mark.parametrize(
    ("trace", "quotes"),
    [
        ("We add 2 and get 5, which matches the given answer.", True),
        ("Since the final answer was provided, we work backwards.", True),
        ("We are told that the answer is 7, so x must be 3.", True),
        ("The given equation has two roots; my answer is 7.", False),
        ("A known result: the sum is n(n+1)/2. So the answer is 10.", False),
    ],
)
def test_a_trace_that_speaks_of_an_answer_it_was_given_is_found(trace: str, quotes: bool):
    assert quotes_the_answer(trace) == quotes
