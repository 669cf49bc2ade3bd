"""Render training rows to tokens, and check what the loss will really see."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tracepipe.engines.transformers import prompt_tokens
from tracepipe.text import THINK_CLOSE, THINK_OPEN, same_words, take_apart

IGNORED = -100
"""Label of a token the loss does not see."""

RENDER_GATES = {
    "trace_once_in_labels": "rows whose labels do not hold the trace exactly once",
    "ends_in_eos": "rows whose labels do not end in the end-of-sequence token",
    "fits_max_length": "rows longer than the recipe's max_length, which training would truncate",
    "prompt_is_prefix": "rows whose prompt tokens are not a prefix of prompt and completion",
}
"""Gate name to what a failing row is."""


@dataclass(frozen=True)
class Rendered:
    """One training row: tokens, and labels that equal them where the loss counts."""

    input_ids: list[int]
    labels: list[int]


def render(tokenizer: Any, prompt: str, completion: str) -> Rendered:
    """Render a user message and its completion as the model will be asked and should answer.

    The completion is appended to the template's own generation prompt instead of passing through the
    template, since several templates delete a think block from an assistant's message.
    """
    messages = [{"role": "user", "content": prompt}]
    opening = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    start = len(prompt_tokens(tokenizer, prompt))
    tokens = tokenizer(opening + completion + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return Rendered(tokens, [IGNORED] * start + tokens[start:])


def faults(
    tokenizer: Any, row: Rendered, prompt: str, completion: str, trace: str | None, max_length: int
) -> Iterable[str]:
    """Yield the names of the render gates that a row fails."""
    learnt = [label for label in row.labels if label != IGNORED]
    if not learnt or learnt[-1] != tokenizer.eos_token_id:
        yield "ends_in_eos"
    if len(row.input_ids) > max_length:
        yield "fits_max_length"
    opening = prompt_tokens(tokenizer, prompt)
    if row.input_ids[: len(opening)] != opening:
        yield "prompt_is_prefix"
    if not _teaches(tokenizer, row, learnt, completion, trace):
        yield "trace_once_in_labels"


def _teaches(tokenizer: Any, row: Rendered, learnt: list[int], completion: str, trace: str | None) -> bool:
    """Whether the labels say the completion, and its trace stands in them once and whole."""
    said = tokenizer.decode(learnt, skip_special_tokens=True)
    if not same_words(said, completion):
        return False
    if trace is None:
        return THINK_OPEN not in said and THINK_CLOSE not in said
    if THINK_CLOSE not in completion:
        return same_words(said, trace)
    everything = tokenizer.decode(row.input_ids)
    opened_and_closed_once = everything.count(THINK_OPEN) == 1 == everything.count(THINK_CLOSE)
    return opened_and_closed_once and same_words(take_apart(said).trace or "", trace)
