"""Taking model text apart, and putting it together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
