"""One text made from another, row by row: by a function, by a prompted model, or by whoever answers at an address."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import polars as pl

from tracepipe import collection, outputs
from tracepipe.identity import request_key
from tracepipe.journal import Journal, Sink
from tracepipe.registry import load_target
from tracepipe.roles import Role, Wording
from tracepipe.serving import reachable
from tracepipe.spec import SpecError
from tracepipe.text import take_apart
from tracepipe.workbench import GenerationJob, Workbench

_CUT = "the writer reached its token cap"


def by_function(name: str, rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Apply a Python function to every text.

    Args:
        name: `module:function`.
        rows: `prompt_id, text`.
        key: The key of the study that names the function, for errors.

    Returns:
        `prompt_id, request_key, summary, outcome, reason`.

    Raises:
        SpecError: If the function cannot be imported, or returns something other than text.
    """
    return by_callable(find_function(name, key), name, rows, key)


def by_callable(function: Callable[[str], str], name: str, rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Apply a function that is at hand, as `by_function`; `name` identifies it."""
    texts = [function(text) for text in rows["text"]]
    for prompt, text in zip(rows["prompt_id"], texts, strict=True):
        if not isinstance(text, str):
            raise SpecError(f"{key}: '{name}' returned {type(text).__name__} for row {prompt}; it must return text")
    keys = [request_key(endpoint="function", base_url="", model=name, body={"trace": text}) for text in rows["text"]]
    return rows.select(
        "prompt_id",
        pl.Series("request_key", keys, dtype=pl.String),
        pl.Series("summary", texts, dtype=pl.String),
        outcome=pl.lit("ok"),
        reason=pl.lit(None, dtype=pl.String),
    )


def find_function(name: str, key: str) -> Callable[[str], str]:
    """Import `module:function`.

    Raises:
        SpecError: If it cannot be imported; names the key of the study.
    """
    module, _, function = name.partition(":")
    try:
        found: Callable[[str], str] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{key}: '{name}' cannot be imported: {error}") from None
    return found


def by_model(
    role: Role, wording: Wording, rows: pl.DataFrame, *, label: str, seed: int, bench: Workbench
) -> pl.DataFrame:
    """Ask a local model about every text.

    Args:
        role: Which model, and how it is asked.
        wording: With `{prompt}`, and `{trace}` or `{summary}` for the text.
        rows: `prompt_id, prompt, text`.
        label: What progress calls it.
        seed: Of its draws.
        bench: Runs it.

    Returns:
        As `by_function`; a text cut off is `truncated`.
    """
    job = GenerationJob(label, role.model, _asked(wording, rows).rename({"prompt_id": "id"}), role.asking, seed)
    (generated,) = bench.generate([job])
    cut = pl.col("finish_reason") == "length"
    return generated.select(
        "request_key",
        prompt_id="id",
        # The writer's own think block is no part of what it writes.
        summary=pl.col("text").map_elements(lambda text: take_apart(text).answer, return_dtype=pl.String),
        outcome=pl.when(cut).then(pl.lit("truncated")).otherwise(pl.lit("ok")),
        reason=pl.when(cut).then(pl.lit(_CUT)),
    )


def by_endpoint(file: Path, wording: Wording, rows: pl.DataFrame, journal: Journal, trace_sink: Sink) -> pl.DataFrame:
    """Ask whoever a target file describes about every text; what was paid for is in the journal and not asked again.

    Args:
        file: The target file: address, key variable, price, budget.
        wording: As for `by_model`.
        rows: `prompt_id, prompt, text`.
        journal: Where raw responses go.
        trace_sink: Where the writer's own traces go, if it sends them along.

    Returns:
        As `by_function`, with the outcomes of a collection.

    Raises:
        CollectionStopped: See `tracepipe.collection.collect`.
    """
    summariser, prompts = load_target(file), _asked(wording, rows)
    if collection.waits(prompts, summariser, journal):
        with reachable(summariser, file.parent, trace_sink.path) as base_url:
            collection.collect(prompts, summariser, base_url=base_url, journal=journal, trace_sink=trace_sink)
    found = outputs.read_outputs(prompts, summariser, journal)
    whole = pl.col("outcome").is_in(["ok", "empty_summary"])
    return found.select(
        "prompt_id",
        "request_key",
        summary="answer",
        outcome=pl.when(whole).then(pl.lit("ok")).otherwise("outcome"),
        reason=pl.when(~whole).then("reason"),
    )


def _asked(wording: Wording, rows: pl.DataFrame) -> pl.DataFrame:
    """Return `prompt_id, prompt`, where the prompt is what the writer is asked."""
    texts = [
        wording.template.format(prompt=row["prompt"], trace=row["text"], summary=row["text"])
        for row in rows.iter_rows(named=True)
    ]
    return rows.select("prompt_id", pl.Series("prompt", texts, dtype=pl.String))
