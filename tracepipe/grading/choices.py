r"""Letters of a multiple-choice answer: from a box, from "the answer is (B)", from verdicts on the options.

The text is first made plain (`_plain`), so that the patterns see `‹B›` for a letter in brackets, however it was set.
Rules: `boxed`, `joined_boxes` (one letter each, side by side), `phrase`, `verdicts` ("(A) is correct. (B) is not."),
`conclusion` ("Hence (B)."), `bare`; and those of `tracepipe.grading.extraction` where there is no answer.
"""

import re

from tracepipe.grading.extraction import LONGEST_ANSWER, PROSE, Extracted, boxes, visible

_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|bf|rm|left|right|bigl?|bigr?|quad)(?![A-Za-z])|\\[,;! ]"
)
_BRACKETED = re.compile(r"[(\[]\s*\{?\s*\**\s*([A-D])\s*\**\s*\}?\s*[)\]]")
_LISTED = re.compile(r"^([ \t]*(?:[-•][ \t]*)?)([A-D])\)[ \t]", re.MULTILINE)
_DECORATION = re.compile(r"[$*_`{}\"“”\\]|[(\[](?=\s*[A-D]{2,4}\s*[)\]])|(?<=[A-D])\s*[)\]]")

_LETTER = r"(?:‹[A-D]›|(?<![\w^])[A-D](?![\w'^]))"
_AND = r"\s*(?:,|;|&|/|and\b|or\b)\s*(?:and\s+)?(?:(?i:options?|statements?)\s+)?"
_LIST = rf"(?P<list>(?<!\w)[A-D]{{2,4}}(?!\w)|{_LETTER}(?:{_AND}{_LETTER}){{0,3}})"
_KIND = r"(?:(?:the\s+|both\s+)?(?i:options?|choices?|statements?|answers?|alternatives?)(?:\s*\(s\))?\s*:?\s+)?"
_IS = r"(?:is/are|is|are|was|were|be|:|=)"

_STATED = re.compile(
    r"(?:(?i:answers?|options?|choices?|statements?|alternatives?|ones?)|(?i:correct)\s+[a-z]{3,20})(?:\s*\(s\))?"
    r"(?:\s+(?:to|for|among|from|that|which)\s[^.\n‹]{0,60}?)?"
    rf"\s*\]?\s*(?:(?:should|must|would|will)\s+)?{_IS}\s*:?\s*(?:only\s+|indeed\s+|therefore\s+|thus\s+)?{_KIND}{_LIST}"
)
_VERDICT = re.compile(
    rf"(?P<only>(?i:only)\s+)?{_KIND}{_LIST}\s*,?\s*{_IS}\s+(?:all\s+|both\s+|also\s+|the\s+|indeed\s+|therefore\s+)?"
    r"(?P<not>(?i:not\s+(?:the\s+)?|in(?=correct)|un(?=true)))?(?:(?:only\s+)?(?i:correct|right|true|valid)|answers?\b)"
)
_FALSE = re.compile(rf"{_LIST}\s*,?\s*{_IS}\s+(?:also\s+)?(?i:false|wrong|invalid)")
_LINE_VERDICT = re.compile(
    r"^\s*(?:[-•]\s*)?(?:(?i:option)\s+)?(?P<list>‹[A-D]›|[A-D](?=[).:]))[^\n]{0,400}?[-–:]\s*(?:(?i:this\s+is)\s+)?"
    r"(?P<not>(?i:in(?=correct)|not\s+))?(?P<word>(?i:correct|true|false|wrong))\b(?=[\s.,]|$)",
    re.MULTILINE,
)
_ALL = re.compile(
    r"(?i:\ball\s+(?:of\s+)?(?:the\s+)?(?:given\s+|above\s+|four\s+)?(?:answer\s+)?(?:options|statements|choices|answers)"
    r"\s+(?:\w+\s+)?are\s+(?:correct|true|right))"
)
_CONCLUSION = re.compile(
    r"(?:(?:^|[.\n])\s*(?i:therefore|thus|hence|so|finally)\b,?|\bwe\s+(?:choose|select|pick|get)"
    r"|(?i:therefore|thus|hence|so)\b[^.\n‹]{1,200}?\b(?:is|are))\s+"
    rf"(?:we\s+(?:choose|select|pick|get)\s+)?{_KIND}{_LIST}\s*[.!]?\s*$"
)
_JUDGED = re.compile(r"\s*(?:is|are)\s+(?i:true|false|correct|incorrect)\b[^.\n]*‹")
_TURN = re.compile(
    r"\n|\.\s|\b(?:not|incorrect|wrong|false|but|while|whereas|because|since|as|unlike|instead)\b", re.IGNORECASE
)
_ITEM = re.compile(r"\s*(?:[-•]\s*|\d\.\s*)?(?:‹([A-D])›|([A-D])[.:)])")
_WHOLE = re.compile(rf"\s*{_KIND}{_LIST}\s*[.]?\s*")
_SPACED = re.compile(r"(?P<list>[A-D](?:\s+[A-D]){1,3})")
_FIRST = re.compile(rf"\s*{_KIND}(?P<list>‹[A-D]›|[A-D](?=\s*[:.)]))")
_BETWEEN = re.compile(r"(?:\s|,|;|&|\\|\$|and\b|or\b|\(|\)|options?|\*)*")
_BOX_START = re.compile(r"\\boxed\s*\{")


