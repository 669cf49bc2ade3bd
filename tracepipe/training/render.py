"""Render training rows to tokens, and check what the loss will really see (paper: where it breaks, 8 and 9)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tracepipe.chat import begun_block, opening, prompt_tokens, think_state
from tracepipe.text import THINK_CLOSE, THINK_OPEN, same_words, take_apart, trace_of

IGNORED = -100
"""Label of a token the loss does not see."""

RENDER_GATES = {
    "prompt_as_served": "rows whose prompt tokens are not those that the model will be asked with",
    "think_block_open": "rows whose think block the template has closed before the trace (thinking: on opens it)",
    "think_block_single": "rows in which a think tag stands twice, as where template and row both open the block",
    "trace_kept": "rows whose labels do not hold the example's trace, whole and nothing else (dropped or cut)",
    "ends_in_eos": "rows whose labels do not end in the end-of-sequence token",
    "fits_max_length": "rows longer than the recipe's max_length, which training would truncate",
}
"""Gate name to what a failing row is."""


@dataclass(frozen=True)
class Rendered:
    """One training row: tokens, and labels that equal them where the loss counts."""

    input_ids: list[int]
    labels: list[int]


def render(tokenizer: Any, prompt: str, completion: str, thinking: bool | None = None) -> Rendered:
    """Render a user message and its completion as the model will be asked and should answer.

    The completion is appended to the template's own generation prompt instead of passing through the template, since
    several templates delete a think block from an assistant's message. Where that prompt opens the block, the
    completion goes on inside it; one without a trace closes it first.
    """
    begun = opening(tokenizer, prompt, thinking)
    start = len(prompt_tokens(tokenizer, prompt, thinking))
    text = begun + _continuing(begun, completion) + tokenizer.eos_token
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Rendered(tokens, [IGNORED] * start + tokens[start:])


def _continuing(begun: str, completion: str) -> str:
    if think_state(begun) != "open":
        return completion
    if completion.startswith(THINK_OPEN):
        return completion.removeprefix(THINK_OPEN).lstrip()
    return f"\n{THINK_CLOSE}\n\n{completion}"


def faults(
    tokenizer: Any,
    row: Rendered,
    prompt: str,
    completion: str,
    trace: str | None,
    max_length: int,
    thinking: bool | None = None,
) -> Iterator[str]:
    """Yield the names of the render gates that a row fails.

    Args:
        tokenizer: The model's.
        row: The row as training will see it, however it was rendered.
        prompt: The user message.
        completion: What the model should learn to write.
        trace: The trace inside the completion, or None.
        max_length: Tokens that training takes.
        thinking: As the model will be asked.
    """
    served = prompt_tokens(tokenizer, prompt, thinking)
    if row.input_ids[: len(served)] != served:
        yield "prompt_as_served"
    learnt = [label for label in row.labels if label != IGNORED]
    if not learnt or learnt[-1] != tokenizer.eos_token_id:
        yield "ends_in_eos"
    if len(row.input_ids) > max_length:
        yield "fits_max_length"
    begun = opening(tokenizer, prompt, thinking)
    said = tokenizer.decode(learnt, skip_special_tokens=True)
    yield from _think_faults(begun, begun.rpartition(prompt.strip())[2] + said, said, completion, trace)


def _think_faults(begun: str, turn: str, said: str, completion: str, trace: str | None) -> Iterator[str]:
    """Judge what the model learns to say, and its whole turn from the end of the user's message on."""
    if trace is not None and THINK_CLOSE in completion and think_state(begun) == "closed":
        yield "think_block_open"
    elif turn.count(THINK_OPEN) > 1 or turn.count(THINK_CLOSE) > 1:
        yield "think_block_single"
    elif not _holds(begun_block(begun) + said, completion, trace):
        yield "trace_kept"


def _holds(said: str, completion: str, trace: str | None) -> bool:
    if trace is not None and THINK_CLOSE not in completion:
        return same_words(trace_of(said), trace)
    wanted, found = take_apart(completion), take_apart(said)
    same_trace = same_words(found.trace or "", trace or "") and (trace is None or found.trace is not None)
    return same_trace and same_words(found.answer, wanted.answer)
