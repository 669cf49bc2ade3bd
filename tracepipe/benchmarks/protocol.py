"""What a benchmark is: items, how a model is asked, and two verdicts on each response, official and fairer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tracepipe.grading.extraction import Extracted
from tracepipe.spec import SpecError

OUTCOMES = ("correct", "partial", "wrong", "no_answer", "timeout")


@dataclass(frozen=True)
class Item:
    """One problem.

    Attributes:
        key: The item's own id in its benchmark.
        problem: Its text, without instructions.
        gold: The correct answer; empty where tests decide.
        kind: The type of the question, where the benchmark has several.
        cluster: What it shares a source with (an exam paper, a contest); its own key where it stands alone.
        tests: What decides instead of a gold answer, for code.
    """

    key: str
    problem: str
    gold: str
    kind: str = ""
    cluster: str = ""
    tests: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Verdict:
    """One reading of a response: what was extracted by which rule, a score from 0 to 1, and one of OUTCOMES."""

    extracted: str | None
    rule: str
    score: float
    outcome: str


@dataclass(frozen=True)
class Graded:
    """Both verdicts on a response."""

    official: Verdict
    fair: Verdict


@dataclass(frozen=True)
class Protocol:
    """How one benchmark is read, asked and graded.

    Attributes:
        name: As in a study and on the command line.
        source: Hub id of the items; empty where they come with the study.
        licence: Of the items.
        official: What the official scorer does, in one sentence.
        fair: How the fairer one differs, in one sentence.
        read: From a row of the items and its place, for errors.
        ask: The prompt of an item.
        grade: Both verdicts; hostile responses are its business, endless ones are its caller's.
        seconds: After which a response's grading is given up; 0 where it cannot hang and needs no process of its own.
        runs_code: Whether it runs model-written code, and so needs the sandbox.
    """

    name: str
    source: str
    licence: str
    official: str
    fair: str
    read: Callable[[Mapping[str, Any], str], Item]
    ask: Callable[[Item], str]
    grade: Callable[[Item, str], Graded]
    seconds: float
    runs_code: bool = False


def judged(extracted: Extracted, score: float | None) -> Verdict:
    """Return the verdict of an extraction and its score; without an answer the score is 0."""
    if extracted.answer is None or score is None:
        return Verdict(None, extracted.rule, 0.0, "no_answer")
    outcome = "correct" if score == 1 else "wrong" if score == 0 else "partial"
    return Verdict(extracted.answer, extracted.rule, float(score), outcome)


def given_up(rule: str) -> Graded:
    """Return the verdicts on a response whose grading did not end."""
    verdict = Verdict(None, rule, 0.0, "timeout")
    return Graded(verdict, verdict)


def field(row: Mapping[str, Any], names: tuple[str, ...], place: str) -> str:
    """Return the first of the named fields that a row has, as text.

    Raises:
        SpecError: If it has none, or it is empty; names the place.
    """
    for name in names:
        if row.get(name) is not None and str(row[name]).strip():
            return str(row[name])
    wanted = " or ".join(f"'{name}'" for name in names)
    raise SpecError(f"{place}: field {wanted} is missing or empty; the fields there are: {', '.join(sorted(row))}")
