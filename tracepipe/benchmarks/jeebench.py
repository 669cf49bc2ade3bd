"""JEEBench (Arora et al. 2023): 515 problems of an entrance examination, with partial credit for several letters."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tracepipe.benchmarks.protocol import Graded, Item, Protocol, field, judged
from tracepipe.grading.choices import choose
from tracepipe.grading.extraction import PROSE, Extracted, bare, last_box, stated, visible
from tracepipe.grading.numbers import leading, quantity
from tracepipe.spec import SpecError

_ASKED = {
    "MCQ": "Exactly one of the options is correct. Answer with its letter.",
    "MCQ(multiple)": "One or more of the options are correct. Answer with all of their letters, such as \\boxed{AC}.",
    "Integer": "The answer is a whole number.",
    "Numeric": "The answer is a number. Give it to two decimal places.",
}
_LONGEST_LINE, _LAST_LINES = 600, 3
_TOLERANCE = 0.01
_RELATIVE = Fraction(1, 200)
_COPULA = (
    r"(?:=|≈|\\approx|\\simeq|\b(?:is|are|equals|be|to|of|as|get|find)\b:?)\s*"
    r"(?:approximately|about|nearly|equal to)?\s*"
)
_NUMBER = r"(?P<value>[$\\({*\s]*[-−+]?(?:\d|\.\d|\\[dt]?frac)[^=≈\n]{0,80})$"
_CONCLUDED = re.compile(
    r"(?i:therefore|thus|hence|so|finally|final|answer|which gives|we get|we find|value of)\b[^\n]{0,400}?"
    + _COPULA
    + _NUMBER
)
_LAST_LINE = re.compile(
    r"(?:=|≈|\\approx|\b(?:is|are|equals)\b)\s*(?:approximately|about|equal to)?\s*(?!.*\b(?:and|or|so|which)\b)"
    + _NUMBER
)


def _read(row: Mapping[str, Any], place: str) -> Item:
    kind = field(row, ("type",), place)
    if kind not in _ASKED:
        raise SpecError(f"{place}: type {kind!r} is none of JEEBench's: {', '.join(_ASKED)}")
    paper, index = field(row, ("description",), place), field(row, ("index",), place)
    key = f"{paper}/{row.get('subject', '')}/{index}"
    return Item(key, field(row, ("question",), place), field(row, ("gold",), place), kind, cluster=paper)


def _ask(item: Item) -> str:
    return f"{_ASKED[item.kind]}\n\n{item.problem}\n\nReason step by step, and mark your final answer with \\boxed{{}}."


def _grade(item: Item, response: str) -> Graded:
    if item.kind.startswith("MCQ"):
        letters = choose(response, multiple=item.kind == "MCQ(multiple)")
        verdict = judged(letters, None if letters.answer is None else letter_score(item, letters.answer))
        return Graded(verdict, verdict)
    extracted, value = number_in(response)
    if value is None:
        nothing = judged(Extracted(None, extracted.rule), None)
        return Graded(nothing, nothing)
    gold = Fraction(item.gold)
    # Floating point as in the official scorer: 1.24 is more than 0.01 from 1.23 there.
    official = float(abs(float(gold) - float(value)) <= _TOLERANCE)
    fair = float(abs(gold - value) <= max(Fraction(1, 100), _RELATIVE * abs(gold)))
    return Graded(judged(extracted, official), judged(extracted, fair))


def letter_score(item: Item, letters: str) -> float:
    """Score letters by the official rule: all right 1; of several, each right one 0.25 as long as none is wrong."""
    gold, chosen = set(item.gold) & set("ABCD"), set(letters)
    if gold == chosen:
        return 1.0
    return 0.25 * len(chosen) if item.kind == "MCQ(multiple)" and chosen <= gold else 0.0


def number_in(response: str) -> tuple[Extracted, Fraction | None]:
    """Read the number a response ends with: boxed, stated as the answer, concluded in its last lines, or alone."""
    text = visible(response)
    if text is None:
        return Extracted(None, "unclosed_think"), None
    boxed = last_box(text)
    if boxed is not None:
        return boxed, None if boxed.answer is None else _value(boxed.answer)
    # "The solution is 5 % salt" may stand far above the conclusion: the last lines come first.
    for read in (bare(text), stated(_last_lines(text)), _concluded(text), stated(text)):
        value = _value(read.answer) if read and read.answer else None
        if read and value is not None:
            return read, value
    return Extracted(None, "none"), None


def _value(answer: str) -> Fraction | None:
    answer = re.sub(r"^\s*\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}\s*$", r"\1", answer)
    value = quantity(answer)
    if value is None:
        value = leading(re.split(r"=|\\approx|≈", answer)[-1].strip())
    return _evaluated(answer) if value is None else value


def _evaluated(answer: str) -> Fraction | None:
    r"""Evaluate what is more than a number, such as `\frac{5\sqrt{3}}{2}`, with math-verify."""
    if len(answer) > 200 or not re.search(r"\d|\\pi", answer):
        return None
    from math_verify import parse
    from math_verify.errors import TimeoutException

    try:
        for found in parse(f"\\boxed{{{answer}}}", raise_on_error=True):
            if getattr(found, "is_number", False) and found.is_real and found.is_finite:
                return Fraction(str(found.evalf(20)))
    except TimeoutException:
        return None
    return None


def _last_lines(text: str) -> str:
    return "\n".join([line[-_LONGEST_LINE:] for line in text[-PROSE:].splitlines() if line.strip()][-_LAST_LINES:])


def _concluded(text: str) -> Extracted | None:
    lines = [line.strip().rstrip("*_$ .") for line in _last_lines(text).splitlines()]
    for place, line in enumerate(reversed(lines)):
        found = _CONCLUDED.search(line) or (_LAST_LINE.search(line) if place == 0 else None)
        if found:
            return Extracted(found["value"].strip(), "conclusion")
    return None


JEEBENCH = Protocol(
    name="jeebench",
    source="daman1209arora/jeebench",
    licence="MIT",
    official="letters with partial credit, numbers within 0.01; the mean score counts, partial credit included",
    fair="numbers also within 0.5 %, since the examination accepts a range",
    read=_read,
    ask=_ask,
    grade=_grade,
    seconds=25.0,
)
