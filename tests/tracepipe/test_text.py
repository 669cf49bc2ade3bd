"""Taking model text apart, and reading the boxed answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracepipe.grading.boxed import grade_boxed, last_boxed

from tracepipe.text import reasoned, take_apart, trace_of

plain = st.text(alphabet="abc 123\n+-=", min_size=1).map(str.strip).filter(bool)


@given(plain, plain)
def test_what_is_put_together_comes_apart_again(trace: str, answer: str):
    reply = take_apart(reasoned(trace, answer))
    assert (reply.trace, reply.answer) == (trace, answer)


@pytest.mark.parametrize(
    ("text", "trace", "answer"),
    [
        ("<think> a b </think> c", "a b", "c"),
        ("a b </think> c", "a b", "c"),
        ("<think> never closed \\boxed{4}", None, ""),
        ("no block", None, "no block"),
        ("<think></think>c", "", "c"),
    ],
)
def test_think_blocks_are_closed_opened_by_the_template_or_unfinished(text: str, trace: str | None, answer: str):
    reply = take_apart(text)
    assert (reply.trace, reply.answer) == (trace, answer)


def test_an_inverter_may_write_its_trace_with_or_without_a_think_block():
    assert trace_of("a b") == "a b"
    assert trace_of("<think> a b </think> c") == "a b"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (r"\boxed{ 4 }", "4"),
        (r"first \boxed{3}, then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"<think> \boxed{3} </think> the answer is 4", None),
        (r"<think> x </think> \boxed{5}", "5"),
        (r"<think> \boxed{3}", None),
        (r"\boxed{3} and \boxed{unfinished", "3"),
        (r"\boxed{}", None),
        ("", None),
    ],
)
def test_the_last_complete_box_after_the_think_block_is_the_answer(response: str, expected: str | None):
    assert last_boxed(response) == expected


def test_a_grade_says_correct_wrong_or_no_answer():
    assert grade_boxed(r"\boxed{ 1 0 }", "10").outcome == "correct"
    assert (grade_boxed(r"\boxed{9}", "10").outcome, grade_boxed(r"\boxed{9}", "10").score) == ("wrong", 0.0)
    assert grade_boxed("10", "10").outcome == "no_answer"
