"""The compressor writes target-style summaries of surrogate traces; it is prompted, never trained (paper section 3)."""

import polars as pl

from tracepipe.gates import Gate, ids_preserved
from tracepipe.records import SURROGATE_SUMMARIES, conform
from tracepipe.rewriting import by_function, by_model
from tracepipe.roles import FunctionCompressor
from tracepipe.study import Study
from tracepipe.wording import COMPRESSOR, expect_fields
from tracepipe.workbench import Workbench

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
    usable = traces.filter(outcome="ok").select("prompt_id", text="trace")
    compressor = study.compressor
    if isinstance(compressor, FunctionCompressor):
        summaries = by_function(compressor.function, usable, "compressor.function")
    else:
        wording = compressor.wording or COMPRESSOR
        expect_fields(wording, {"prompt", "trace"}, "compressor.wording.template")
        asked = usable.join(
            prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1", maintain_order="left"
        )
        seed = study.derived_seed("compressor")
        summaries = by_model(compressor, wording, asked, label="surrogate summaries", seed=seed, bench=bench)
    empty = (pl.col("summary").str.strip_chars() == "") & (pl.col("outcome") == "ok")
    return conform(
        summaries.with_columns(
            outcome=pl.when(empty).then(pl.lit("empty_summary")).otherwise("outcome"),
            reason=pl.when(empty).then(pl.lit("the compressor wrote nothing")).otherwise("reason"),
        ),
        SURROGATE_SUMMARIES,
    )


def summary_gates(traces: pl.DataFrame, summaries: pl.DataFrame) -> list[Gate]:
    """Every usable trace has one summary."""
    usable = traces.filter(outcome="ok")["prompt_id"]
    return [ids_preserved("one_row_per_trace", usable, summaries["prompt_id"])]
