r"""Whether two mathematical answers mean the same: math-verify, with guards where it is known to accept too much.

Runs in the main thread of a worker process (math-verify's timeouts use SIGALRM). Not symmetric: gold first.
"""

import re

from tracepipe.grading.hendrycks import same_string
from tracepipe.grading.numbers import exact

SECONDS = 5
_DEEPEST = 40
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textrm|mathrm|mathbf|textit|operatorname)\s*\{([^{}]*)\}")
_PERCENT = re.compile(r"\\?%|percent", re.IGNORECASE)
_CURRENCY = re.compile(r"\\?\$|\\text\s*\{\s*(?:dollars|USD)\s*\}|\bdollars\b|\bUSD\b|€|£")
_UNIT_BEHIND = re.compile(
    r"(?<=[\d}\w)])\s*\\(?:text|mbox|mathrm|textrm)\s*\{([^{}]*)\}\s*(?:\^\s*\{?\s*(-?\d)\s*\}?)?\s*$"
)
_PLAIN_UNIT = re.compile(r"(?<=\d)\s+([A-Za-z]{2,}(?:\s+[A-Za-z]+)?)\s*(?:\^\s*\{?\s*(-?\d)\s*\}?)?\s*$")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°")
_BASE = re.compile(r"(?P<digits>[0-9A-Fa-f]+)\s*_\s*\{?\s*(?P<base>\d+)\s*\}?")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_TIDY = re.compile(r"\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big|displaystyle|quad|qquad)(?![A-Za-z])|\\[,;:! ]|~")
_ASSIGNED = re.compile(r"^\s*[A-Za-z](?:_\{?\w+\}?)?\s*(?:=|\\in(?![A-Za-z]))\s*(?=\S)")


class TookTooLong(Exception):
    """A comparison did not end in time."""


def equivalent(gold: str, answer: str, problem: str) -> bool:
    """Whether an answer means what the gold one means.

    Args:
        gold: The correct answer.
        answer: What was extracted.
        problem: Its problem; a percent sign that the gold answer lacks is accepted only where it asks for percent.

    Raises:
        TookTooLong: If math-verify ran out of time.
        ValueError: Off the main thread, where math-verify cannot keep time; it must not pass for a wrong answer.
    """
    if not answer.strip() or _depth(answer) > _DEEPEST:
        return False
    if _PERCENT.search(answer) and not _PERCENT.search(gold) and not _PERCENT.search(problem):
        return False
    if _units_differ(gold, answer):
        return False
    return _same(_bare(gold), _bare(answer))


def _depth(text: str) -> int:
    """How deep braces nest: sympy's parser works recursively, and no answer to a problem is a tower."""
    depth = deepest = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest


def _unit(text: str) -> tuple[str, str] | None:
    """The unit behind a number, in lower case and the singular, and its exponent."""
    text = _TIDY.sub(" ", text)
    found = _UNIT_BEHIND.search(text) or _PLAIN_UNIT.search(text)
    if found is None or not any(character.isdigit() for character in text[: found.start() + 1]):
        return None
    name = found[1].lower()
    power = "2" if "sq" in name else "3" if "cub" in name else "1"
    name = re.sub(r"\b(?:squared?|sq|cubic|cubed)\b|[^a-z]", "", name)
    return name.removesuffix("s"), found[2] or power


def _units_differ(gold: str, answer: str) -> bool:
    """Whether both name a unit, and another one; a unit that is left out, or cut short (`in`), changes nothing."""
    one, other = _unit(gold), _unit(answer)
    if one is None or other is None:
        return False
    return one[1] != other[1] or not (one[0].startswith(other[0]) or other[0].startswith(one[0]))


def _bare(text: str) -> str:
    """Take spacing, currency, degrees, percent signs and a unit off an answer."""
    text = re.sub(r",\s*\\!\s*|\{,\}", ",", text.strip().strip("*_"))
    text = _CURRENCY.sub("", _TIDY.sub(" ", text))
    text = re.sub(r"\\?%|\bpercent\b", "", _DEGREES.sub("", text), flags=re.IGNORECASE)
    if any(character.isdigit() for character in text):
        text = _PLAIN_UNIT.sub("", _UNIT_BEHIND.sub("", text))
    return text.strip().rstrip(".").strip()


