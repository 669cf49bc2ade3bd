"""The compressor writes target-style summaries of surrogate traces; it is prompted, never trained (paper section 3)."""

from collections.abc import Callable
from importlib import import_module

import polars as pl

from tracepipe.gates import Gate, ids_preserved
from tracepipe.identity import request_key
from tracepipe.records import SURROGATE_SUMMARIES, conform
from tracepipe.roles import FunctionCompressor, ModelCompressor
from tracepipe.spec import SpecError
from tracepipe.study import Study
from tracepipe.text import take_apart
from tracepipe.wording import COMPRESSOR, expect_fields
from tracepipe.workbench import GenerationJob, Workbench

VERSION = "1"


def surrogate_summaries(study: Study, prompts: pl.DataFrame, traces: pl.DataFrame, bench: Workbench) -> pl.DataFrame:
    """Summarise every usable surrogate trace.

    Args:
        study: The study.
        prompts: PROMPTS.
        traces: SURROGATE_TRACES; rows that are not `ok` get no summary.
        bench: Runs the compressor where it is a model.

    Returns:
        SURROGATE_SUMMARIES, one row per usable trace.
    """
    usable = traces.filter(outcome="ok").select("prompt_id", "trace")
    compressor = study.compressor
    if isinstance(compressor, FunctionCompressor):
        summaries = _by_function(compressor, usable)
    else:
        summaries = _by_model(study, compressor, prompts, usable, bench)
    empty = pl.col("summary").str.strip_chars() == ""
    cut = pl.col("cut")
    summaries = summaries.with_columns(
        outcome=pl.when(cut)
        .then(pl.lit("truncated"))
        .when(empty)
        .then(pl.lit("empty_summary"))
        .otherwise(pl.lit("ok")),
        reason=pl.when(cut)
        .then(pl.lit("the compressor reached its token cap"))
        .when(empty)
        .then(pl.lit("the compressor wrote nothing")),
    )
    return conform(summaries.drop("cut"), SURROGATE_SUMMARIES)


def _by_function(compressor: FunctionCompressor, usable: pl.DataFrame) -> pl.DataFrame:
    summarise = _find_function(compressor.function)
    keys = [
        request_key(endpoint="function", base_url="", model=compressor.function, body={"trace": trace})
        for trace in usable["trace"]
    ]
    return usable.select(
        "prompt_id",
        pl.Series("request_key", keys, dtype=pl.String),
        pl.Series("summary", [summarise(trace) for trace in usable["trace"]], dtype=pl.String),
        cut=pl.lit(value=False),
    )


def _find_function(name: str) -> Callable[[str], str]:
    module, _, function = name.partition(":")
    try:
        found: Callable[[str], str] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"compressor.function: '{name}' cannot be imported: {error}") from None
    return found


def _by_model(
    study: Study, compressor: ModelCompressor, prompts: pl.DataFrame, usable: pl.DataFrame, bench: Workbench
) -> pl.DataFrame:
    wording = compressor.wording or COMPRESSOR
    expect_fields(wording, {"prompt", "trace"}, "compressor.wording.template")
    asked = usable.join(prompts, on="prompt_id", validate="1:1", maintain_order="left")
    texts = [wording.template.format(prompt=row["prompt"], trace=row["trace"]) for row in asked.iter_rows(named=True)]
    job = GenerationJob(
        label="surrogate summaries",
        model=compressor.model,
        requests=asked.select(id="prompt_id").with_columns(prompt=pl.Series(texts, dtype=pl.String)),
        asking=compressor.asking,
        seed=study.derived_seed("compressor"),
    )
    (generated,) = bench.generate([job])
    return generated.select(
        "request_key",
        prompt_id="id",
        summary=pl.col("text").map_elements(_after_thinking, return_dtype=pl.String),
        cut=pl.col("finish_reason") == "length",
    )


def _after_thinking(text: str) -> str:
    """Drop the compressor's own think block, which is no part of the summary."""
    return take_apart(text).answer


def summary_gates(traces: pl.DataFrame, summaries: pl.DataFrame) -> list[Gate]:
    """Every usable trace has one summary."""
    usable = traces.filter(outcome="ok")["prompt_id"]
    return [ids_preserved("one_row_per_trace", usable, summaries["prompt_id"])]
