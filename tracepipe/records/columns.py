"""What a table is, and the columns that many have."""

from dataclasses import dataclass

import polars as pl

STAGES = ("prompts", "surrogate", "inverter", "target", "withheld", "inversion", "students", "benchmarks", "report")
"""The stages of the pipeline, in order."""

OUTCOMES = ("ok", "truncated", "refused", "empty_answer", "empty_summary", "parse_error", "api_error")


@dataclass(frozen=True)
class Column:
    """One column: its type and what it holds, units included."""

    dtype: pl.DataType
    meaning: str


Table = dict[str, Column]

TEXT, INT, FLOAT, BOOL = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()

PROMPT_ID = Column(TEXT, "identity of the prompt: hash of its normalised text")
REQUEST_KEY = Column(TEXT, "identity of the model call that wrote this row")
OUTCOME = Column(TEXT, "one of: " + ", ".join(OUTCOMES))
REASON = Column(TEXT, "why the outcome is not ok; null where it is")
TOKENS_IN = Column(INT, "tokens of the request")
TOKENS_OUT = Column(INT, "tokens written, hidden reasoning included")
