"""Reading a program out of a response, and comparing what it printed or returned, outside the sandbox."""

import ast
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from tracepipe.grading.extraction import Extracted, visible

_FENCE = re.compile(r"^[ \t]*```[^\n]*$", re.MULTILINE)
_RELATIVE, _ABSOLUTE = 1e-7, 1e-6


def program(response: str, entry_point: str | None = None) -> Extracted:
    """Read the last fenced block, or a response that is nothing but a program.

    Rules: `fenced`, `bare`; without a program `unclosed_fence`, `unclosed_think`, `none`.

    Args:
        response: Everything the model wrote.
        entry_point: A function; the last block that defines it is preferred, examples of its use often follow.
    """
    text = visible(response)
    if text is None:
        return Extracted(None, "unclosed_think")
    fences = list(_FENCE.finditer(text))
    blocks = [
        text[opening.end() + 1 : closing.start()] for opening, closing in zip(fences[::2], fences[1::2], strict=False)
    ]
    if blocks:
        defining = [block for block in blocks if entry_point and re.search(rf"def\s+{re.escape(entry_point)}\b", block)]
        return Extracted((defining or blocks)[-1], "fenced")
    if fences:
        return Extracted(None, "unclosed_fence")
    return Extracted(text, "bare") if _is_program(text) else Extracted(None, "none")


def _is_program(text: str) -> bool:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(statement, ast.Expr) or isinstance(statement.value, ast.Call) for statement in body)


def same_output(expected: str, printed: str) -> bool:
    """Compare line by line, stripped; lines of numbers as decimals (LiveCodeBench's rule)."""
    left, right = ([line.strip() for line in text.strip().split("\n")] for text in (expected, printed))
    return len(left) == len(right) and all(_same_line(one, other) for one, other in zip(left, right, strict=True))


def _same_line(expected: str, printed: str) -> bool:
    if expected == printed:
        return True
    try:
        return [Decimal(part) for part in expected.split()] == [Decimal(part) for part in printed.split()]
    except InvalidOperation:
        return False


def same_value(expected: Any, returned: Any, absolute: float = 0.0) -> bool:
    """Compare builtin values; floats within 1e-6, or `absolute`, and 1e-7 of their size (evalplus's rule)."""
    if isinstance(expected, float) or absolute:
        absolute = absolute or _ABSOLUTE
    if isinstance(expected, float) and isinstance(returned, (int, float)) and not isinstance(returned, bool):
        return expected == returned or math.isclose(expected, returned, rel_tol=_RELATIVE, abs_tol=absolute)
    if isinstance(expected, (list, tuple)) and isinstance(returned, type(expected)):
        return len(expected) == len(returned) and all(
            same_value(one, other, absolute) for one, other in zip(expected, returned, strict=True)
        )
    return bool(expected == returned)
