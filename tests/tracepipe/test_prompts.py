"""Prompts from files and OpenThoughts; duplicates, bad rows, disjoint splits."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import write_study
from tracepipe.home import CHECKOUT
from tracepipe.identity import prompt_id
from tracepipe.problems import Columns, Splits
from tracepipe.prompts.build import build_items, build_prompts, contaminated_prompts
from tracepipe.prompts.decontamination import decontamination_gate
from tracepipe.prompts.sources import BadRow, RawPrompt, read_columns, read_openthoughts
from tracepipe.prompts.splits import deal, split_gates
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study

MATH500 = CHECKOUT.parent / "shared" / "data" / "math500.jsonl"


def raw(*texts: str) -> list[RawPrompt]:
    return [RawPrompt(text, "test", None) for text in texts]


def test_every_bad_line_is_listed_with_its_number_and_reason(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    lines = [
        b'{"q": "one", "s": "book"}',
        b"not json",
        b"",
        b'{"q": "\xff"}',
        b'{"q": "  "}',
        b'{"other": 1}',
        b'{"q": 7}',
        b"[1]",
        b'{"q": "\\ud800"}',
        b'{"q": "two"}',
    ]
    path.write_bytes(b"\n".join(lines))
    reading = read_columns(str(path), Columns(prompt="q", source="s"))
    assert [(prompt.text, prompt.source) for prompt in reading.prompts] == [("one", "book"), ("two", "prompts.jsonl")]
    assert sorted(reading.bad, key=lambda row: row.line) == [
        BadRow(2, "not JSON"),
        BadRow(3, "empty line"),
        BadRow(4, "not UTF-8"),
        BadRow(5, "column 'q' is empty"),
        BadRow(6, "column 'q' is missing"),
        BadRow(7, "column 'q' is not text"),
        BadRow(8, "not a JSON object"),
        BadRow(9, "column 'q' is not UTF-8 (unpaired surrogate)"),
    ]


def test_a_column_that_no_row_has_is_refused_with_those_there_are(tmp_path: Path):
    path = tmp_path / "prompts.parquet"
    pl.DataFrame({"question": ["a"], "level": [1]}).write_parquet(path)
    with pytest.raises(SpecError, match="no row has the column 'prompt'; there are: level, question"):
        read_columns(str(path), Columns())


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_both_openthoughts_schemas_give_the_user_message(tmp_path: Path, ending: str):
    mirror = [
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u1"},
                {"role": "assistant", "content": "a"},
            ]
        },
        {"messages": [{"role": "system", "content": "s"}]},
    ]
    canonical = [
        {"system": "s", "conversations": [{"from": "user", "value": "u2"}, {"from": "assistant", "value": "a"}]},
        {"system": "s", "conversations": [{"from": "user", "value": ""}]},
    ]
    for rows, expected in ((mirror, "u1"), (canonical, "u2")):
        path = tmp_path / f"{expected}.{ending}"
        if ending == "jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows))
        else:
            pl.DataFrame(rows).write_parquet(path)
        reading = read_openthoughts(str(path))
        assert [prompt.text for prompt in reading.prompts] == [expected]
        assert [row.line for row in reading.bad] == [2]


def test_a_folder_is_read_like_a_dataset_of_the_hub_and_an_unknown_name_is_explained(tmp_path: Path):
    pl.DataFrame({"messages": [[{"role": "user", "content": "u"}]]}).write_parquet(tmp_path / "train.parquet")
    assert [prompt.text for prompt in read_openthoughts(str(tmp_path)).prompts] == ["u"]
    with pytest.raises(SpecError, match="'nobody/nothing' is no file, and `datasets` cannot load it"):
        read_openthoughts("nobody/nothing")


@given(
    texts=st.lists(st.text(min_size=1).filter(str.strip), min_size=4, max_size=30, unique_by=prompt_id),
    order=st.randoms(use_true_random=False),
)
def test_splits_do_not_depend_on_the_order_of_the_rows(texts: list[str], order):
    shuffled = order.sample(texts, len(texts))
    splits = Splits(surrogate=2, target=2)
    one, other = (deal(raw(*rows), splits, 0, frozenset(), []).table for rows in (texts, shuffled))
    assert one.select("prompt_id", "split").equals(other.select("prompt_id", "split"))
    assert set(one.filter(split="surrogate")["prompt_id"]).isdisjoint(one.filter(split="target")["prompt_id"])


def test_duplicates_and_benchmark_problems_are_dropped_and_counted():
    dealt = deal(
        raw("a", " a\r\n", "b", "c", "asked in a benchmark"),
        None,
        0,
        frozenset({prompt_id("asked in a benchmark")}),
        [],
    )
    assert (dealt.read, dealt.duplicates, dealt.held_out, dealt.unused) == (5, 1, 1, 0)
    assert sorted(dealt.table["prompt"]) == ["a", "b", "c"]


def test_too_few_prompts_are_an_error_with_the_counts():
    with pytest.raises(SpecError, match=r"asks for 6 prompts, the source holds 2 .*3 read, 1 duplicates"):
        deal(raw("a", "a", "b"), Splits(surrogate=3, target=3), 0, frozenset(), [])


def test_the_gates_name_prompts_in_both_splits():
    prompts = pl.DataFrame({"prompt_id": ["p1", "p1", "p2"], "split": ["surrogate", "target", "target"]})
    failed = {gate.name: gate.rows for gate in split_gates(prompts) if not gate.passed}
    assert failed == {"splits_disjoint": ("p1",), "prompts_distinct": ("p1",)}


def test_miniature_prompts_and_benchmarks_share_nothing_and_change_with_the_seed(study: Study):
    items = build_items(study)
    dealt = build_prompts(study, contaminated_prompts(study, items))
    assert dealt.held_out == 0
    assert dealt.table.height == 128
    other = study.model_copy(update={"seed": 1})
    assert set(build_items(other)["prompt_id"]) != set(items["prompt_id"])


@pytest.mark.skipif(not MATH500.exists(), reason="MATH500 is not at hand; the project ships none of it")
def test_math500_gives_500_prompts():
    reading = read_columns(str(MATH500), Columns(prompt="problem", domain="subject"))
    dealt = deal(reading.prompts, None, 0, frozenset(), reading.bad)
    assert (dealt.table.height, dealt.duplicates, dealt.bad) == (500, 0, [])
    assert dealt.table["domain"].null_count() == 0


def test_prompts_that_a_benchmark_asks_are_left_out_with_a_receipt(tmp_path: Path, study_content: dict):
    asked = "A farmer has a field of one hundred and sixty metres around; how long are its sides if it is a square?"
    texts = [*(f"What is {n} plus {n + 1}?" for n in range(8)), f"{asked} Explain.", asked.upper()]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    (tmp_path / "items.jsonl").write_text(json.dumps({"unique_id": "i", "problem": asked, "answer": "40"}) + "\n")
    study_content["prompts"] = {
        "source": {"kind": "file", "path": "prompts.jsonl"},
        "splits": {"surrogate": 4, "target": 4},
    }
    study_content["benchmarks"] = [{"kind": "math500", "path": "items.jsonl"}]
    del study_content["decontamination"]
    study = load_study(write_study(tmp_path, study_content))
    items = build_items(study)
    receipts = contaminated_prompts(study, items)
    assert sorted(receipts["rule"]) == ["exact", "ngram"]
    dealt = build_prompts(study, receipts)
    assert (dealt.held_out, dealt.unused) == (2, 0)
    assert not any("farmer" in prompt.lower() for prompt in dealt.table["prompt"])
    assert decontamination_gate(dealt.table, items, study.decontamination).passed
    study_content["prompts"]["splits"]["target"] = 6
    greedy = load_study(write_study(tmp_path, study_content))
    with pytest.raises(SpecError, match=r"holds 8 that can be used .*2 too close to a benchmark"):
        build_prompts(greedy, receipts)
