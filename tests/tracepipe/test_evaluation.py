"""Stored answers become scores by the protocol of their benchmark, with what qualifies them."""

import json

import polars as pl
import pytest

from tests.conftest import write_study
from tracepipe.evaluation import answer_gates, benchmark_scores, score_gates
from tracepipe.prompts.build import build_items
from tracepipe.records import BENCHMARK_ANSWERS, CHECKPOINTS, from_rows
from tracepipe.study import Study, load_study

PROBLEMS = {"a": ("What is half of one?", r"\frac{1}{2}"), "b": ("Name a prime.", "7")}


@pytest.fixture
def study(tmp_path, study_content: dict) -> Study:
    rows = [{"unique_id": key, "problem": problem, "answer": gold} for key, (problem, gold) in PROBLEMS.items()]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study_content["benchmarks"] = [{"kind": "math500", "path": "items.jsonl", "samples": 2}]
    return load_study(write_study(tmp_path, study_content))


def answers(items: pl.DataFrame, responses: list[tuple[str, int, str, str]]) -> pl.DataFrame:
    ids = dict(items.select("key", "item_id").iter_rows())
    about = {
        "benchmark": "math500",
        "condition": "oracle",
        "seed": 0,
        "checkpoint_id": "c",
        "input_tokens": 1,
        "output_tokens": 1,
    }
    rows = [
        {
            **about,
            "request_key": f"r{n}",
            "item_id": ids[key],
            "sample": sample,
            "response": text,
            "finish_reason": reason,
        }
        for n, (key, sample, text, reason) in enumerate(responses)
    ]
    return from_rows(rows, BENCHMARK_ANSWERS)


def test_each_answer_gets_both_verdicts_and_what_qualifies_them(study: Study):
    items = build_items(study)
    given = answers(
        items,
        [
            ("a", 0, r"So $\boxed{0.50}$.", "stop"),
            ("b", 0, r"<think> hm </think> \boxed{7}", "stop"),
            ("a", 1, "Wait, let me think about that once more. " * 10, "length"),
            ("b", 1, "The answer is 8.", "stop"),
        ],
    )
    scores = benchmark_scores(given, items)
    columns = ("request_key", "score", "outcome", "fair_score", "fair_outcome", "truncated", "looped")
    assert scores.select(columns).sort("request_key").rows() == [
        ("r0", 0.0, "wrong", 1.0, "correct", False, False),
        ("r1", 1.0, "correct", 1.0, "correct", False, False),
        ("r2", 0.0, "no_answer", 0.0, "no_answer", True, True),
        ("r3", 0.0, "no_answer", 0.0, "wrong", False, False),
    ]
    assert all(gate.passed for gate in score_gates(given, scores))
    broken = scores.with_columns(rule=pl.when(request_key="r0").then(pl.lit("error: KeyError")).otherwise("rule"))
    assert [gate.name for gate in score_gates(given, broken) if not gate.passed] == ["graders_hold"]
    checkpoint = {
        **dict.fromkeys(CHECKPOINTS),
        "checkpoint_id": "c",
        "role": "student/oracle",
        "examples": 0,
        "losses": [],
    }
    checkpoints = from_rows([checkpoint], CHECKPOINTS)
    assert [gate.passed for gate in answer_gates(study, checkpoints, items, given)] == [True]
    assert [gate.passed for gate in answer_gates(study, checkpoints, items, given.head(3))] == [False]
