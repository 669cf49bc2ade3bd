"""The tables: names, columns, types and meaning. Every frame that is stored fits one of these."""

from typing import Any

import polars as pl

from tracepipe.records.columns import OUTCOMES, STAGES, Column, Table
from tracepipe.records.given import (
    BENCHMARK_ITEMS,
    CHAT_TEMPLATES,
    CONTAMINATED_PROMPTS,
    DEAD_LETTERS,
    EXAMPLES,
    EXPOSED,
    PROMPTS,
    REJECTED_PROMPTS,
    SUMMARY_STYLE,
    SURROGATE_SUMMARIES,
    SURROGATE_TRACES,
    TARGET_ATTEMPTS,
    TARGET_CHANGES,
    TARGET_OUTPUTS,
    TARGET_TRACES,
)
from tracepipe.records.made import (
    BENCHMARK_ANSWERS,
    BENCHMARK_SCORES,
    CHECKPOINTS,
    COMPARISON,
    DIFFERENCES,
    FILES,
    INVERTED_TRACES,
    LEAKAGE,
    ROW_SET,
    SELECTED_TRACES,
    TRACE_CONSISTENCY,
    TRACE_DRAWS,
    TRACE_FIDELITY,
)

__all__ = [
    "BENCHMARK_ANSWERS",
    "BENCHMARK_ITEMS",
    "BENCHMARK_SCORES",
    "CHAT_TEMPLATES",
    "CHECKPOINTS",
    "COMPARISON",
    "CONTAMINATED_PROMPTS",
    "DEAD_LETTERS",
    "DIFFERENCES",
    "EXAMPLES",
    "EXPOSED",
    "FILES",
    "INVERTED_TRACES",
    "LEAKAGE",
    "OUTCOMES",
    "PROMPTS",
    "REJECTED_PROMPTS",
    "ROW_SET",
    "SELECTED_TRACES",
    "STAGES",
    "SUMMARY_STYLE",
    "SURROGATE_SUMMARIES",
    "SURROGATE_TRACES",
    "TARGET_ATTEMPTS",
    "TARGET_CHANGES",
    "TARGET_OUTPUTS",
    "TARGET_TRACES",
    "TRACE_CONSISTENCY",
    "TRACE_DRAWS",
    "TRACE_FIDELITY",
    "Column",
    "Table",
    "conform",
    "empty",
    "from_rows",
    "schema",
]


def schema(table: Table) -> pl.Schema:
    """Return the polars schema of a table."""
    return pl.Schema({name: column.dtype for name, column in table.items()})


def empty(table: Table) -> pl.DataFrame:
    """Return the table without rows."""
    return pl.DataFrame(schema=schema(table))


def from_rows(rows: list[dict[str, Any]], table: Table) -> pl.DataFrame:
    """Return rows, each with exactly the table's columns, as that table; no rows make it empty.

    Raises:
        ValueError: If a column is missing or unknown in the first row; names it.
    """
    if rows:
        conform(pl.DataFrame(rows[:1]), table)
    return pl.DataFrame(rows, schema=schema(table), strict=False)


def conform(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return the frame with exactly the table's columns, in order and type.

    Raises:
        ValueError: If a column is missing or unknown, or does not cast; names it.
    """
    missing, unknown = table.keys() - set(frame.columns), set(frame.columns) - table.keys()
    if missing or unknown:
        raise ValueError(f"frame does not fit its table: missing {sorted(missing)}, unknown {sorted(unknown)}")
    return frame.select(pl.col(name).cast(column.dtype) for name, column in table.items())
