"""The prompts TracePipe writes for models, under version; a study may replace each by its own."""

import string

from tracepipe.roles import Exposure, Shown, Wording
from tracepipe.spec import SpecError

COMPRESSOR = Wording(
    version="1",
    template=(
        "Below is the private reasoning of a language model on a problem. Write the summary that the model "
        "would show its user in place of it: first person, a few short sections, each under a bold header, "
        "with the key quantities and decisions and without the detours. Aim at a quarter of its length. "
        "Write the summary and nothing else.\n\nProblem:\n{prompt}\n\nReasoning:\n{trace}"
    ),
)

INVERTER: dict[Shown, Wording] = {
    "summary": Wording(
        version="1",
        template=(
            "A reasoning model solved the problem below. You see the summary of its reasoning and its final "
            "answer. Write out the full reasoning that led there, step by step, with its checks and detours.\n\n"
            "Problem:\n{prompt}\n\nSummary of the reasoning:\n{summary}\n\nFinal answer:\n{answer}"
        ),
    ),
    "answer": Wording(
        version="1",
        template=(
            "A reasoning model solved the problem below. You see its final answer. Write out the full "
            "reasoning that led there, step by step, with its checks and detours.\n\n"
            "Problem:\n{prompt}\n\nFinal answer:\n{answer}"
        ),
    ),
}

_INVERTER_FIELDS: dict[Shown, set[str]] = {
    "summary": {"prompt", "summary", "answer"},
    "answer": {"prompt", "answer"},
}


def inverter_wording(wording: dict[Shown, Wording], exposure: Exposure) -> Wording:
    """Return the inverter's prompt for an exposure: the study's, or ours; every policy's text stands for the summary.

    Raises:
        SpecError: If the template does not hold exactly the fields of its exposure.
    """
    shown: Shown = "answer" if exposure == "answer" else "summary"
    chosen = wording.get(shown, INVERTER[shown])
    expect_fields(chosen, _INVERTER_FIELDS[shown], f"inverter.wording.{shown}.template")
    return chosen


def expect_fields(wording: Wording, expected: set[str], key: str) -> None:
    """Check that a template asks for exactly the fields that its role is shown.

    Raises:
        SpecError: If it does not; names the key, what it has and what it needs.
    """
    found = fields_of(wording, key)
    if found != expected:
        raise SpecError(f"{key}: holds {_braced(found)}; it must hold exactly {_braced(expected)}")


def fields_of(wording: Wording, key: str) -> set[str]:
    """Return the fields that a template asks for.

    Raises:
        SpecError: If it is none; names the key.
    """
    try:
        return {field for _, field, _, _ in string.Formatter().parse(wording.template) if field is not None}
    except ValueError as error:
        raise SpecError(f"{key}: not a template: {error}") from None


def _braced(fields: set[str]) -> str:
    return ", ".join(f"{{{field}}}" for field in sorted(fields)) or "no field"
