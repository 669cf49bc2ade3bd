"""JSON Lines files that users give: every bad line is an error with file, line, and what to do."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracepipe.spec import SpecError
from tracepipe.text import whole_characters

Row = dict[str, Any]


def read_lines(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the 1-based line number and the object of every line; empty lines are passed over.

    Lines end at line feeds alone: texts may hold U+2028 and the like.

    Raises:
        SpecError: If the file cannot be read, or a line is no JSON object.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    with stream:
        for line, content in enumerate(stream, start=1):
            if not content.strip():
                continue
            try:
                row = json.loads(content)
            except ValueError as error:
                raise SpecError(f"{path}, line {line}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise SpecError(f"{path}, line {line}: not a JSON object")
            yield line, row


def text_field(row: Mapping[str, Any], field: str, place: str) -> str:
    """Return a field that must hold text, be it empty; halves of surrogate pairs become U+FFFD.

    Raises:
        SpecError: If it is missing or is no text; names the place.
    """
    value = row.get(field)
    if not isinstance(value, str):
        found = ", ".join(sorted(row)) or "none"
        problem = "is missing" if value is None else "is not text"
        raise SpecError(f"{place}: field '{field}' {problem}; the fields there are: {found}")
    return whole_characters(value)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, at once: the file is the old one or the new one."""
    from tracepipe.files import write_atomically

    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
