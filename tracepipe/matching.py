"""Match two conditions in length by choosing rows, since longer traces alone may teach more (paper: breaks, 4)."""

import math

import polars as pl

from tracepipe.fidelity import count_tokens


def matched(rows: pl.DataFrame, others: pl.DataFrame, tokenizer: str, tolerance: float) -> pl.DataFrame:
    """Choose the rows that have a partner of the same length on the other side, each partner once.

    Where both sides answer the same prompts, a row's partner is the row of its own prompt, so that both keep the same
    prompts; else lengths are paired off from the shortest on, which finds as many pairs as there can be. Either way
    the other side, asked with the sides exchanged, keeps the partners.

    Args:
        rows: `prompt_id, trace`.
        others: The other side.
        tokenizer: Folder or hub id of the tokenizer that lengths are counted with.
        tolerance: By how much the longer may exceed the shorter.

    Returns:
        `prompt_id` of the rows kept.
    """
    left, right = _lengths(rows, tokenizer), _lengths(others, tokenizer)
    allowed = math.log1p(tolerance)
    if set(left["prompt_id"]) & set(right["prompt_id"]):
        pairs = left.join(right, on="prompt_id", validate="1:1")
        return pairs.filter((pl.col("length") - pl.col("length_right")).abs() <= allowed).select("prompt_id")
    kept, mine, theirs = list[str](), left.rows(), right.rows()
    while mine and theirs:
        gap = mine[-1][1] - theirs[-1][1]
        if abs(gap) <= allowed:
            kept.append(mine.pop()[0])
            theirs.pop()
        else:
            (mine if gap > 0 else theirs).pop()
    return pl.DataFrame({"prompt_id": kept}, schema={"prompt_id": pl.String})


def _lengths(rows: pl.DataFrame, tokenizer: str) -> pl.DataFrame:
    """Return `prompt_id, length` (logarithm of the tokens, at least one), the longest last."""
    counts = count_tokens(rows["trace"].fill_null("").to_list(), tokenizer)
    lengths = [math.log(max(count, 1)) for count in counts]
    return rows.select("prompt_id", pl.Series("length", lengths, dtype=pl.Float64)).sort("length", "prompt_id")