def _same(gold: str, answer: str) -> bool:
    if same_string(gold, answer):
        return True
    for verdict in (_same_words(gold, answer), _same_in_base(gold, answer), _same_number(gold, answer)):
        if verdict is not None:
            return verdict
    lists = [_list(text) for text in (gold, answer)]
    if any(len(parts) > 1 for _, parts in lists):
        return _same_lists(*lists[0], *lists[1])
    return _verified(gold, answer)


def _same_words(gold: str, answer: str) -> bool | None:
    words = _words(gold)
    return None if words is None else words == _words(answer)


def _same_in_base(gold: str, answer: str) -> bool | None:
    """Compare numbers written in a base; the base may be left out, since the problem names it."""
    number, other = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if number is None:
        return None
    if other is None:
        return answer == number["digits"]
    return (number["digits"], number["base"]) == (other["digits"], other["base"])


def _same_number(gold: str, answer: str) -> bool | None:
    values = [exact(_ASSIGNED.sub("", text)) for text in (gold, answer)]
    return None if None in values else values[0] == values[1]


def _words(text: str) -> str | None:
    """A text answer in lower case, such as a name or an option's letter; None for anything else."""
    inner = _TEXT.sub(r"\1", text).replace("$", "").strip()
    letter = re.fullmatch(r"\(\s*([A-Za-z])\s*\)|([A-Z])", inner)
    if letter:
        return (letter[1] or letter[2]).lower()
    return " ".join(inner.lower().split()) if re.fullmatch(r"[A-Za-z]{2,}(?:[ '-]+[A-Za-z]+)*", inner) else None


def _list(text: str) -> tuple[str, list[str]]:
    """The brackets around an answer and its parts at the top level, which commas separate; without brackets, `""`."""
    text = _ASSIGNED.sub("", text) if _ASSIGNED.match(text) and text.count("=") <= 1 else text
    inner, kind = text.strip().replace("\\{", "{").replace("\\}", "}"), ""
    if inner[:1] in _BRACKETS and inner[-1:] in ")]}":
        closing = _closing(inner)
        if closing == len(inner) - 1:
            kind, inner = inner[0] + inner[-1], inner[1:-1]
    if not kind:
        inner = re.sub(r"\\text\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b", ",", inner)
    return kind, [part for part in _split(inner) if part]


def _closing(text: str) -> int:
    """Where the first bracket closes, `[` and `(` taken as one kind: intervals mix them."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return index
    return -1


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _same_lists(gold_kind: str, gold: list[str], kind: str, answer: list[str]) -> bool:
    r"""Compare part by part: in order within `()` and `[]`, in any order within `\{\}` or without brackets."""
    ordered = gold_kind[:1] in ("(", "[")
    if ordered and kind != gold_kind:
        return False
    if not ordered and kind[:1] in ("(", "["):
        return False
    if any("\\pm" in part for part in (*gold, *answer)):
        return _verified(f"\\{{{', '.join(gold)}\\}}", f"\\{{{', '.join(answer)}\\}}")
    if len(gold) != len(answer):
        return False
    if ordered:
        return all(_same(left, right) for left, right in zip(gold, answer, strict=True))
    left_over = [_ASSIGNED.sub("", part) for part in answer]
    for part in gold:
        match = next((index for index, other in enumerate(left_over) if _same(_ASSIGNED.sub("", part), other)), None)
        if match is None:
            return False
        left_over.pop(match)
    return True


def _verified(gold: str, answer: str) -> bool:
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    try:
        # A bare answer parses in four of five cases, a boxed one always.
        left, right = (
            parse(f"\\boxed{{{text}}}", parsing_timeout=SECONDS, raise_on_error=True) for text in (gold, answer)
        )
        return any(
            verify(one, other, float_rounding=12, timeout_seconds=SECONDS, raise_on_error=True)
            for one in left
            for other in right
        )
    except (TimeoutException, MemoryError):
        raise TookTooLong from None
