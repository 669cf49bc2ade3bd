r"""Answers in `\boxed{}`: the last complete box after the think block, compared without white space."""

from dataclasses import dataclass

from tracepipe.text import take_apart

_BOX = "\\boxed{"


@dataclass(frozen=True)
class Grade:
    """One verdict: `outcome` is correct, wrong or no_answer; `score` is 1 or 0."""

    extracted: str | None
    outcome: str
    score: float


def last_boxed(response: str) -> str | None:
    r"""Return the content of the last complete `\boxed{...}` after the think block, nested braces included."""
    answer = take_apart(response).answer
    start = answer.rfind(_BOX)
    while start >= 0:
        content = _balanced(answer[start + len(_BOX) :])
        if content is not None and content.strip():
            return content.strip()
        start = answer.rfind(_BOX, 0, start)
    return None


def _balanced(text: str) -> str | None:
    depth = 1
    for index, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:index]
    return None


def grade_boxed(response: str, gold: str) -> Grade:
    """Compare the last box with the gold answer, character by character, white space apart."""
    extracted = last_boxed(response)
    if extracted is None:
        return Grade(None, "no_answer", 0.0)
    correct = "".join(extracted.split()) == "".join(gold.split())
    return Grade(extracted, "correct" if correct else "wrong", float(correct))
