"""Train inverters on the surrogate's examples and write traces for what the target shows (paper section 3)."""

from typing import Any

import polars as pl

from tracepipe.checkpoints import Manifest
from tracepipe.gates import Gate, ids_preserved
from tracepipe.identity import digest
from tracepipe.records import EXAMPLES, INVERTED_TRACES, conform, from_rows
from tracepipe.roles import Exposure
from tracepipe.study import Study
from tracepipe.text import has_think_tag, trace_of
from tracepipe.wording import inverter_wording
from tracepipe.workbench import GenerationJob, TrainingJob, Workbench

VERSION = "1"
_NEEDED: dict[Exposure, list[str]] = {"summary": ["ok"], "answer": ["ok", "empty_summary"]}


def inverter_examples(
    study: Study, prompts: pl.DataFrame, traces: pl.DataFrame, summaries: pl.DataFrame
) -> pl.DataFrame:
    """Build (x', y'[, b']) -> t' for every exposure of the study, on one row set for all exposures.

    Args:
        study: The study.
        prompts: PROMPTS.
        traces: SURROGATE_TRACES.
        summaries: SURROGATE_SUMMARIES.

    Returns:
        EXAMPLES; `condition` is the exposure.
    """
    usable = (
        traces.filter(outcome="ok")
        .select("prompt_id", "request_key", "trace", "answer")
        .join(summaries.filter(outcome="ok").select("prompt_id", "summary"), on="prompt_id", validate="1:1")
        .join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1")
        .sort("prompt_id")
    )
    return conform(
        pl.concat([_examples_of(study, exposure, usable) for exposure in study.exposures]),
        EXAMPLES,
    )


def _examples_of(study: Study, exposure: Exposure, usable: pl.DataFrame) -> pl.DataFrame:
    ids = ["e_" + digest(["inverter", exposure, key]) for key in usable["request_key"]]
    return usable.select(
        pl.Series("example_id", ids, dtype=pl.String),
        "prompt_id",
        "request_key",
        "trace",
        condition=pl.lit(exposure),
        prompt=_inverter_prompts(study, exposure, usable),
        completion="trace",
    )


def _inverter_prompts(study: Study, exposure: Exposure, rows: pl.DataFrame) -> pl.Series:
    """What the inverter is asked: `rows` has `prompt`, `answer`, and `summary` for that exposure."""
    template = inverter_wording(study.inverter.wording, exposure).template
    shown = ["prompt", "answer"] + (["summary"] if exposure == "summary" else [])
    texts = [template.format(**row) for row in rows.select(shown).iter_rows(named=True)]
    return pl.Series("prompt", texts, dtype=pl.String)


def train_inverter(study: Study, exposure: Exposure, examples: pl.DataFrame, bench: Workbench) -> Manifest:
    """Fine-tune the inverter of one exposure, loss on the trace only (EXAMPLES in, the checkpoint's manifest out)."""
    job = TrainingJob(
        label=f"train inverter/{exposure}",
        role=f"inverter/{exposure}",
        base=study.inverter.model,
        examples=examples.filter(condition=exposure),
        recipe=study.inverter.recipe,
        seed=study.derived_seed("inverter", exposure),
        thinking=study.inverter.thinking,
    )
    return bench.train([job])[0]


def shown_rows(exposure: Exposure, prompts: pl.DataFrame, outputs: pl.DataFrame) -> pl.DataFrame:
    """Return `prompt_id, prompt, answer, summary` of the target outputs usable at an exposure."""
    return (
        outputs.filter(pl.col("outcome").is_in(_NEEDED[exposure]))
        .select("prompt_id", "answer", "summary")
        .join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1")
        .sort("prompt_id")
    )


def invert(
    study: Study,
    exposure: Exposure,
    model: str,
    checkpoint: str,
    shown: pl.DataFrame,
    bench: Workbench,
) -> pl.DataFrame:
    """Write a trace for every row the target shows; the inverter is handed the answer and never solves.

    Args:
        study: The study.
        exposure: What the inverter sees.
        model: The inverter's folder, or its untrained base for zero-shot inversion.
        checkpoint: Its identity.
        shown: See `shown_rows`.
        bench: Runs the model.

    Returns:
        INVERTED_TRACES, one row per row shown. A trace cut off at the token cap is `truncated`: it
        must never become a training target (paper: where it breaks, 2).
    """
    requests = shown.select(id="prompt_id").with_columns(_inverter_prompts(study, exposure, shown))
    job = GenerationJob(
        label=f"inverted traces ({exposure}, {checkpoint})",
        model=model,
        requests=requests,
        asking=study.inverter.asking,
        seed=study.derived_seed("inversion", exposure),
    )
    (generated,) = bench.generate([job])
    rows = [_inverted_row(row, checkpoint) for row in generated.iter_rows(named=True)]
    return from_rows(rows, INVERTED_TRACES)


def _inverted_row(row: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    trace = trace_of(str(row["text"]))
    if row["finish_reason"] == "length":
        outcome, reason = "truncated", "the inverter reached its token cap"
    elif not trace:
        outcome, reason = "parse_error", "the inverter wrote no trace"
    elif has_think_tag(trace):
        outcome, reason = "parse_error", "a think tag inside the trace"
    else:
        outcome, reason = "ok", None
    kept = {key: row[key] for key in ("request_key", "input_tokens", "output_tokens")}
    parts = {"prompt_id": row["id"], "checkpoint_id": checkpoint, "inverted_trace": trace}
    return {**kept, **parts, "outcome": outcome, "reason": reason}


def inversion_gates(shown: pl.DataFrame, inverted: pl.DataFrame) -> list[Gate]:
    """Every row shown has one inverted trace."""
    return [ids_preserved("one_row_per_output", shown["prompt_id"], inverted["prompt_id"])]
