"""A text's facts as anything can count them: the numbers and formulas that stand in it."""

import re

FORMULA = re.compile(r"\$\$?(.+?)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)*")


def formulas(text: str) -> list[str]:
    """Return the formulas of a text, without white space, in their order."""
    return [dense(next(part for part in found if part)) for found in FORMULA.findall(text)]


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, in their order, formulas aside."""
    return NUMBER.findall(FORMULA.sub(" ", text))


def count_facts(text: str) -> int:
    """Count numbers and formulas, each as often as it stands there."""
    return len(formulas(text)) + len(numbers(text))


def facts_kept(summary: str, trace: str) -> tuple[int, float | None]:
    """Count a summary's distinct facts, and return which share of them the trace repeats."""
    said, named = set(formulas(summary)), set(numbers(summary))
    solid, there = dense(trace), set(NUMBER.findall(trace))
    kept = sum(formula in solid for formula in said) + len(named & there)
    count = len(said) + len(named)
    return count, kept / count if count else None


def dense(text: str) -> str:
    """Return a text without white space."""
    return "".join(text.split())
