"""How traces, summaries and answers are put together into model text, and taken apart again."""

from dataclasses import dataclass

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"


@dataclass(frozen=True)
class Reply:
    """A model's text taken apart: the trace is None where there is no closed think block."""

    trace: str | None
    answer: str


def reasoned(trace: str, answer: str) -> str:
    """Return the completion of a reasoning model: the trace in a think block, then the answer."""
    return f"{THINK_OPEN} {trace} {THINK_CLOSE} {answer}"


def take_apart(text: str) -> Reply:
    """Split a model's text into trace and answer.

    The opening tag may be missing, since some chat templates write it into the prompt. A block that
    is opened and never closed has no trace and no answer: whatever it holds was not finished.
    """
    before, closed, after = text.partition(THINK_CLOSE)
    if closed:
        return Reply(before.replace(THINK_OPEN, "", 1).strip(), after.strip())
    if THINK_OPEN in text:
        return Reply(None, "")
    return Reply(None, text.strip())


def trace_of(text: str) -> str:
    """Return what an inverter wrote as a trace: the inside of a think block, or all of the text where it is empty."""
    reply = take_apart(text)
    return reply.trace or reply.answer


def has_think_tag(text: str) -> bool:
    """Whether a think tag stands inside a text that should be the plain content of a trace or an answer."""
    return THINK_OPEN in text or THINK_CLOSE in text


def same_words(left: str, right: str) -> bool:
    """Whether two texts are equal up to white space, which decoding does not always preserve."""
    return left.split() == right.split()


def whole_characters(text: str) -> str:
    """Replace halves of surrogate pairs, which models and JSON may hold and UTF-8 may not, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
