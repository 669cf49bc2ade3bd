"""Match two conditions in length by choosing rows, since longer traces alone may teach more (paper: breaks, 4)."""

import polars as pl

from tracepipe.fidelity import count_tokens

_ROUNDING = 1e-9


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
    if set(left["prompt_id"]) & set(right["prompt_id"]):
        pairs = left.join(right, on="prompt_id", validate="1:1")
        longer, shorter = pl.max_horizontal("length", "length_right"), pl.min_horizontal("length", "length_right")
        return pairs.filter(longer <= shorter * (1 + tolerance) + _ROUNDING).select("prompt_id")
    kept, mine, theirs = list[str](), left.rows(), right.rows()
    while mine and theirs:
        own, other = mine[-1][1], theirs[-1][1]
        if max(own, other) <= min(own, other) * (1 + tolerance) + _ROUNDING:
            kept.append(mine.pop()[0])
            theirs.pop()
        else:
            (mine if own > other else theirs).pop()
    return pl.DataFrame({"prompt_id": kept}, schema={"prompt_id": pl.String})


def _lengths(rows: pl.DataFrame, tokenizer: str) -> pl.DataFrame:
    """Return `prompt_id, length` (tokens, at least one), the longest last."""
    counts = [max(count, 1) for count in count_tokens(rows["trace"].fill_null("").to_list(), tokenizer)]
    return rows.select("prompt_id", pl.Series("length", counts, dtype=pl.Int64)).sort("length", "prompt_id")
