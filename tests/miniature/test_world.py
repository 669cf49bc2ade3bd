"""The miniature world: programmatic truth, distinct problems, a tokenizer that loses nothing."""

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.miniature.corpus import base_corpus, noisy_textbook
from tracepipe.miniature.language import build_tokenizer
from tracepipe.miniature.world import (
    EASY_OPERATIONS,
    HARD_OPERATIONS,
    Problem,
    draw_pool,
    draw_problem,
    solve,
    summarise,
    true_answer,
    true_facts,
)

problems = st.builds(draw_problem, st.randoms(use_true_random=False), st.integers(1, 4))


def test_the_example_of_the_docstring():
    problem = Problem(1, ("-2", "+1", "*4"))
    solution = solve(problem)
    assert problem.text == "start 1 A -2 B +1 C *4"
    assert (solution.trace, solution.summary) == ("A -2 10 B +1 0 C *4 0", "C *4 0")
    assert solution.answer == r"C \boxed{ 0 }"


@given(problems)
def test_the_last_step_of_a_trace_is_the_true_answer(problem: Problem):
    solution = solve(problem)
    assert int(solution.trace.split()[-1]) == true_answer(problem)
    assert solution.answer.split()[-2] == str(true_answer(problem))


@given(problems, st.randoms(use_true_random=False))
def test_a_summary_holds_the_hard_steps_of_the_trace_and_nothing_else(problem: Problem, rng: random.Random):
    solution = solve(problem, lambda _value, _operation: rng.randrange(11))
    assert summarise(solution.trace) == solution.summary
    assert len(solution.summary.split()) == 3 * problem.hard_count


@given(problems)
def test_no_word_of_the_world_is_unknown_to_its_tokenizer(problem: Problem):
    tokenizer = build_tokenizer()
    solution = solve(problem)
    for text in (problem.text, solution.trace, solution.summary, solution.answer):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_lists_of_a_pool_are_distinct_disjoint_and_alike_in_difficulty():
    pool = draw_pool(3, {"a": 90, "b": 900, "c": 90, "h": 30}, frozenset({"h"}))
    assert all(len(set(problems)) == len(problems) for problems in pool.values())
    assert all(set(one).isdisjoint(other) for one, other in combinations(pool.values(), 2))
    for name in "abc":
        counts = [problem.hard_count for problem in pool[name]]
        assert {count: counts.count(count) / len(counts) for count in (1, 2, 3)} == dict.fromkeys((1, 2, 3), 1 / 3)
    assert {problem.hard_count for problem in pool["h"]} == {4}


def test_a_world_too_small_says_so():
    with pytest.raises(ValueError, match="run out of distinct problems with 1 hard operation"):
        draw_pool(0, {"a": 20_000})


def test_the_base_never_sees_the_result_of_a_hard_operation_reliably():
    corpus = base_corpus(0)
    told, right = 0, 0
    for _ in range(3000):
        prompt, reply = next(corpus)
        if prompt.startswith("notes") or "<think>" not in reply:
            continue
        tokens = ("x x " + prompt.split()[2] + " " + reply.split("<think> ")[1].split(" </think>")[0]).split()
        values = [int(token) for token in tokens[2::3]]
        for before, operation, after in zip(values, tokens[4::3], values[1:], strict=False):
            if operation in HARD_OPERATIONS:
                told, right = told + 1, right + (true_facts(before, operation) == after)
            else:
                assert operation in EASY_OPERATIONS
                assert (before + int(operation)) % 11 == after
    assert told > 500
    assert right / told == pytest.approx(1 / 11, abs=0.04)


def test_the_textbook_is_right_more_often_than_not_and_errs_fact_by_fact():
    look_up = noisy_textbook(0)
    facts = [(value, operation) for value in range(11) for operation in HARD_OPERATIONS]
    shares = [sum(look_up(*fact) == true_facts(*fact) for _ in range(200)) / 200 for fact in facts]
    assert 0.6 < sum(shares) / len(shares) < 0.85
    assert min(shares) < 0.5
    assert max(shares) > 0.9
