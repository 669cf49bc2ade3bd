r"""MATH500, AIME, and problems of one's own with a boxed answer."""

from collections.abc import Mapping
from typing import Any

from tracepipe.benchmarks.protocol import Graded, Item, Protocol, Verdict, field, judged
from tracepipe.grading.extraction import extract
from tracepipe.grading.fair import TookTooLong, equivalent
from tracepipe.grading.hendrycks import same_string
from tracepipe.grading.numbers import exact
from tracepipe.spec import SpecError

_SECONDS = 25.0
_PROBLEM = ("problem", "question", "Problem", "prompt")
_ANSWER = ("answer", "gold", "Answer", "expected_answer")
_KEY = ("unique_id", "id", "ID", "problem_idx")


def _read(row: Mapping[str, Any], place: str) -> Item:
    problem = field(row, _PROBLEM, place)
    key = next((str(row[name]) for name in _KEY if row.get(name) is not None), place.rsplit(" ", 1)[-1])
    return Item(key, problem, field(row, _ANSWER, place), cluster=key)


def _ask(item: Item) -> str:
    return f"{item.problem}\n\nReason step by step, and give your final answer in \\boxed{{}}."


def _fair(item: Item, response: str) -> Verdict:
    extracted = extract(response)
    if extracted.answer is None:
        return judged(extracted, None)
    try:
        return judged(extracted, float(equivalent(item.gold, extracted.answer, item.problem)))
    except TookTooLong:
        return Verdict(extracted.answer, extracted.rule, 0.0, "timeout")


def _grade_math(item: Item, response: str) -> Graded:
    boxed = extract(response, boxed_only=True)
    same = boxed.answer is not None and same_string(boxed.answer, item.gold)
    return Graded(judged(boxed, float(same)), _fair(item, response))


def _read_aime(row: Mapping[str, Any], place: str) -> Item:
    item = _read(row, place)
    gold = exact(item.gold)
    if gold is None or gold.denominator != 1 or not 0 <= gold <= 999:
        raise SpecError(f"{place}: the answer of an AIME problem is a whole number from 0 to 999, found {item.gold!r}")
    return Item(item.key, item.problem, str(gold), cluster=item.key)


def _grade_aime(item: Item, response: str) -> Graded:
    boxed = extract(response, boxed_only=True)
    value = exact(boxed.answer) if boxed.answer is not None else None
    return Graded(judged(boxed, float(value is not None and value == int(item.gold))), _fair(item, response))


def _grade_boxed(item: Item, response: str) -> Graded:
    boxed = extract(response, boxed_only=True)
    same = boxed.answer is not None and "".join(boxed.answer.split()) == "".join(item.gold.split())
    verdict = judged(boxed, float(same))
    return Graded(verdict, verdict)


def _ask_plainly(item: Item) -> str:
    return item.problem


MATH500 = Protocol(
    name="math500",
    source="HuggingFaceH4/MATH-500",
    licence="MIT",
    official="the last box, compared by the string rule of the MATH benchmark",
    fair="also answers stated without a box, compared by meaning (math-verify with guards)",
    read=_read,
    ask=_ask,
    grade=_grade_math,
    seconds=_SECONDS,
)
AIME = Protocol(
    name="aime",
    source="HuggingFaceH4/aime_2024",
    licence="problems by the Mathematical Association of America",
    official="the last box, equal as a whole number",
    fair="also answers stated without a box, compared by meaning",
    read=_read_aime,
    ask=_ask,
    grade=_grade_aime,
    seconds=_SECONDS,
)
BOXED = Protocol(
    name="miniature",
    source="",
    licence="comes with the study",
    official="the last box, compared character by character, white space apart",
    fair="the same",
    read=_read,
    ask=_ask_plainly,
    grade=_grade_boxed,
    seconds=0,
)
