r"""Reading the final answer from what a model wrote: the text after its think block, by rules that are named.

A rule reads an answer that the text states as its own; where none does, there is no answer. Rules, in order:
`boxed`, the last `\boxed{}`; `phrase`, "the answer is ..."; `bare`, a response that is nothing but an answer.
Without one: `unclosed_think`, a think block that never ends; `unclosed_box`, cut off inside its last box; `too_long`;
`none`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tracepipe.text import THINK_OPEN, take_apart

LONGEST_ANSWER, LONGEST_BOX = 300, 2000
"""Characters of an answer in prose and in a box; what is longer is no answer."""
PROSE = 20_000
"""Characters at the end of a text in which a stated answer is looked for."""
_MOST_BOXES, _LONGEST_SCAN = 50, 20_000

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?P<braced>\{)?")
_UNBRACED = re.compile(r"[^\s$]{1,100}")
_STATED = re.compile(
    r"(?:answer|result|solution)(?:\s+(?:to\b[^.:\n]{0,80}|of\b[^.:\n]{0,80}))?[*_\s]*"
    r"(?:is|are|equals|:|=|would\s+be|will\s+be|must\s+be)[*_:\s]*|^####\s",
    re.IGNORECASE | re.MULTILINE,
)
_END = re.compile(r"\n|[.;!?]+[\"')*_]*(?:\s|$)")
_BARE_WORDS = re.compile(r"\\[A-Za-z]+|\\text\{[^}]*\}|[A-Za-z]{2,}")


@dataclass(frozen=True)
class Extracted:
    """An answer and the rule that found it; without an answer, the rule says why."""

    answer: str | None
    rule: str


def visible(response: str) -> str | None:
    """Return the text after the think block; None where a block was opened and never closed."""
    reply = take_apart(response)
    return None if reply.trace is None and THINK_OPEN in response else reply.answer


def extract(response: str, *, boxed_only: bool = False) -> Extracted:
    r"""Read the final answer of a response.

    Args:
        response: Everything the model wrote.
        boxed_only: Accept `\boxed{}` alone, as the official harness of a benchmark may.
    """
    text = visible(response)
    if text is None:
        return Extracted(None, "unclosed_think")
    boxed = last_box(text)
    if boxed is not None:
        too_long = boxed.answer is not None and len(boxed.answer) > LONGEST_BOX
        return Extracted(None, "too_long") if too_long else boxed
    if boxed_only:
        return Extracted(None, "none")
    return stated(text) or bare(text) or Extracted(None, "none")


def last_box(text: str) -> Extracted | None:
    """Read the last box that is not empty; None where there is none."""
    found = boxes(text)
    if not found:
        return None
    return Extracted(None, "unclosed_box") if found[-1] is None else Extracted(found[-1].strip(), "boxed")


def boxes(text: str) -> list[str | None]:
    r"""Return what the last boxes hold that are not empty, in order, nested braces included; None for an unclosed one.

    `\boxed 5` boxes what follows up to white space or a dollar sign.
    """
    return [content for content in _contents(text) if content is None or content.strip()]


def _contents(text: str) -> Iterator[str | None]:
    for box in list(_BOX.finditer(text))[-_MOST_BOXES:]:
        if box["braced"]:
            yield balanced(text, box.end())
        else:
            following = _UNBRACED.match(text, box.end())
            yield following[0].rstrip(".,;") if following else ""


def balanced(text: str, start: int) -> str | None:
    """Return the text from `start` to the brace that closes the one before it; escaped braces do not count.

    None where none closes it within 20,000 characters.
    """
    depth, index = 1, start
    while index < min(len(text), start + _LONGEST_SCAN):
        character = text[index]
        if character == "\\":
            index += 1
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[start:index]
        index += 1
    return None


def stated(text: str) -> Extracted | None:
    """Read what the last "answer is", "answer:" and the like says, up to the end of its sentence."""
    text = text[-PROSE:]
    for statement in reversed(list(_STATED.finditer(text))):
        rest = text[statement.end() :][: 2 * LONGEST_ANSWER]
        answer = bare_text(_sentence(rest))
        if answer and len(answer) <= LONGEST_ANSWER and not answer.lower().startswith(("not ", "no longer ")):
            return Extracted(answer, "phrase")
    return None


def _sentence(text: str) -> str:
    """The first sentence, where a full stop inside a formula or a number ends nothing."""
    masked = re.sub(r"\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]", lambda found: "x" * len(found[0]), text, flags=re.DOTALL)
    end = _END.search(masked)
    return text[: end.start()] if end else text


def bare(text: str) -> Extracted | None:
    """Read a response that is nothing but an answer: one line, hardly a word of prose in it."""
    if len(text) > 2 * LONGEST_ANSWER or _BOX.search(text):
        return None
    answer = bare_text(text)
    prose = [word for word in _BARE_WORDS.findall(answer) if not word.startswith("\\")]
    if not answer or "\n" in answer or len(answer) > LONGEST_ANSWER or len(prose) > 1:
        return None
    return Extracted(answer, "bare")


def bare_text(text: str) -> str:
    """Take white space, emphasis, dollar signs and a final full stop off an answer."""
    before = None
    while text != before:
        before = text
        text = text.strip().strip("*_").strip()
        for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) and "$" not in inner:
                text = inner
        text = re.sub(r"(?<=.)[.,;:]$", "", text, flags=re.DOTALL)
    return text
