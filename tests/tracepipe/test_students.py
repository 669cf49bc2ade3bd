"""One common row set for all conditions, and the target's terms."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TARGETS
from tracepipe.records import INVERTED_TRACES, OUTCOMES, PROMPTS, SURROGATE_TRACES, TARGET_OUTPUTS, from_rows
from tracepipe.registry import load_target
from tracepipe.students import TermsForbid, example_gates, require_permission, student_examples
from tracepipe.study import Study
from tracepipe.target import Target


@pytest.fixture
def target() -> Target:
    return load_target(Path(TARGETS / "miniature.yaml"))


def output(name: str, outcome: str) -> dict:
    texts = {"answer": f"answer {name}", "summary": None if outcome == "empty_summary" else f"summary {name}"}
    counts = {"input_tokens": 1, "output_tokens": 1, "reasoning_tokens": 0, "cost_usd": 0.0, "offset": 0}
    ids = {"prompt_id": name, "request_key": f"r_{name}", "response_id": name, "model": "m"}
    return ids | texts | counts | {"outcome": outcome, "reason": None}


def inverted(name: str, exposure: str, outcome: str) -> dict:
    ids = {"prompt_id": name, "request_key": f"i_{exposure}_{name}", "checkpoint_id": "c"}
    return ids | {
        "inverted_trace": f"trace {name}",
        "outcome": outcome,
        "reason": None,
        "input_tokens": 1,
        "output_tokens": 1,
    }


def trace(name: str, outcome: str) -> dict:
    ids = {"prompt_id": name, "request_key": f"s_{name}", "trace": "t", "answer": "a"}
    return ids | {"outcome": outcome, "reason": None, "input_tokens": 1, "output_tokens": 1}


outcomes = st.lists(st.sampled_from(OUTCOMES), min_size=6, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(shown=outcomes, by_summary=outcomes, by_answer=outcomes, surrogate=outcomes)
def test_whatever_fails_all_conditions_keep_the_same_rows(
    study: Study, target: Target, shown: list, by_summary: list, by_answer: list, surrogate: list
):
    names = [f"p_{index}" for index in range(6)]
    own = [f"s_{index}" for index in range(6)]
    prompts = [{"prompt_id": name, "prompt": name, "split": "x", "source": "s", "domain": None} for name in names + own]
    examples = student_examples(
        study,
        target,
        from_rows(prompts, PROMPTS),
        from_rows([trace(*row) for row in zip(own, surrogate, strict=True)], SURROGATE_TRACES),
        from_rows([output(*row) for row in zip(names, shown, strict=True)], TARGET_OUTPUTS),
        {
            "summary": from_rows(
                [inverted(name, "summary", o) for name, o in zip(names, by_summary, strict=True)], INVERTED_TRACES
            ),
            "answer": from_rows(
                [inverted(name, "answer", o) for name, o in zip(names, by_answer, strict=True)], INVERTED_TRACES
            ),
        },
    )
    usable = {n for n, *all_of in zip(names, shown, by_summary, by_answer, strict=True) if set(all_of) == {"ok"}}
    size = min(len(usable), surrogate.count("ok"))
    rows = {c: set(examples.filter(condition=c)["prompt_id"]) for c in study.conditions if c not in ("base", "oracle")}
    assert {len(ids) for ids in rows.values()} == {size}
    distilled = rows.pop("surrogate_trace")
    assert distilled <= set(own)
    assert len({frozenset(ids) for ids in rows.values()}) == 1
    assert all(ids <= usable for ids in rows.values())
    assert examples["example_id"].is_unique().all()
    assert all(gate.passed for gate in example_gates(study, target, examples)) == (size > 0)


def test_the_gate_names_rows_that_stand_in_one_condition_only(study: Study, target: Target):
    conditions = [c for c in study.conditions if c not in ("base", "oracle")]
    rows = pl.DataFrame(
        [{"condition": c, "prompt_id": p} for c in conditions for p in ("p_1", "p_2")]
        + [{"condition": "answer_only", "prompt_id": "p_3"}]
    )
    failed = {gate.name: gate.rows for gate in example_gates(study, target, rows) if not gate.passed}
    assert failed["same_rows_in_every_condition"] == ("p_3",)
    assert "answer_only=3" in failed["same_number_of_rows"]


@pytest.mark.parametrize("terms", ["evaluation_only", "unknown"])
def test_students_are_trained_only_where_the_target_says_so(target: Target, terms: str):
    require_permission(target)
    forbidding = target.model_copy(
        update={"training_use": terms, "decided_by": "counsel", "decided_on": date(2026, 1, 2)}
    )
    with pytest.raises(TermsForbid, match=f"training_use: {terms} .decided by counsel on 2026-01-02"):
        require_permission(forbidding)
