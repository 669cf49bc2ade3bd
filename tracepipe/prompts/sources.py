"""Read prompts from files and from OpenThoughts; every bad row is kept with its place and its reason."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.problems import Columns
from tracepipe.spec import SpecError


@dataclass(frozen=True)
class RawPrompt:
    """One prompt as read."""

    text: str
    source: str
    domain: str | None


@dataclass(frozen=True)
class BadRow:
    """A row that could not be used: its 1-based line (JSONL) or row number, and why."""

    line: int
    reason: str


@dataclass
class Reading:
    """All rows of a source, good and bad."""

    prompts: list[RawPrompt] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


class _Unusable(Exception):
    """Why a row cannot be used."""


def read_columns(path: str, columns: Columns) -> Reading:
    """Read prompts by a column mapping.

    Args:
        path: A JSONL or Parquet file; a folder of them or a hub id is read by `datasets`.
        columns: Which column holds what.

    Raises:
        SpecError: If the file's ending is not known, or no row has one of the columns.
    """
    reading = Reading()
    seen: set[str] = set()
    for line, row in _rows(path, reading.bad):
        seen |= row.keys()
        try:
            reading.prompts.append(
                RawPrompt(
                    text=_text(row.get(columns.prompt), f"column '{columns.prompt}'"),
                    source=_optional(row, columns.source) or Path(path).name,
                    domain=_optional(row, columns.domain),
                )
            )
        except _Unusable as why:
            reading.bad.append(BadRow(line, str(why)))
    for column in (columns.prompt, columns.source, columns.domain):
        if seen and column is not None and column not in seen:
            raise SpecError(f"{path}: no row has the column '{column}'; there are: {', '.join(sorted(seen))}")
    return reading


def read_openthoughts(path: str) -> Reading:
    """Read OpenThoughts-114k in either schema: `messages`, or `system` with `conversations`.

    Args:
        path: See `read_columns`.
    """
    reading = Reading()
    for line, row in _rows(path, reading.bad):
        try:
            reading.prompts.append(RawPrompt(_user_text(row), str(row.get("source") or path), _optional(row, "domain")))
        except _Unusable as why:
            reading.bad.append(BadRow(line, str(why)))
    return reading


def _rows(place: str, bad: list[BadRow]) -> Iterable[tuple[int, dict[str, Any]]]:
    path = Path(place)
    if not path.is_file():
        return _dataset_rows(place)
    if path.suffix == ".parquet":
        return enumerate(pl.read_parquet(path).iter_rows(named=True), start=1)
    if path.suffix in (".jsonl", ".json"):
        return _json_lines(path, bad)
    raise SpecError(f"{path}: ending '{path.suffix}' is not known; give a .jsonl or .parquet file")


def _dataset_rows(place: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return enumerate(load_dataset(place, split="train"), start=1)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, ValueError) as error:
        raise SpecError(f"prompts.source.path: '{place}' is no file, and `datasets` cannot load it: {error}") from None


def _json_lines(path: Path, bad: list[BadRow]) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as stream:
        for line, content in enumerate(stream, start=1):
            try:
                row = json.loads(content.decode("utf-8"))
            except UnicodeDecodeError:
                bad.append(BadRow(line, "not UTF-8"))
            except json.JSONDecodeError:
                bad.append(BadRow(line, "not JSON" if content.strip() else "empty line"))
            else:
                if isinstance(row, dict):
                    yield line, row
                else:
                    bad.append(BadRow(line, "not a JSON object"))


def _user_text(row: dict[str, Any]) -> str:
    turns = row.get("messages") or row.get("conversations") or []
    if not isinstance(turns, list):
        raise _Unusable("messages is not a list")
    for turn in turns:
        if isinstance(turn, dict) and (turn.get("role") or turn.get("from")) in ("user", "human"):
            return _text(turn.get("content", turn.get("value")), "user message")
    raise _Unusable("no user message")


def _text(value: Any, what: str) -> str:
    if value is None:
        raise _Unusable(f"{what} is missing")
    if not isinstance(value, str):
        raise _Unusable(f"{what} is not text")
    if not value.strip():
        raise _Unusable(f"{what} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _Unusable(f"{what} is not UTF-8 (unpaired surrogate)") from None
    return value


def _optional(row: dict[str, Any], column: str | None) -> str | None:
    value = row.get(column) if column else None
    return None if value is None else str(value)
