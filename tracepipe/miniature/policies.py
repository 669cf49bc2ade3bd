"""What a provider of the miniature world might show in place of its summary, `label op value` of every hard operation.

The general policies of `tracepipe.policies` are made for prose; this world's language has none.
"""

from collections.abc import Iterator
from random import Random

from tracepipe.identity import digest
from tracepipe.miniature.world import HARD_OPERATIONS, MODULUS

_FALSIFIED = 0.5


def headers(summary: str) -> str:
    """Show the labels of the hard steps and nothing else."""
    return " ".join(label for label, _, _ in _steps(summary))


def withheld(summary: str) -> str:
    """Show the hard operations without their results."""
    return " ".join(f"{label} {operation}" for label, operation, _ in _steps(summary))


def noised(summary: str) -> str:
    """Replace half of the results, chosen by the summary itself, by false ones."""
    random = Random(digest(summary))
    shown = []
    for label, operation, value in _steps(summary):
        false = (int(value) + random.randrange(1, MODULUS)) % MODULUS if value.isdigit() else value
        shown.append(f"{label} {operation} {false if random.random() < _FALSIFIED else value}")
    return " ".join(shown)


def backwards(summary: str) -> str:
    """Say the same with the last step first."""
    return " ".join(" ".join(step) for step in reversed(list(_steps(summary))))


def value_first(summary: str) -> str:
    """Say the same with each result before its operation."""
    return " ".join(f"{label} {value} {operation}" for label, operation, value in _steps(summary))


def paraphrased(summary: str) -> str:
    """Say the same in another form and order: the last step first, and each result before its operation."""
    return value_first(backwards(summary))


def thorough(trace: str) -> str:
    """Summarise a trace at greater length: every hard step, with the value that it begins from."""
    steps = list(_steps(trace))
    before = [""] + [value for _, _, value in steps]
    kept = [
        f"{label} {begun} {operation} {value}"
        for begun, (label, operation, value) in zip(before, steps, strict=False)
        if operation in HARD_OPERATIONS
    ]
    return " ".join(kept)


def _steps(text: str) -> Iterator[tuple[str, str, str]]:
    words = text.split()
    return zip(words[0::3], words[1::3], words[2::3], strict=False)
