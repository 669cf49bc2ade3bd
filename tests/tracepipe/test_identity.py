"""Keys depend on content, on all of it, and on nothing else."""

import shutil
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MODELS
from tracepipe.identity import digest, frame_hash, normalise, prompt_id, request_key, weights_id

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict):
    assert digest(value) == digest(dict(reversed(value.items())))


@given(st.text())
def test_normalising_twice_changes_nothing(text: str):
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(min_size=1))
def test_a_prompt_keeps_its_id_under_line_ends_and_surrounding_space(text: str):
    assert prompt_id(f"  {text}\n") == prompt_id(text)
    assert prompt_id(text.replace("\n", "\r\n")) == prompt_id(text)


def test_every_part_of_a_request_is_in_its_key():
    whole = {
        "endpoint": "responses",
        "base_url": "http://a",
        "model": "m",
        "body": {"input": "x", "top_p": 1},
        "draw": 0,
    }
    changes = [
        {"endpoint": "chat"},
        {"base_url": "http://b"},
        {"model": "n"},
        {"body": {"input": "x", "top_p": 0.9}},
        {"body": {"input": "x"}},
        {"draw": 1},
    ]
    keys = [request_key(**whole)] + [request_key(**(whole | change)) for change in changes]
    assert len(set(keys)) == len(keys)


@given(st.lists(st.tuples(st.text(), st.integers(-(2**31), 2**31)), max_size=8))
def test_a_frame_hash_sees_rows_their_order_and_the_columns(rows: list[tuple[str, int]]):
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.Int64}, orient="row")
    assert frame_hash(frame) == frame_hash(frame.clone())
    assert frame_hash(frame) != frame_hash(frame.rename({"a": "c"}))
    if rows != rows[::-1]:
        assert frame_hash(frame) != frame_hash(frame.reverse())


def test_weights_are_known_by_content_and_not_by_place(tmp_path: Path):
    moved = shutil.copytree(MODELS / "base", tmp_path / "elsewhere")
    assert weights_id(str(moved)) == weights_id(str(MODELS / "base"))
    assert weights_id(str(moved)) != weights_id(str(MODELS / "target"))
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights_id(str(moved)) != weights_id(str(MODELS / "base"))
