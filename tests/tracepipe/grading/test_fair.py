"""Answers of mathematics: the official string rule with its faults, and the fairer comparison by meaning."""

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import SHARED
from tracepipe.benchmarks import PROTOCOLS
from tracepipe.benchmarks.grade import grade_all
from tracepipe.benchmarks.items import load_items
from tracepipe.grading.fair import equivalent
from tracepipe.grading.hendrycks import same_string

MATH500 = SHARED / "math500.jsonl"
needs_math500 = pytest.mark.skipif(not MATH500.exists(), reason="MATH500 is not at hand; the project ships none of it")

SAME = [
    ("5", "5.0"), (r"\frac{1}{2}", r"\frac{2}{4}"), ("1,000", "1000"), ("1,-2", "-2,1"), ("1,-2", "x=-2, x=1"),
    ("1,-2", r"-2 \text{ and } 1"), (r"\text{Evelyn}", "Evelyn"), (r"\text{(C)}", "C"), ("52_8", "52"), (r"90^\circ", "90"),
    (r"5.4 \text{ cents}", "5.4"), ("x=5", "5"), ("5", "x=5"), (r"11\sqrt2", r"11\sqrt{2}"), ("y = 2x + 3", "3+2x"),
    (r"x \in [-2,7]", "[-2,7]"), (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"), ("p - q", "-q+p"),
    (r"15\mbox{ cm}^2", r"15\ \text{cm}^2"), (r"15\mbox{ cm}^2", r"15 \text{ square cm}"), ("42", "42 apples"),
    (r"\{1\pm\sqrt{5},-2\}", r"1+\sqrt5, 1-\sqrt5, -2"), (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"), ("6 - 5i", "-5i+6"),
    (r"\begin{pmatrix} -7 \\ 16 \end{pmatrix}", r"\begin{bmatrix} -7 \\ 16 \end{bmatrix}"), (r"\$32,\!348", "32348"),
    (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}^\circ"), (r"864 \mbox{ inches}^2", "864"), (r"137 \frac{1}{2}", "137.5"),
    (".0000672", r"6.72 \times 10^{-5}"), (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"), ("8n^2 + 4n + 1", "(2n+1)^2+4n^2"),
]  # fmt: skip
OTHER = [
    ("10", r"10\%"), ("(1,2)", r"\{1,2\}"), ("0.000001", "0.0000014"), ("(1,2)", "(2,1)"), (r"\text{(C)}", "B"), ("52_8", "52_9"),
    (r"5.4 \text{ cents}", "5.4 dollars"), ("(3,4]", "(3,4)"), (r"\pi", "3.14159"), ("2k", "2n"), (r"\text{even}", "odd"),
    (r"864 \mbox{ inches}^2", r"864 \mbox{ inches}^3"), ("(3,4]", "]3,4]"), (r"\frac{3}{56}", "0.05357"), ("5", ""), ("1,2", "1"), ("-3", "3"), ("x+1", "x-1"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_answers_that_mean_the_same_are_accepted(gold: str, answer: str):
    assert equivalent(gold, answer, "")


@pytest.mark.parametrize(("gold", "answer"), OTHER)
def test_answers_that_mean_something_else_are_not(gold: str, answer: str):
    assert not equivalent(gold, answer, "")


def test_a_percent_sign_is_accepted_where_the_problem_asks_for_percent():
    assert equivalent("10", r"10\%", "What percent of the balls are red?")
    assert equivalent(r"10\%", "10", "How much?")


def test_off_the_main_thread_a_comparison_fails_loudly_and_is_not_a_wrong_answer():
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="threaded environment"):
        threads.submit(equivalent, "p - q", "-q+p", "").result()


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        (r"\frac{1}{2}", r"\dfrac12", True), ("0.5", r"\frac{1}{2}", True), ("3/4", r"\frac{3}{4}", True), ("x=5", "5", True),
        (r"12^\circ", "12", True), (r"5\text{ cm}", "5", True), (r"10\%", "10", True), (r"\sqrt3", r"\sqrt{3}", True),
        (".5", "0.5", True), ("1 000", "1000", True), ("5", "5.0", False), ("1000", "1,000", False),
        (r"\frac{1}{2}", r"\frac{2}{4}", False), ("(1,2)", "(2,1)", False), (r"\frac1", r"\frac1", True),
    ],
)  # fmt: skip
def test_the_official_rule_is_kept_with_its_faults(gold: str, answer: str, same: bool):
    assert same_string(answer, gold) is same


@needs_math500
def test_reference_solutions_are_right_by_both_scorers():
    protocol = PROTOCOLS["math500"]
    items = {item.key: item for item in load_items(protocol, str(MATH500))}
    rows = [json.loads(line) for line in MATH500.read_text().split("\n") if line]
    answered = [(items[row["unique_id"]], row["solution"]) for row in rows]
    graded = list(grade_all(protocol, answered, "MATH500"))
    assert sum(one.official.score for one in graded) >= 499
    assert sum(one.fair.score for one in graded) >= 497
    assert [one for one in graded if "timeout" in (one.official.outcome, one.fair.outcome)] == []


def corrupted(answer: str, rng: random.Random) -> list[str]:
    """Answers near the right one: a number one off, the sign turned, a tuple swapped, another letter."""
    found = []
    numbers = list(re.finditer(r"(?<![\d.])\d+(?![\d.]*\d)", answer))
    if numbers:
        number = rng.choice(numbers)
        found += [answer[: number.start()] + str(int(number[0]) + step) + answer[number.end() :] for step in (1, -1)]
    if answer.startswith("-"):
        found.append(answer[1:])
    elif re.fullmatch(r"[\d.]+|\\d?frac.*|[\d\\sqrt{} ]+", answer) and answer != "0":
        found.append(f"-{answer}")
    pair = re.fullmatch(r"(?:\\left)?\s*([(\[])([^,]*),([^,]*?)(?:\\right)?\s*([)\]])", answer)
    if pair:
        found.append(f"{pair[1]}{pair[3]},{pair[2]}{pair[4]}")
    letter = re.search(r"\\text\{\(([A-E])\)\}", answer)
    if letter:
        found.append(answer.replace(letter[1], rng.choice([one for one in "ABCDE" if one != letter[1]])))
    return [one for one in found if one != answer]


@needs_math500
def test_corrupted_answers_are_hardly_ever_accepted():
    protocol, rng = PROTOCOLS["math500"], random.Random(0)
    items = load_items(protocol, str(MATH500))
    answered = [(item, f"So $\\boxed{{{wrong}}}$.") for item in items for wrong in corrupted(item.gold, rng)]
    assert len(answered) >= 1000
    graded = list(grade_all(protocol, answered, "corrupted"))
    for scorer in ("official", "fair"):
        accepted = [
            (item.gold, text) for (item, text), one in zip(answered, graded, strict=True) if getattr(one, scorer).score
        ]
        assert len(accepted) <= 0.01 * len(answered), accepted
