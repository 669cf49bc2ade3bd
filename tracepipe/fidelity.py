"""How close inverted traces come to an open target's real ones (paper, fidelity table). Auxiliary to accuracy.

ROUGE-1/2/L are `rouge_score` with stemming, F-measure; token F1 is over the sets of NLTK word tokens
of the text taken as one line, which needs no downloaded sentence model; all x100.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tracepipe import progress
from tracepipe.gates import Gate, ids_preserved
from tracepipe.records import TRACE_FIDELITY, from_rows

VERSION = "1"
_ROUGE = ("rouge1", "rouge2", "rougeL")


def fidelity(inverted: pl.DataFrame, traces: pl.DataFrame, inverter: str, tokenizer_folder: str) -> pl.DataFrame:
    """Compare inverted traces with the real ones of the same prompts.

    Args:
        inverted: INVERTED_TRACES; truncated ones are compared too, as they are.
        traces: TARGET_TRACES.
        inverter: `trained` or `zero_shot`.
        tokenizer_folder: Folder or hub id of the tokenizer that lengths are counted with.

    Returns:
        TRACE_FIDELITY, one row per inverted trace whose real trace exists.
    """
    pairs = inverted.select("prompt_id", "request_key", "inverted_trace").join(
        traces.select("prompt_id", "trace"), on="prompt_id", validate="1:1", maintain_order="left"
    )
    reference_lengths = count_tokens(pairs["trace"].to_list(), tokenizer_folder)
    synthesized_lengths = count_tokens(pairs["inverted_trace"].to_list(), tokenizer_folder)
    rows = []
    with progress.task(f"fidelity ({inverter})", pairs.height) as advance:
        scorer = Scorer()
        for pair, real, forged in zip(pairs.iter_rows(named=True), reference_lengths, synthesized_lengths, strict=True):
            kept = {"prompt_id": pair["prompt_id"], "request_key": pair["request_key"], "inverter": inverter}
            lengths = {"reference_tokens": real, "synthesized_tokens": forged, "length_recovery": forged / max(real, 1)}
            rows.append(kept | scorer.score(pair["trace"], pair["inverted_trace"]) | lengths)
            advance(1)
    return from_rows(rows, TRACE_FIDELITY)


class Scorer:
    """Token F1 and ROUGE of one pair at a time."""

    def __init__(self) -> None:
        from nltk.tokenize import NLTKWordTokenizer
        from rouge_score.rouge_scorer import RougeScorer

        self._rouge = RougeScorer(list(_ROUGE), use_stemmer=True)
        self._words = NLTKWordTokenizer()

    def score(self, reference: str, synthesized: str) -> dict[str, float]:
        """Return `token_f1, rouge1, rouge2, rougeL`, x100."""
        rouge = self._rouge.score(reference, synthesized)
        f1 = token_f1(self._words.tokenize(reference), self._words.tokenize(synthesized))
        return {"token_f1": 100 * f1} | {name: 100 * rouge[name].fmeasure for name in _ROUGE}


def token_f1(reference: Sequence[str], synthesized: Sequence[str]) -> float:
    """Return the F1 of the two sets of tokens, 0 to 1."""
    left, right = set(reference), set(synthesized)
    shared = len(left & right)
    return 2 * shared / (len(left) + len(right)) if shared else 0.0


def count_tokens(texts: list[str], tokenizer_folder: str) -> list[int]:
    """Count the tokens of each text, special tokens apart."""
    from tokenizers import Tokenizer

    local = Path(tokenizer_folder, "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(local)) if local.exists() else Tokenizer.from_pretrained(tokenizer_folder)
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def fidelity_gates(shown: pl.DataFrame, scores: pl.DataFrame) -> list[Gate]:
    """Every inverted trace was compared, by the trained inverter and by its untrained base."""
    return [
        ids_preserved(
            f"every_trace_compared_{inverter}", shown["prompt_id"], scores.filter(inverter=inverter)["prompt_id"]
        )
        for inverter in ("trained", "zero_shot")
    ]


def mean_fidelity(scores: pl.DataFrame) -> pl.DataFrame:
    """Return the means per inverter: `inverter, traces, token_f1, rouge1, rouge2, rougeL, length_recovery`.

    Length recovery is the ratio of the mean lengths.
    """
    return (
        scores.group_by("inverter")
        .agg(
            pl.len().alias("traces"),
            pl.col("token_f1", *_ROUGE).mean(),
            (pl.col("synthesized_tokens").mean() / pl.col("reference_tokens").mean()).alias("length_recovery"),
        )
        .sort("inverter", descending=False)
    )
