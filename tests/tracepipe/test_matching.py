"""Matching in length: partners are as long as each other, and both sides keep the same number."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MODELS
from tracepipe.matching import matched

TOKENIZER = str(MODELS / "base")
LENGTHS = st.lists(st.integers(1, 40), max_size=12)


def side(lengths: list[int], prefix: str) -> pl.DataFrame:
    rows = [{"prompt_id": f"{prefix}{at}", "trace": " ".join(["A"] * length)} for at, length in enumerate(lengths)]
    return pl.DataFrame(rows, schema={"prompt_id": pl.String, "trace": pl.String})


def kept(rows: pl.DataFrame, chosen: pl.DataFrame) -> list[int]:
    return sorted(len(trace.split()) for trace in rows.join(chosen, on="prompt_id", how="semi")["trace"])


@given(LENGTHS, LENGTHS)
def test_sides_with_other_prompts_are_paired_off(ours: list[int], theirs: list[int]):
    left, right = side(ours, "a"), side(theirs, "b")
    mine = kept(left, matched(left, right, TOKENIZER, 0.1))
    partners = kept(right, matched(right, left, TOKENIZER, 0.1))
    assert len(mine) == len(partners)
    assert all(max(pair) <= 1.1 * min(pair) + 1e-9 for pair in zip(mine, partners, strict=True))
    assert len(mine) >= len(set(ours) & set(theirs))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=12))
def test_sides_with_the_same_prompts_keep_the_same_prompts(pairs: list[tuple[int, int]]):
    left, right = side([one for one, _ in pairs], "p"), side([other for _, other in pairs], "p")
    mine = matched(left, right, TOKENIZER, 0.1)
    assert set(mine["prompt_id"]) == set(matched(right, left, TOKENIZER, 0.1)["prompt_id"])
    assert mine.height == sum(max(pair) <= 1.1 * min(pair) + 1e-9 for pair in pairs)
