"""Prompts and benchmark items of a study, from the sources it names."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.benchmarks import PROTOCOLS
from tracepipe.benchmarks.items import load_items
from tracepipe.benchmarks.mathematics import BOXED
from tracepipe.benchmarks.protocol import Item, Protocol, field
from tracepipe.identity import prompt_id
from tracepipe.jsonl import read_lines
from tracepipe.miniature.world import Problem, draw_pool, true_answer
from tracepipe.problems import (
    Benchmark,
    FileBenchmark,
    FilePrompts,
    MiniatureBenchmark,
    MiniaturePrompts,
    OpenThoughtsPrompts,
)
from tracepipe.prompts.decontamination import contaminated
from tracepipe.prompts.sources import RawPrompt, Reading, read_columns, read_openthoughts
from tracepipe.prompts.splits import Dealt, deal
from tracepipe.records import BENCHMARK_ITEMS, REJECTED_PROMPTS, from_rows
from tracepipe.study import Study

VERSION = "2"
_MINIATURE_PROMPTS = "prompts"


def build_prompts(study: Study, contaminated: pl.DataFrame) -> Dealt:
    """Read, clean and split the study's prompts; those too close to a benchmark are left out.

    Args:
        study: The study.
        contaminated: CONTAMINATED_PROMPTS.

    Raises:
        SpecError: If the source cannot be read or holds too few prompts.
    """
    reading = read_source(study)
    left_out = frozenset(contaminated["prompt_id"])
    return deal(reading.prompts, study.prompts.splits, study.derived_seed("splits"), left_out, reading.bad)


def contaminated_prompts(study: Study, items: pl.DataFrame) -> pl.DataFrame:
    """Find the prompts of the source that are too close to a benchmark item (BENCHMARK_ITEMS).

    Returns:
        CONTAMINATED_PROMPTS.
    """
    return contaminated(read_source(study).prompts, items, study.decontamination)


def read_source(study: Study) -> Reading:
    """Read the study's prompt source, good rows and bad.

    Raises:
        SpecError: If it cannot be read.
    """
    source = study.prompts.source
    if isinstance(source, FilePrompts):
        return read_columns(source.path, source.columns)
    if isinstance(source, OpenThoughtsPrompts):
        return read_openthoughts(source.path)
    problems = _miniature_pool(study)[_MINIATURE_PROMPTS]
    return Reading([RawPrompt(f"problem {problem.text}", "miniature", None) for problem in problems])


def rejected_prompts(study: Study) -> pl.DataFrame:
    """List the rows of the source that could not be used.

    Returns:
        REJECTED_PROMPTS.
    """
    rows = [{"line": row.line, "reason": row.reason} for row in read_source(study).bad]
    return from_rows(rows, REJECTED_PROMPTS)


def build_items(study: Study) -> pl.DataFrame:
    """Read the items of every benchmark of the study.

    Returns:
        BENCHMARK_ITEMS.

    Raises:
        SpecError: If a benchmark's file does not hold what it should; names file, row and field.
    """
    rows: list[dict[str, str]] = []
    for benchmark, protocol in zip(study.benchmarks, protocols(study), strict=True):
        source, items = _items(study, benchmark, protocol)
        for item in items:
            key = prompt_id(item.problem)
            row = {name: getattr(item, name) for name in ("key", "problem", "gold", "kind", "cluster")}
            about = {"protocol": protocol.name, "source": source, "licence": protocol.licence}
            asked = {"prompt": protocol.ask(item), "tests": json.dumps(item.tests) if item.tests else ""}
            ids = {"item_id": f"{benchmark.name}/{key}", "benchmark": benchmark.name, "prompt_id": key}
            rows.append({**ids, **row, **about, **asked})
    return from_rows(rows, BENCHMARK_ITEMS).unique("item_id", keep="first", maintain_order=True)


def protocols(study: Study) -> list[Protocol]:
    """Return the protocol of every benchmark of the study, in its order."""
    return [PROTOCOLS.get(benchmark.kind, BOXED) for benchmark in study.benchmarks]


def _items(study: Study, benchmark: Benchmark, protocol: Protocol) -> tuple[str, list[Item]]:
    """Return the source of a benchmark's items, and the items."""
    if isinstance(benchmark, MiniatureBenchmark):
        problems = _miniature_pool(study)[benchmark.name]
        texts = [(f"problem {problem.text}", str(true_answer(problem))) for problem in problems]
        return "miniature", [Item(text, text, gold, cluster=text) for text, gold in texts]
    if isinstance(benchmark, FileBenchmark):
        return benchmark.path, _file_items(benchmark)
    source = benchmark.path or protocol.source
    return source, load_items(protocol, source)


def item_of(row: dict[str, Any]) -> Item:
    """Return the item of a row of BENCHMARK_ITEMS."""
    tests = json.loads(row["tests"]) if row["tests"] else None
    return Item(row["key"], row["problem"], row["gold"], row["kind"], row["cluster"], tests)


def _miniature_pool(study: Study) -> dict[str, list[Problem]]:
    benchmarks = [benchmark for benchmark in study.benchmarks if isinstance(benchmark, MiniatureBenchmark)]
    sizes = {benchmark.name: benchmark.items for benchmark in benchmarks}
    harder = frozenset(benchmark.name for benchmark in benchmarks if benchmark.difficulty == "harder")
    splits = study.prompts.splits
    if isinstance(study.prompts.source, MiniaturePrompts) and splits is not None:
        sizes[_MINIATURE_PROMPTS] = splits.surrogate + splits.target
    return draw_pool(study.derived_seed("miniature"), sizes, harder)


def _file_items(benchmark: FileBenchmark) -> list[Item]:
    items = []
    for line, row in read_lines(Path(benchmark.path)):
        place = f"{benchmark.path}, line {line}"
        problem, gold = field(row, (benchmark.prompt,), place), field(row, (benchmark.gold,), place)
        items.append(Item(problem, problem, gold, cluster=problem))
    return items
