"""Prompts and benchmark items of a study, from the sources it names."""

import json
from pathlib import Path

import polars as pl

from tracepipe.identity import prompt_id
from tracepipe.miniature.world import Problem, draw_pool, true_answer
from tracepipe.prompts.sources import RawPrompt, Reading, read_columns, read_openthoughts
from tracepipe.prompts.splits import Dealt, deal
from tracepipe.records import BENCHMARK_ITEMS, REJECTED_PROMPTS, from_rows
from tracepipe.spec import SpecError
from tracepipe.study import FileBenchmark, FilePrompts, MiniatureBenchmark, MiniaturePrompts, OpenThoughtsPrompts, Study

VERSION = "1"
_MINIATURE_PROMPTS = "prompts"


def build_prompts(study: Study, items: pl.DataFrame) -> Dealt:
    """Read, clean and split the study's prompts; those that a benchmark asks are left out.

    Args:
        study: The study.
        items: BENCHMARK_ITEMS.

    Raises:
        SpecError: If the source cannot be read or holds too few prompts.
    """
    reading = read_source(study)
    benchmark_ids = frozenset(items["prompt_id"])
    return deal(reading.prompts, study.prompts.splits, study.derived_seed("splits"), benchmark_ids, reading.bad)


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
        SpecError: If a benchmark's file does not hold what it should; names file, line and field.
    """
    rows: list[dict[str, str]] = []
    for benchmark in study.benchmarks:
        found = (
            _miniature_items(study, benchmark) if isinstance(benchmark, MiniatureBenchmark) else _file_items(benchmark)
        )
        for prompt, gold in found:
            key = prompt_id(prompt)
            item = {"item_id": f"{benchmark.name}/{key}", "benchmark": benchmark.name, "prompt_id": key}
            rows.append({**item, "prompt": prompt, "gold": gold})
    return from_rows(rows, BENCHMARK_ITEMS).unique("item_id", keep="first", maintain_order=True)


def _miniature_pool(study: Study) -> dict[str, list[Problem]]:
    benchmarks = [benchmark for benchmark in study.benchmarks if isinstance(benchmark, MiniatureBenchmark)]
    sizes = {benchmark.name: benchmark.items for benchmark in benchmarks}
    harder = frozenset(benchmark.name for benchmark in benchmarks if benchmark.difficulty == "harder")
    splits = study.prompts.splits
    if isinstance(study.prompts.source, MiniaturePrompts) and splits is not None:
        sizes[_MINIATURE_PROMPTS] = splits.surrogate + splits.target
    return draw_pool(study.derived_seed("miniature"), sizes, harder)


def _miniature_items(study: Study, benchmark: MiniatureBenchmark) -> list[tuple[str, str]]:
    problems = _miniature_pool(study)[benchmark.name]
    return [(f"problem {problem.text}", str(true_answer(problem))) for problem in problems]


def _file_items(benchmark: FileBenchmark) -> list[tuple[str, str]]:
    items = []
    for line, content in enumerate(Path(benchmark.path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise SpecError(f"{benchmark.path}, line {line}: not JSON: {error}") from None
        for field in (benchmark.prompt, benchmark.gold):
            if not isinstance(row, dict) or row.get(field) is None or not str(row[field]).strip():
                raise SpecError(f"{benchmark.path}, line {line}: field '{field}' is missing or empty")
        items.append((str(row[benchmark.prompt]), str(row[benchmark.gold])))
    return items
