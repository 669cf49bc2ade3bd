r"""The string rule of the MATH benchmark (Hendrycks et al. 2021): two answers are equal if they are once tidied up.

It is the rule behind the published numbers, the paper's among them, and it is kept with its faults: `5.0` is not `5`,
`1,000` is not `1000`, `\frac{2}{4}` is not `\frac{1}{2}`, and a percent sign is ignored.
"""

import re

_UNIT = "\\text{ "
_REMOVED = ("\\!", "\\left", "\\right", "^{\\circ}", "^\\circ", "\\$", "\\%", "%")


def same_string(left: str, right: str) -> bool:
    """Whether two answers are the same by the rule; where one cannot be tidied up, both must be the same text."""
    try:
        return tidied(left) == tidied(right)
    except ValueError:
        return left == right


def tidied(answer: str) -> str:
    """Return the answer in the form that is compared.

    Raises:
        ValueError: If it holds more than one unit.
    """
    text = answer.replace("\n", "").replace("\\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for removed in _REMOVED:
        text = text.replace(removed, "")
    text = _without_unit(text).replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = _value(f"0{text}" if text.startswith(".") else text)
    text = _braced_fractions(re.sub(r"\\sqrt(?!\{)(.)", r"\\sqrt{\1}", text).replace(" ", ""))
    return _stroke_to_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    parts = text.split(_UNIT)
    if len(parts) > 2:
        raise ValueError(f"more than one unit in {text!r}")
    return parts[0]


def _value(text: str) -> str:
    """`x = 5` is its right side, where the left one has at most two characters."""
    sides = text.split("=")
    return sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text


def _braced_fractions(text: str) -> str:
    r"""Write `\frac12` and `\frac1{2}` as `\frac{1}{2}`; a fraction cut short leaves the text as it is."""
    parts = text.split("\\frac")
    done = parts[0]
    for part in parts[1:]:
        done += "\\frac"
        if part.startswith("{"):
            done += part
        elif len(part) < 2:
            return text
        else:
            over, under, rest = part[0], part[1], part[2:]
            done += f"{{{over}}}{{{under}}}{rest}" if under != "{" else f"{{{over}}}{under}{rest}"
    return done


def _stroke_to_fraction(text: str) -> str:
    r"""Write `3/4` as `\frac{3}{4}`, where both are whole numbers written plainly."""
    sides = text.split("/")
    if len(sides) != 2:
        return text
    try:
        over, under = int(sides[0]), int(sides[1])
    except ValueError:
        return text
    return f"\\frac{{{over}}}{{{under}}}" if text == f"{over}/{under}" else text
