"""What an inverted trace shows of itself: its answer, loops, contradictions, the summary's facts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.consistency import (
    conclusion,
    consistency_gates,
    contradicts_itself,
    facts_kept,
    rates,
    trace_consistency,
)
from tracepipe.loops import loops
from tracepipe.records import INVERTED_TRACES, TARGET_OUTPUTS, from_rows


@pytest.mark.parametrize(
    ("text", "looped"),
    [
        ("Wait, let me check that again. " * 8, True),
        ("So the answer is 7. " + "Wait, let me check that again. " * 5 + "Wait, let me", True),
        ("0.33333333" + "3" * 200, True),
        ("Wait, let me check that again. " * 3, False),
        (
            "Step 1: add 2. Step 2: add 4. Step 3: add 6. Step 4: add 8. Step 5: add 10. Step 6: add 12. Step 7: add 14.",
            False,
        ),
        ("Wait, let me check that again. " * 8 + "Therefore the answer is 7.", False),
        ("-" * 300, False),
        ("A +1 2 B -1 1 A +1 2 B -1 1", False),
        ("", False),
    ],
)
def test_a_text_that_ends_in_a_repetition_loops(text: str, looped: bool):
    assert loops(text) is looped


@given(
    st.text("abc d", min_size=30, max_size=60).filter(lambda text: text.strip()), st.integers(4, 8), st.integers(0, 29)
)
def test_any_repeated_passage_is_found_wherever_it_is_cut_off(passage: str, times: int, cut: int):
    whole = passage * times
    assert loops("Some beginning. " + whole + passage[:cut])


def test_a_trace_arrives_at_what_it_boxes_states_or_ends_with():
    assert conclusion(r"so \boxed{4}. Hence the answer is 5").answer == "4"
    assert conclusion("Therefore the answer is 5.").rule == "phrase"
    assert (conclusion("A -2 10 B +1 0").answer, conclusion("A -2 10 B +1 0").rule) == ("0", "ending")
    assert conclusion("we are not sure").answer is None


def test_two_boxes_that_differ_contradict_each_other():
    assert contradicts_itself(r"\boxed{4} no, \boxed{5}")
    assert not contradicts_itself(r"\boxed{\frac12} or \boxed{\frac{1}{2}}")


def test_facts_are_numbers_and_formulas():
    assert facts_kept("We use $x^2 = 4$ and 17 cases, then 3.", "x ^2 =4 gives 17") == (3, pytest.approx(2 / 3))
    assert facts_kept("no facts here", "none") == (0, None)


def test_every_trace_is_checked_against_the_answer_it_is_attached_to():
    attached = {"p1": r"So \boxed{0.5}", "p2": r"\boxed{4}", "p3": "no answer at all, sorry", "p4": r"\boxed{\sqrt{8}}"}
    traces = {"p1": r"hence \boxed{\frac12}", "p2": "the answer is 5.", "p3": "ends with 3", "p4": r"\boxed{2\sqrt{2}}"}
    rest = {"request_key": "r", "outcome": "ok", "reason": None, "input_tokens": 1, "output_tokens": 1}
    inverted = from_rows(
        [{"prompt_id": key, "checkpoint_id": "c", "inverted_trace": text, **rest} for key, text in traces.items()],
        INVERTED_TRACES,
    )
    shown = {"response_id": None, "model": None, "reasoning_tokens": 0, "cost_usd": 0.0, "summary": None, "offset": 0}
    outputs = from_rows(
        [{"prompt_id": key, "answer": text, **rest, **shown} for key, text in attached.items()], TARGET_OUTPUTS
    )
    checked = trace_consistency(inverted, outputs)
    assert dict(checked.select("prompt_id", "agrees").iter_rows()) == {"p1": True, "p2": False, "p3": None, "p4": True}
    assert rates(checked)["agree with their answer %"] == pytest.approx(66.67)
    assert rates(checked)["no verdict"] == 1
    (gate,) = consistency_gates(inverted, checked.head(3))
    assert (gate.passed, gate.rows) == (False, ("p4",))
