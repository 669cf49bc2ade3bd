"""How close inverted traces come to an open target's real ones (paper, fidelity table). Auxiliary to accuracy."""

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from tracepipe import progress
from tracepipe.gates import Gate, ids_preserved
from tracepipe.overlap import METRICS, overlap
from tracepipe.parallel import Lost, each
from tracepipe.records import TRACE_FIDELITY, conform, from_rows
from tracepipe.words import Words

VERSION = "2"
_CHUNK = 16
_WORTH_PROCESSES = 200  # pairs; starting processes takes a second

Pair = tuple[str, str]
"""A reference and a synthesized text."""


def fidelity(inverted: pl.DataFrame, traces: pl.DataFrame, inverter: str, tokenizer: str, words: Words) -> pl.DataFrame:
    """Compare inverted traces with the real ones of the same prompts.

    Args:
        inverted: INVERTED_TRACES; truncated ones are compared too, as they are.
        traces: TARGET_TRACES.
        inverter: `trained` or `zero_shot`.
        tokenizer: Folder or hub id of the tokenizer that lengths are counted with.
        words: How words are found, see `tracepipe.words`.

    Returns:
        TRACE_FIDELITY, one row per inverted trace whose real trace exists.
    """
    pairs = inverted.select("prompt_id", "request_key", "inverted_trace").join(
        traces.select("prompt_id", "trace"), on="prompt_id", validate="1:1", maintain_order="left"
    )
    if not pairs.height:
        return from_rows([], TRACE_FIDELITY)
    texts = pairs.select("trace", "inverted_trace").iter_rows()
    scores = pl.DataFrame(list(score_pairs(texts, pairs.height, words, tokenizer, f"fidelity ({inverter})")))
    named = pairs.select("prompt_id", "request_key", inverter=pl.lit(inverter), words=pl.lit(words))
    columns = [name for name in TRACE_FIDELITY if name in scores.columns]
    return conform(pl.concat([named, scores.select(columns)], how="horizontal"), TRACE_FIDELITY)


def score_pairs(
    pairs: Iterable[Pair], total: int, words: Words, tokenizer: str | None, label: str
) -> Iterator[dict[str, float]]:
    """Score pairs on all cores, in their order, holding few of them in memory.

    Yields:
        What `tracepipe.overlap.overlap` returns, and `length_recovery`: synthesized length over reference length,
        in `reference_tokens` and `synthesized_tokens` where there is a tokenizer, otherwise in words.
    """
    score = partial(_score_chunk, words, tokenizer)
    chunks = _chunks(iter(pairs))
    with progress.task(label, total) as advance:
        for scores in each(score, chunks) if total >= _WORTH_PROCESSES else map(score, chunks):
            if isinstance(scores, Lost):
                raise RuntimeError(f"{label}: {scores.reason}")
            yield from scores
            advance(len(scores))


def _score_chunk(words: Words, tokenizer: str | None, pairs: list[Pair]) -> list[dict[str, float]]:
    return [_score(words, tokenizer, pair) for pair in pairs]


def _score(words: Words, tokenizer: str | None, pair: Pair) -> dict[str, float]:
    scores = overlap(*pair, words)
    unit = "words" if tokenizer is None else "tokens"
    if tokenizer is not None:
        lengths = count_tokens(list(pair), tokenizer)
        scores |= dict(zip(("reference_tokens", "synthesized_tokens"), lengths, strict=True))
    return scores | {"length_recovery": scores[f"synthesized_{unit}"] / max(scores[f"reference_{unit}"], 1)}


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while chunk := list(islice(pairs, _CHUNK)):
        yield chunk


def count_tokens(texts: list[str], tokenizer_folder: str) -> list[int]:
    """Count the tokens of each text, special tokens apart."""
    encoded = _load_tokenizer(tokenizer_folder).encode_batch(texts, add_special_tokens=False)
    return [len(encoding.ids) for encoding in encoded]


@lru_cache(1)
def _load_tokenizer(folder: str) -> Any:
    from tokenizers import Tokenizer

    local = Path(folder, "tokenizer.json")
    return Tokenizer.from_file(str(local)) if local.exists() else Tokenizer.from_pretrained(folder)


def fidelity_gates(shown: pl.DataFrame, scores: pl.DataFrame) -> list[Gate]:
    """Every inverted trace was compared, by the trained inverter and by its untrained base."""
    return [
        ids_preserved(
            f"every_trace_compared_{inverter}", shown["prompt_id"], scores.filter(inverter=inverter)["prompt_id"]
        )
        for inverter in ("trained", "zero_shot")
    ]


def mean_fidelity(scores: pl.DataFrame) -> pl.DataFrame:
    """Return the means per inverter: `inverter, words, traces, bleu, token_f1, rouge1, rouge2, rougeL`, and lengths.

    `reference_tokens` and `synthesized_tokens` are mean lengths; `length_recovery` is the ratio of the two.
    """
    return (
        scores.group_by("inverter", "words")
        .agg(
            pl.len().alias("traces"),
            pl.col(*METRICS, "reference_tokens", "synthesized_tokens").mean(),
        )
        .with_columns(length_recovery=pl.col("synthesized_tokens") / pl.col("reference_tokens"))
        .sort("inverter")
    )
