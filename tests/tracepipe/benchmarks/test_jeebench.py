"""JEEBench: the official mean score, partial credit included, from extracts and from free text."""

import json
import random
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tracepipe.benchmarks.items import load_items
from tracepipe.benchmarks.jeebench import JEEBENCH
from tracepipe.benchmarks.protocol import Item
from tracepipe.spec import SpecError

DATA = SHARED / "jeebench.json"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="JEEBench is not at hand; the project ships none of it")
PARTS = {"MCQ": "B", "MCQ(multiple)": "ACD", "Integer": "7", "Numeric": "2.35"}


def item(kind: str, gold: str | None = None) -> Item:
    return Item("1", "A problem.", gold or PARTS[kind], kind)


@pytest.mark.parametrize(
    ("kind", "response", "score", "outcome"),
    [
        ("MCQ", r"\boxed{B}", 1, "correct"), ("MCQ", "The answer is (B).", 1, "correct"), ("MCQ", r"\boxed{AB}", 0, "wrong"),
        ("MCQ", "No idea.", 0, "no_answer"), ("MCQ(multiple)", r"\boxed{ACD}", 1, "correct"),
        ("MCQ(multiple)", r"\boxed{A, D}", 0.5, "partial"), ("MCQ(multiple)", r"\boxed{C}", 0.25, "partial"),
        ("MCQ(multiple)", r"\boxed{ABC}", 0, "wrong"), ("MCQ(multiple)", "<think> \\boxed{ACD}", 0, "no_answer"),
        ("Integer", r"\boxed{7}", 1, "correct"), ("Integer", r"\boxed{7.00 \text{ moles}}", 1, "correct"), ("Integer", "8", 0, "wrong"),
        ("Numeric", "2.345", 1, "correct"), ("Numeric", r"\boxed{\frac{47}{20}}", 1, "correct"), ("Numeric", "2.37", 0, "wrong"),
        ("Numeric", r"Thus the charge is $Q = 2.35 \mathrm{~C}$.", 1, "correct"), ("Numeric", "None", 0, "no_answer"),
        ("Numeric", "The solution is 5 % salt.\nLet us go on.\nWe add.\nWe divide.\nSo the molality is 2.35 mol/kg.", 1, "correct"),
        ("Numeric", "The mean intensity at that distance is 2.35 kW/m².", 1, "correct"), ("Numeric", "Q = 2 - 1\nQ = 2.35 MeV", 1, "correct"),
        ("Numeric", r"Therefore, the least concentration is 23.5 $\times 10^{-1}$ M.", 1, "correct"), ("Numeric", "Two of them are 3 and so on", 0, "no_answer"),
        ("Numeric", r"\boxed{\frac{5\sqrt{3}}{2} - 1.98}", 1, "correct"), ("Numeric", r"So $x \approx 23.5 \times 10^{-1}$", 1, "correct"),
    ],
)  # fmt: skip
def test_official_scores(kind: str, response: str, score: float, outcome: str):
    verdict = JEEBENCH.grade(item(kind), response).official
    assert (verdict.score, verdict.outcome) == (score, outcome)


def test_a_hundredth_is_allowed_and_in_floating_point_as_the_official_scorer_has_it():
    gold = item("Numeric", "1.23")
    assert JEEBENCH.grade(gold, "1.24").official.score == 0  # 1.24 - 1.23 is a little more than 0.01 there
    assert JEEBENCH.grade(gold, "1.24").fair.score == 1
    large = item("Numeric", "18900")
    assert [getattr(JEEBENCH.grade(large, "18950"), scorer).score for scorer in ("official", "fair")] == [0, 1]


def official(gold: str, extract: str, kind: str) -> float:
    """The published rule on an extract, written down for this test."""
    if not kind.startswith("MCQ"):
        return 0.0 if extract == "None" else float(abs(float(gold) - float(extract)) <= 0.01)
    right = [letter for letter in "ABCD" if letter in gold]
    chosen = [letter for letter in "ABCD" if letter in extract]
    if right == chosen:
        return 1.0
    wrong = [letter for letter in chosen if letter not in right]
    return 0.0 if kind == "MCQ" or wrong else len(chosen) / 4


