"""Items of a benchmark from a file or a hub, and stored responses put to them; every bad row is an error by name."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.benchmarks.protocol import Item, Protocol
from tracepipe.identity import normalise
from tracepipe.jsonl import read_lines, text_field
from tracepipe.spec import SpecError

_SPLITS = ("test", "train")


@dataclass(frozen=True)
class Response:
    """One stored response: its line in the file, whose item it answers, and which sample it is.

    `truncated` is None where the file does not say why the response ended.
    """

    line: int
    item: Item
    sample: int
    text: str
    truncated: bool | None


def load_items(protocol: Protocol, place: str) -> list[Item]:
    """Read all items.

    Args:
        protocol: The benchmark.
        place: A `.json`, `.jsonl` or `.parquet` file, or a hub id.

    Raises:
        SpecError: If the file cannot be read, a row does not fit, or two items have one id; names file and row.
    """
    items: dict[str, Item] = {}
    for number, row in _rows(place):
        item = protocol.read(row, f"{place}, row {number}")
        if item.key in items:
            raise SpecError(f"{place}, row {number}: id '{item.key}' stands already in an earlier row; ids must differ")
        items[item.key] = item
    if not items:
        raise SpecError(f"{place}: holds no items")
    return list(items.values())


def _rows(place: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    path = Path(place)
    if not path.exists():
        return _hub_rows(place)
    if path.suffix == ".parquet":
        return enumerate(pl.read_parquet(path).iter_rows(named=True), start=1)
    if path.suffix in (".json", ".jsonl"):
        return _json_rows(path)
    raise SpecError(f"{path}: ending '{path.suffix}' is not known; give a .json, .jsonl or .parquet file, or a hub id")


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read a JSON array, or JSON Lines under either ending."""
    content = path.read_bytes()
    if not content.lstrip().startswith(b"["):
        yield from read_lines(path)
        return
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise SpecError(f"{path}: not JSON: {error}") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise SpecError(f"{path}, row {number}: not a JSON object")
        yield number, row


def _hub_rows(place: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    if place.startswith(("/", "./", "../")) or Path(place).suffix in (".json", ".jsonl", ".parquet"):
        raise SpecError(f"{place}: there is no such file")
    try:
        splits = load_dataset(place)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, ValueError, RuntimeError) as error:
        raise SpecError(f"'{place}' is no file, and `datasets` cannot load it from the hub: {error}") from None
    name = next((split for split in _SPLITS if split in splits), next(iter(splits)))
    return enumerate(splits[name], start=1)


def load_responses(items: list[Item], path: Path) -> list[Response]:
    """Read stored responses and find the item of each.

    Args:
        items: The benchmark's items.
        path: JSON Lines with `response`, and `id` (the item's own) or `question` (its problem). Optional: `sample`,
            and `finish_reason`, which is `length` where the token cap cut the response off.

    Raises:
        SpecError: If a line fits no item, or several, or does not hold what it should; names the line.
    """
    by_key = {item.key: [item] for item in items}
    by_problem: dict[str, list[Item]] = {}
    for item in items:
        by_problem.setdefault(normalise(item.problem), []).append(item)
    responses: list[Response] = []
    seen: dict[tuple[str, int], int] = {}
    counts: Counter[str] = Counter()
    for line, row in read_lines(path):
        place = f"{path}, line {line}"
        item = _item_of(row, by_key, by_problem, place)
        sample = row.get("sample")
        if sample is not None and (not isinstance(sample, int) or isinstance(sample, bool)):
            raise SpecError(f"{place}: field 'sample' is not a whole number")
        number = counts[item.key] if sample is None else sample
        counts[item.key] += 1
        earlier = seen.setdefault((item.key, number), line)
        if earlier != line:
            raise SpecError(f"{place}: sample {number} of item '{item.key}' stands already in line {earlier}")
        ended = row.get("finish_reason")
        truncated = None if ended is None else ended in ("length", "max_tokens")
        responses.append(Response(line, item, number, text_field(row, "response", place), truncated))
    if not responses:
        raise SpecError(f"{path}: holds no responses")
    return responses


def _item_of(
    row: Mapping[str, Any], by_key: Mapping[str, list[Item]], by_problem: Mapping[str, list[Item]], place: str
) -> Item:
    key = next((row[name] for name in ("id", "unique_id") if row.get(name) is not None), None)
    if key is None and row.get("question") is None:
        raise SpecError(f"{place}: give 'id' (the item's own) or 'question' (its problem text)")
    if key is not None:
        found, what = by_key.get(str(key), []), f"has the id '{key}'"
    else:
        found, what = by_problem.get(normalise(str(row["question"])), []), "has the problem text in 'question'"
    if key is not None and row.get("question") is not None and found:
        found = [item for item in found if normalise(item.problem) == normalise(str(row["question"]))]
        what += " and the problem text in 'question'"
    if len(found) != 1:
        problem = f"no item {what}" if not found else f"{len(found)} items {what.replace('has', 'have', 1)}"
        raise SpecError(f"{place}: {problem}; give the id of one item")
    return found[0]
