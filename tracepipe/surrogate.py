"""The surrogate answers its split with visible traces: the ground truth inverters learn from (paper section 3)."""

from typing import Any

import polars as pl

from tracepipe.gates import Gate, ids_preserved, none_fail
from tracepipe.records import SURROGATE_TRACES, from_rows
from tracepipe.study import Study
from tracepipe.text import has_think_tag, take_apart
from tracepipe.wording import expect_fields
from tracepipe.workbench import GenerationJob, Workbench

VERSION = "1"


def surrogate_traces(study: Study, prompts: pl.DataFrame, bench: Workbench) -> pl.DataFrame:
    """Ask the surrogate every prompt of its split.

    Returns:
        SURROGATE_TRACES, one row per prompt of the surrogate's split.
    """
    surrogate = study.surrogate
    expect_fields(surrogate.wording, {"prompt"}, "surrogate.wording.template")
    own = prompts.filter(split="surrogate")
    texts = [surrogate.wording.template.format(prompt=prompt) for prompt in own["prompt"]]
    job = GenerationJob(
        label="surrogate traces",
        model=surrogate.model,
        requests=own.select(id="prompt_id").with_columns(prompt=pl.Series(texts, dtype=pl.String)),
        asking=surrogate.asking,
        seed=study.derived_seed("surrogate"),
    )
    (generated,) = bench.generate([job])
    rows = [_trace_row(row) for row in generated.iter_rows(named=True)]
    return from_rows(rows, SURROGATE_TRACES)


def _trace_row(row: dict[str, Any]) -> dict[str, Any]:
    reply = take_apart(str(row["text"]))
    if row["finish_reason"] == "length":
        outcome, reason = "truncated", "the surrogate reached its token cap"
    elif reply.trace is None or not reply.trace:
        outcome, reason = "parse_error", "no closed think block, or an empty one"
    elif has_think_tag(reply.trace + reply.answer):
        outcome, reason = "parse_error", "a think tag inside the trace or the answer"
    elif not reply.answer:
        outcome, reason = "empty_answer", "nothing after the think block"
    else:
        outcome, reason = "ok", None
    kept = {key: row[key] for key in ("request_key", "input_tokens", "output_tokens")}
    parts = {"prompt_id": row["id"], "trace": reply.trace, "answer": reply.answer}
    return {**kept, **parts, "outcome": outcome, "reason": reason}


def trace_gates(prompts: pl.DataFrame, traces: pl.DataFrame) -> list[Gate]:
    """Every prompt has one row, and most of them a trace."""
    asked = prompts.filter(split="surrogate")["prompt_id"]
    bad = traces.filter(pl.col("outcome") != "ok")["prompt_id"]
    flooded = bad.to_list() if len(bad) * 2 > traces.height else []
    return [
        ids_preserved("one_row_per_prompt", asked, traces["prompt_id"]),
        none_fail("most_rows_usable", flooded, f"of {traces.height} rows unusable where more than half are"),
    ]