def choose(response: str, *, multiple: bool) -> Extracted:
    """Read the chosen letters, sorted and without separators, such as `ACD`.

    Args:
        response: Everything the model wrote.
        multiple: Whether more than one letter may be right; then single verdicts add up.
    """
    text = visible(response)
    if text is None:
        return Extracted(None, "unclosed_think")
    found = boxes(text)
    if found and found[-1] is None:
        return Extracted(None, "unclosed_box")
    if found:
        read = _in_boxes(text, [box for box in found if box is not None], multiple)
        if read.answer:
            return read
    return _in_prose(_plain(text[-PROSE:]), multiple)


def _in_boxes(text: str, found: list[str], multiple: bool) -> Extracted:
    letters = [_content(box) for box in found]
    if multiple and len(letters) > 1 and len(letters[-1]) == 1:
        joined = _joined(text, letters)
        if len(joined) > 1:
            return Extracted("".join(sorted(joined)), "joined_boxes")
    return Extracted("".join(sorted(letters[-1])) or None, "boxed")


def _content(box: str) -> set[str]:
    plain = _plain(box)
    found = _WHOLE.fullmatch(plain) or _SPACED.fullmatch(plain) or _FIRST.match(plain)
    return _letters(found["list"]) if found else set()


def _joined(text: str, letters: list[set[str]]) -> set[str]:
    """The letters of the last boxes that stand side by side."""
    starts = [found.start() for found in _BOX_START.finditer(text)][-len(letters) :]
    if len(starts) != len(letters):
        return letters[-1]
    joined = set(letters[-1])
    for index in range(len(starts) - 1, 0, -1):
        end = text.find("}", starts[index - 1]) + 1
        between = text[end : starts[index]]
        if len(between) > LONGEST_ANSWER or not _BETWEEN.fullmatch(re.sub(r"[}{]", "", between)):
            break
        joined |= letters[index - 1]
    return joined


