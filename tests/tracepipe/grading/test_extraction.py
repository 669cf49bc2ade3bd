"""Answers are read by named rules; where none states one, there is no answer."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.grading.choices import choose
from tracepipe.grading.extraction import Extracted, extract
from tracepipe.grading.numbers import exact, leading, quantity


@pytest.mark.parametrize(
    ("response", "answer", "rule"),
    [
        (r"\boxed{ 4 }", "4", "boxed"),
        (r"first \boxed{3}, then \boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
        (r"so \boxed{\left\{ x \in \{1, 2\} \right\}}", r"\left\{ x \in \{1, 2\} \right\}", "boxed"),
        (r"\boxed{\boxed{7}}", "7", "boxed"),
        (r"so $\boxed 5$", "5", "boxed"),
        (r"\fbox{6}", "6", "boxed"),
        (r"\boxed{8} and \boxed{}", "8", "boxed"),
        (r"<think> \boxed{3} </think> The answer is 4.", "4", "phrase"),
        (r"<think> x </think> \boxed{5}", "5", "boxed"),
        ("**Final answer:** $\\frac{14}{3}$", r"\frac{14}{3}", "phrase"),
        ("The answer to the problem is: 3.5 metres. Done.", "3.5 metres", "phrase"),
        ("Thus the final answer is Evelyn.", "Evelyn", "phrase"),
        ("6 times 7 makes\n#### 42", "42", "phrase"),
        (r"\frac{1}{2}", r"\frac{1}{2}", "bare"),
        ("$-3$.", "-3", "bare"),
        (r"<think> \boxed{3}", None, "unclosed_think"),
        (r"\boxed{3} wait, \boxed{unfinished", None, "unclosed_box"),
        (r"\boxed{}", None, "none"),
        ("I cannot solve this problem at all.", None, "none"),
        ("The answer is not 7 as one might think", None, "none"),
        (r"\boxed{" + "9" * 5000 + "}", None, "too_long"),
        ("", None, "none"),
    ],
)
def test_an_answer_is_read_where_the_text_states_it_and_nowhere_else(response: str, answer: str | None, rule: str):
    assert extract(response) == Extracted(answer, rule)


def test_an_official_harness_may_accept_boxes_alone():
    assert extract("The answer is 4.", boxed_only=True) == Extracted(None, "none")
    assert extract(r"\boxed{4}", boxed_only=True).answer == "4"


braces = st.recursive(
    st.text("ab1+", max_size=3), lambda inner: st.lists(inner, max_size=3).map(lambda p: "{" + "".join(p) + "}")
)


@given(braces.filter(str.strip))
def test_nested_braces_come_out_whole(content: str):
    assert extract(f"so \\boxed{{{content}}}.") == Extracted(content.strip(), "boxed")


LETTERS = [
    ("B", "B", "bare"), ("ABD", "ABD", "bare"), ("A, C", "AC", "bare"), ("[ABD]", "ABD", "bare"), ("None", None, "none"),
    (r"\boxed{\text{(A)}}", "A", "boxed"), (r"\boxed{A, C}", "AC", "boxed"), (r"\boxed{\text{A and D}}", "AD", "boxed"),
    (r"\boxed{(B) $6.4\times 10^{-34}$}", "B", "boxed"), (r"\boxed{A\ C}", "AC", "boxed"), (r"\boxed{\{A, C\}}", "AC", "boxed"),
    (r"$\boxed{A}$ and $\boxed{C}$", "AC", "joined_boxes"), (r"\boxed{A},\boxed{B},\boxed{D}", "ABD", "joined_boxes"),
    (r"The correct answer is (B) $6.4 \times 10^{-34}$.", "B", "phrase"), ("**Answer: (C)**", "C", "bare"),
    ("Therefore, the correct options are (A), (B), and (D).", "ABD", "phrase"), ("[Answer]: (B)", "B", "phrase"),
    ("The correct option(s) is/are (B), (C).", "BC", "phrase"), ("So the correct statements are A and D.", "AD", "phrase"),
    ("The correct answers are (A) the speed is 3 and (C) the time is 4.", "AC", "phrase"),
    ("The correct options are:\n(A) one thing\n(C) another\n\nDone.", "AC", "phrase"),
    ("The answer is (B), not (C).", "B", "phrase"), ("The answer is (A). Option (B) was tempting.", "A", "phrase"),
    ("Option A is incorrect, so the correct option is B", "B", "phrase"), ("Hence (B).", "B", "conclusion"),
    ("Therefore, options (A), (C) and (D) are correct.", "ACD", "verdicts"), ("Only option (B) is correct.", "B", "verdicts"),
    ("Option (A) is incorrect. Option (B) is correct. (C) is false. Option (D) is correct.", "BD", "verdicts"),
    ("Final answers: (A) is true, (B) is true, (C) is false, (D) is true.", "ABD", "verdicts"),
    ("Final answer: (A) and (B) are true, while (C) and (D) are false.", "AB", "verdicts"), ("A, B, and C are true. D is false.", "ABC", "verdicts"),
    ("(A) is TRUE, since so.\n(B) is FALSE.\n(C) is TRUE.", "AC", "verdicts"), ("(D) The two forms are called anomers.", "D", "bare"),
    ("So the correct matching is (C).", "C", "phrase"), ("Thus, the possible values of $|z|$ are (B) and (C).", "BC", "conclusion"),
    ("A) One is so. - Correct\nB) Two is so. - This is incorrect.\nC) Three is so. - True", "AC", "verdicts"),
    ("Therefore, all the given options are correct.", "ABCD", "verdicts"), ("So none of the given options are correct.", None, "none"),
    (r"\boxed{\textbf{(A)},\textbf{(B)}}", "AB", "boxed"), (r"\boxed{\textbf{(B) }f \text{ has a maximum}}", "B", "boxed"),
    (r"\boxed{6.4}. So the answer is (B)", "B", "phrase"), (r"\boxed{A} is wrong, \boxed{B", None, "unclosed_box"),
    ("The answer is not (A). It is something else.", None, "none"), ("I think a charged particle moves.", None, "none"),
    ("The current is 5 A. The answer is 5.", None, "none"), ("<think>the answer is (A)", None, "unclosed_think"),
    ("<think>(A)</think> The answer is (D)", "D", "phrase"),
]  # fmt: skip


@pytest.mark.parametrize(("response", "letters", "rule"), LETTERS)
def test_letters_are_read_from_boxes_phrases_and_verdicts(response: str, letters: str | None, rule: str):
    assert choose(response, multiple=True) == Extracted(letters, rule)


@given(st.sets(st.sampled_from("ABCD"), min_size=1), st.sampled_from([", ", " and ", "", "; ", " & "]))
def test_letters_come_out_sorted_however_they_are_joined(letters: set[str], joint: str):
    for frame in (r"\boxed{%s}", "The answer is %s.", "Final answer: **%s**"):
        assert choose(frame % joint.join(letters), multiple=True).answer == "".join(sorted(letters))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-14.6", Fraction(-73, 5)), ("1,250", 1250), (r"10,\!080", 10080), (r"1\frac{4}{5}", Fraction(9, 5)),
        (r"\frac43", Fraction(4, 3)), ("1/3", Fraction(1, 3)), (r"$6.0 \times 10^{-34}$", Fraction(6, 10**34)), ("3.2e5", 320000),
        ("10^{5}", 100000), ("4 × 10⁻² M", Fraction(1, 25)), ("3.1 kW/m²", Fraction(31, 10)), (r"5 \mathrm{~m/s^2}", 5), ("x = 5", 5), (r"\frac{1}{3} \approx 0.33", Fraction(33, 100)),
        (r"90^\circ", 90), (r"12 \, \mathrm{kJ\,mol^{-1}}", 12), (r"3 \times 10^8 m/s", 3 * 10**8), (r"-3.5 \text{ V}", Fraction(-7, 2)),
        (r"2\pi", None), (r"\sqrt{3}", None), ("1,2", None), ("10^{9^9}", None), ("9e99999", None), ("3 - 2", None), ("abc", None),
    ],
)  # fmt: skip
def test_quantities_are_read_with_units_and_powers_of_ten(text: str, value: Fraction | int | None):
    assert quantity(text) == value


def test_a_number_that_goes_on_is_not_the_number_it_begins_with():
    assert leading("5 metres per second, say") == 5
    assert [leading(text) for text in ("2^{10}", r"2\pi", "3 + x", "4(5)")] == [None] * 4
    assert (exact("5 m"), exact("5.0")) == (None, 5)


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4, allow_nan=False))
def test_a_decimal_is_read_as_it_is_written(number: object):
    assert exact(str(number)) == Fraction(str(number))
