r"""Numbers as models write them: LaTeX fractions, powers of ten, thousands separators, units behind them."""

import re
from fractions import Fraction

_LARGEST_POWER = 400
_SPACING = re.compile(r"\\[,!;: ]|~|\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?")
_EXPONENT = re.compile(r"\^\s*(?:\{\s*-?\d+\s*\}|-?\d+)")
_NO_UNIT = re.compile(
    r"\\(?:pi|[dt]?frac|sqrt|ln|log|sin|cos|tan|exp|pm|sum|int|infty|boxed)(?![A-Za-z])|[^A-Za-z\u00b5μΩ°Å\\{}()\s/·*.%]"
)
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_GOES_ON = re.compile(
    r"\s*(?:[-+*×/(,]\s*[\d\\A-Za-z(]|\^(?!\s*\{?\s*\\circ)|\\(?:pi|sqrt|times|cdot|[dt]?frac)(?![A-Za-z]))"
)
_INTEGER = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
_POWER = r"10\s*(?:\^|\*\*)\s*(?:\{{\s*(?P<{0}>[-+]?\s*\d+)\s*\}}|(?P<{0}1>[-+]?\d+))"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:"
    rf"(?:(?P<whole>\d+)\s*)?\\[dtc]?frac\s*(?:\{{\s*(?P<top>-?\d+(?:\.\d+)?)\s*\}}|(?P<top1>\d))"
    rf"\s*(?:\{{\s*(?P<bottom>\d+(?:\.\d+)?)\s*\}}|(?P<bottom1>\d))"
    rf"|{_POWER.format('ten')}"
    rf"|(?P<decimal>(?:{_INTEGER})(?:\.\d*)?|\.\d+)(?:\s*/\s*(?P<over>\d+(?:\.\d+)?))?"
    rf")(?:\s*(?:[eE](?P<e>[-+]?\d+)|(?:\\times|\\cdot|×|·|\*|x)\s*{_POWER.format('power')}))?"
)


def exact(text: str) -> Fraction | None:
    r"""Return the value of a text that is one number and no more: `-3`, `1,250`, `\frac{3}{4}`, `2 \times 10^{-3}`."""
    number = _leading(_plain(text))
    return number[0] if number and not number[1].strip() else None


def quantity(text: str) -> Fraction | None:
    r"""Return the value of a text that is one number, with or without a unit, and perhaps `name =` before it.

    Where several values stand behind each other with equality signs, the last one counts: `\frac{1}{3} \approx 0.33`.
    """
    number = _leading(re.split(r"=|\\approx|≈|\\simeq|\\equiv", _plain(text))[-1].strip())
    return number[0] if number and _is_unit(number[1]) else None


def leading(text: str) -> Fraction | None:
    """Return the value of the number that a text begins with, where prose or a unit follows it."""
    number = _leading(_plain(text))
    return None if number is None or _GOES_ON.match(number[1]) else number[0]


def _is_unit(text: str) -> bool:
    """Whether what follows a number is a unit: letters, exponents, strokes; no operation and no other number."""
    rest = _DEGREES.sub("", text)
    return not rest.lstrip().startswith("^") and not _NO_UNIT.search(_EXPONENT.sub("", rest))


def _plain(text: str) -> str:
    text = text.replace("\\$", "").replace("$", "").replace("{,}", ",").replace(",\\!", ",").replace("−", "-")
    text = _RAISED.sub(lambda raised: f"^{{{raised[0].translate(_LOWERED)}}}", text)
    return _SPACING.sub(" ", text).strip().strip("*_").strip()


def _leading(text: str) -> tuple[Fraction, str] | None:
    found = _NUMBER.match(text)
    if not found:
        return None
    part = found.groupdict()
    value = Fraction(1) if part["ten"] or part["ten1"] else _mantissa(part)
    power = int("".join((part["e"] or part["power"] or part["power1"] or part["ten"] or part["ten1"] or "0").split()))
    if value is None or abs(power) > _LARGEST_POWER:
        return None
    return (-value if part["sign"] == "-" else value) * Fraction(10) ** power, text[found.end() :]


def _mantissa(part: dict[str, str | None]) -> Fraction | None:
    top = (part["decimal"] or part["top"] or part["top1"] or "").replace(",", "")
    bottom = Fraction(part["over"] or part["bottom"] or part["bottom1"] or 1)
    return Fraction(top) / bottom + Fraction(part["whole"] or 0) if bottom else None