def _in_prose(text: str, multiple: bool) -> Extracted:
    whole = _WHOLE.fullmatch(text)
    if whole:
        return Extracted(_sorted(whole["list"]), "bare")
    stated = _last(_STATED, text)
    if stated and _JUDGED.match(text, stated.end()):
        stated = None  # "Answers: (A) is true, (B) is false" is a row of verdicts
    verdicts = list(_VERDICT.finditer(text))
    positive = [verdict for verdict in verdicts if not verdict["not"]]
    concluded = _last(_CONCLUSION, text)
    ends = {
        "phrase": stated.end("list") if stated else -1,
        "verdicts": positive[-1].end("list") if positive else -1,
        "conclusion": concluded.end("list") if concluded else -1,
    }
    rule = max(ends, key=lambda name: ends[name])
    if ends[rule] < 0:
        return _at_last(text, multiple)
    if rule == "verdicts":
        return Extracted(_of_verdicts(text, positive, verdicts, multiple), rule)
    match = stated if rule == "phrase" else concluded
    assert match is not None
    return Extracted("".join(sorted(_letters(match["list"]) | (_following(text, match) if multiple else set()))), rule)


def _at_last(text: str, multiple: bool) -> Extracted:
    """Read what states no answer in so many words: all options, a verdict at the end of each line, one option alone."""
    if multiple and _ALL.search(text):
        return Extracted("ABCD", "verdicts")
    judged = list(_LINE_VERDICT.finditer(text)) if multiple else []
    right = {letter for line in judged if _affirmed(line) for letter in _letters(line["list"])}
    if right:
        return Extracted("".join(sorted(right)), "verdicts")
    alone = _FIRST.match(text)
    if alone and "\n" not in text and len(text) <= LONGEST_ANSWER and len(set(re.findall(r"‹([A-D])›", text))) <= 1:
        return Extracted(_sorted(alone["list"]), "bare")
    return Extracted(None, "none")


def _affirmed(line: re.Match[str]) -> bool:
    return not line["not"] and line["word"].lower() in ("correct", "true")


def _following(text: str, statement: re.Match[str]) -> set[str]:
    """More letters of a statement: in brackets further on in its line, or at the start of the lines that it opens.

    What is said against other letters, or after the sentence, does not count.
    """
    if "\n" in statement[0]:
        return _items(text[statement.start("list") :])
    rest = _TURN.split(text[statement.end() :], maxsplit=1)[0]
    return set(re.findall(r"‹([A-D])›", rest))


def _of_verdicts(text: str, positive: list[re.Match[str]], verdicts: list[re.Match[str]], multiple: bool) -> str:
    last = _letters(positive[-1]["list"])
    if not multiple or len(last) > 1 or positive[-1]["only"]:
        return "".join(sorted(last))
    chosen: set[str] = set()
    for verdict in sorted([*verdicts, *_FALSE.finditer(text)], key=lambda found: found.start()):
        rejected = verdict.re is _FALSE or verdict["not"]
        chosen = chosen - _letters(verdict["list"]) if rejected else chosen | _letters(verdict["list"])
    return "".join(sorted(chosen))


def _items(text: str) -> set[str]:
    """The letters that begin the lines after an announcement, up to the first line that begins otherwise."""
    found: set[str] = set()
    for line in text.splitlines():
        if not line.strip():
            continue
        item = _ITEM.match(line)
        if not item:
            break
        found.add(item[1] or item[2])
    return found


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _plain(text: str) -> str:
    r"""Take off how letters are set: `\text{(B)}`, `**B**`, `$\mathrm{B}$` and `[B]` all become `‹B›` or `B`."""
    text = _WRAPPER.sub(" ", text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " "))
    text = _BRACKETED.sub(r" ‹\1› ", re.sub(r"[{}]", " ", text))
    text = _LISTED.sub(r"\1‹\2› ", text)
    text = _DECORATION.sub(" ", text)
    return re.sub(r"(?: ?\n)+ ?", "\n", re.sub(r"[^\S\n]+", " ", text)).strip()


def _letters(listed: str) -> set[str]:
    return set(re.findall(r"[A-D]", re.sub(r"\b(?:and|or|options?|statements?)\b", " ", listed, flags=re.IGNORECASE)))


def _sorted(listed: str) -> str:
    return "".join(sorted(_letters(listed)))
