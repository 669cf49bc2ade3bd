"""Train inverters on the surrogate's examples and write traces for what the target shows (paper section 3)."""

from collections.abc import Mapping
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


def inverter_examples(
    study: Study,
    prompts: pl.DataFrame,
    traces: pl.DataFrame,
    summaries: pl.DataFrame,
    exposed: Mapping[Exposure, pl.DataFrame],
) -> pl.DataFrame:
    """Build (x', y'[, b']) -> t' for every exposure of the study, on one row set for all exposures.

    An inverter that learns from several exposures is dealt each row at one of them, so that it has no more rows than
    the others.

    Args:
        study: The study.
        prompts: PROMPTS.
        traces: SURROGATE_TRACES.
        summaries: SURROGATE_SUMMARIES.
        exposed: EXPOSED of the surrogate's rows, of every policy among the exposures.

    Returns:
        EXAMPLES; `condition` is the exposure.
    """
    texts = {"summary": summaries, **exposed}
    usable = (
        traces.filter(outcome="ok")
        .select("prompt_id", "request_key", "trace", "answer")
        .join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1")
        .sort("prompt_id")
    )
    for name, table in texts.items():
        shown = table.filter(outcome="ok").select("prompt_id", pl.col("summary").alias(f"shown {name}"))
        usable = usable.join(shown, on="prompt_id", how="inner", validate="1:1", maintain_order="left")
    return conform(pl.concat([_examples_of(study, exposure, usable) for exposure in study.exposures]), EXAMPLES)


def _examples_of(study: Study, exposure: Exposure, usable: pl.DataFrame) -> pl.DataFrame:
    learnt = study.learnt_from(exposure)
    ids = ["e_" + digest(["inverter", *learnt, key]) for key in usable["request_key"]]
    return usable.select(
        pl.Series("example_id", ids, dtype=pl.String),
        "prompt_id",
        "request_key",
        "trace",
        condition=pl.lit(exposure),
        prompt=inverter_prompts(study, exposure, _dealt(usable, learnt)),
        completion="trace",
        phase=pl.lit(0),
    )


def _dealt(usable: pl.DataFrame, learnt: tuple[Exposure, ...]) -> pl.DataFrame:
    """Give every row the text of one of the exposures, by its id."""
    if learnt == ("answer",):
        return usable
    names = [learnt[int(digest(key), 16) % len(learnt)] for key in usable["prompt_id"]]
    texts = [row[f"shown {name}"] for name, row in zip(names, usable.iter_rows(named=True), strict=True)]
    return usable.with_columns(pl.Series("summary", texts, dtype=pl.String))


def inverter_prompts(study: Study, exposure: Exposure, rows: pl.DataFrame) -> pl.Series:
    """Return what the inverter is asked: `rows` has `prompt`, `answer`, and `summary` unless the answer is all."""
    template = inverter_wording(study.inverter.wording, exposure).template
    shown = ["prompt", "answer"] + ([] if exposure == "answer" else ["summary"])
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
        seed=study.derived_seed("inverter", *study.learnt_from(exposure)),
        thinking=study.inverter.thinking,
    )
    return bench.train([job])[0]


def shown_rows(
    exposure: Exposure, prompts: pl.DataFrame, outputs: pl.DataFrame, exposed: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return `prompt_id, prompt, answer, summary` of the target outputs usable at an exposure.

    Args:
        exposure: What is shown.
        prompts: PROMPTS.
        outputs: TARGET_OUTPUTS.
        exposed: EXPOSED of these outputs, where the exposure is a policy.
    """
    usable = outputs.filter(pl.col("outcome").is_in(["ok"] if exposure == "summary" else ["ok", "empty_summary"]))
    if exposed is not None:
        shown = exposed.filter(outcome="ok").select("prompt_id", "summary")
        usable = usable.drop("summary").join(shown, on="prompt_id", validate="1:1")
    return (
        usable.select("prompt_id", "answer", "summary")
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
    draw: int = 0,
) -> pl.DataFrame:
    """Write a trace for every row the target shows; the inverter is handed the answer and never solves.

    Args:
        study: The study.
        exposure: What the inverter sees.
        model: The inverter's folder, or its untrained base for zero-shot inversion.
        checkpoint: Its identity.
        shown: See `shown_rows`.
        bench: Runs the model.
        draw: Number of the draw; each has a seed of its own.

    Returns:
        INVERTED_TRACES, one row per row shown. A trace cut off at the token cap is `truncated`: it
        must never become a training target (paper: where it breaks, 2).
    """
    requests = shown.select(id="prompt_id").with_columns(inverter_prompts(study, exposure, shown))
    job = GenerationJob(
        label=f"inverted traces ({exposure}, {checkpoint})" + (f" draw {draw}" if draw else ""),
        model=model,
        requests=requests,
        asking=study.inverter.asking,
        seed=study.derived_seed("inversion", exposure, *([draw] if draw else [])),
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