NUMBERS = [
    "Therefore, the answer is {v}.", "So the final answer is $\\boxed{{{v}}}$.", "Final Answer: {v}", "Thus $n = {v}$.",
    "Hence, the value of $x$ is ${v}$.", "**Answer:** {v}", "The answer is approximately {v} m/s.", "Hence the answer is **{v}**.",
    "So, the number of such arrangements is {v}.", "\\boxed{{{v} \\, \\text{{kJ/mol}}}}", "Thus $Q = {v} \\mathrm{{~C}}$.",
    "So the required value is:\n\n$$\\boxed{{x = {v}}}$$", "Therefore, the required probability is $p \\approx {v}$",
]  # fmt: skip
SINGLE = [
    "Therefore, the correct answer is ({v}).", "So, the correct option is ({v}) $6.4 \\times 10^{{-34}}$.", "Final answer: {v}",
    "$\\boxed{{{v}}}$", "Thus, option {v} is correct.", "Hence, the answer is \\boxed{{\\text{{({v})}}}}.", "**Answer: {v}**",
    "The correct choice is ({v}).", "Therefore, ({v}) is the correct answer.", "Hence ({v}).", "[Answer: {v}]",
    "Comparing with the options, we get ({v}).",
]  # fmt: skip
SEVERAL = [
    "Therefore, the correct options are {l}.", "$\\boxed{{{v}}}$", "\\boxed{{{c}}}", "Hence, options {l} are correct.",
    "Final Answer: {c}", "So, the correct answers are {l}.", "The correct statements are {l}.", "\\boxed{{\\text{{{c}}}}}",
    "So the correct option(s) is/are {l}.", "{verdicts}",
]  # fmt: skip
BEFORE = [
    "Let us consider each option (A), (B), (C) and (D) in turn, with $F = ma$. ",
    "By symmetry $x_1 = 3$ and $y = 4.5$. Option A looks tempting.\n",
    "Step 1: $\\Delta G = -RT \\ln K = -5.7$ kJ.\nStep 2: the current is 5 A.\n\n",
]


def free_text(one: Item, extract: str, rng: random.Random) -> str:
    """Say an extract as models say it."""
    before = rng.choice(BEFORE)
    if extract == "None":
        return before + "This cannot be solved with the given data."
    letters = [f"({letter})" for letter in extract]
    listed = " and ".join([", ".join(letters[:-1]), letters[-1]] if len(letters) > 1 else letters)
    verdicts = " ".join(f"Option ({x}) is {'correct' if x in extract else 'incorrect'}." for x in "ABCD")
    forms = {"MCQ": SINGLE, "MCQ(multiple)": SEVERAL}.get(one.kind, NUMBERS)
    return before + rng.choice(forms).format(v=extract, l=listed, c=", ".join(extract), verdicts=verdicts)


def some_extract(one: Item, rng: random.Random) -> str:
    if rng.random() < 0.1:
        return "None"
    if one.kind == "MCQ":
        return rng.choice(["A", "B", "C", "D", one.gold])
    if one.kind == "MCQ(multiple)":
        return one.gold if rng.random() < 0.3 else "".join(sorted(rng.sample("ABCD", rng.randint(1, 4))))
    return rng.choice(
        [one.gold, f"{float(one.gold):.2f}", f"{float(one.gold) * 1.3 + 1:.2f}", f"{float(one.gold) + 0.01:.2f}"]
    )


@needs_data
def test_official_extracts_give_the_official_mean_and_free_text_agrees_on_95_of_100_items():
    items, rng = load_items(JEEBENCH, str(DATA)), random.Random(1)
    assert len(items) == 515
    extracts = [some_extract(one, rng) for one in items]
    truth = [official(one.gold, extract, one.kind) for one, extract in zip(items, extracts, strict=True)]
    graded = [JEEBENCH.grade(one, extract).official.score for one, extract in zip(items, extracts, strict=True)]
    assert graded == truth
    said = [
        JEEBENCH.grade(one, free_text(one, extract, rng)).official for one, extract in zip(items, extracts, strict=True)
    ]
    differing = [
        (one.kind, verdict) for one, verdict, score in zip(items, said, truth, strict=True) if verdict.score != score
    ]
    assert len(differing) <= 0.05 * len(items), differing


def test_a_question_of_no_known_type_is_an_error_that_names_its_row(tmp_path: Path):
    row = {"description": "P", "index": 1, "subject": "phy", "type": "Essay", "question": "Why?", "gold": "A"}
    (tmp_path / "items.json").write_text(json.dumps([row]))
    with pytest.raises(SpecError, match=r"items.json, row 1: type 'Essay' is none of JEEBench's: MCQ, "):
        load_items(JEEBENCH, str(tmp_path / "items.json"))


def test_the_prompt_says_what_kind_of_answer_is_wanted():
    assert "letters" in JEEBENCH.ask(item("MCQ(multiple)"))
    assert all("\\boxed{}" in JEEBENCH.ask(item(kind)) for kind in PARTS)
