"""One common row set for all conditions, and the target's terms."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TARGETS, write_study
from tracepipe.records import INVERTED_TRACES, OUTCOMES, PROMPTS, SURROGATE_TRACES, TARGET_OUTPUTS, from_rows
from tracepipe.registry import load_target
from tracepipe.row_set import Written, row_set
from tracepipe.students import TermsForbid, example_gates, require_permission, student_examples
from tracepipe.study import Study, load_study
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


def prompts_of(names: list[str]) -> pl.DataFrame:
    about = {"split": "x", "source": "s", "domain": None}
    return from_rows([{"prompt_id": one, "prompt": one} | about for one in names], PROMPTS)


def written_of(**inverted_by: list[dict]) -> Written:
    return Written({exposure: from_rows(rows, INVERTED_TRACES) for exposure, rows in inverted_by.items()}, {}, {})


outcomes = st.lists(st.sampled_from(OUTCOMES), min_size=6, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=outcomes, by_summary=outcomes, by_answer=outcomes, surrogate=outcomes)
def test_whatever_fails_all_conditions_keep_the_same_rows(
    study: Study, target: Target, shown: list, by_summary: list, by_answer: list, surrogate: list
):
    names = [f"p_{index}" for index in range(6)]
    own = [f"s_{index}" for index in range(6)]
    traces = from_rows([trace(*row) for row in zip(own, surrogate, strict=True)], SURROGATE_TRACES)
    outputs = from_rows([output(*row) for row in zip(names, shown, strict=True)], TARGET_OUTPUTS)
    written = written_of(
        summary=[inverted(name, "summary", o) for name, o in zip(names, by_summary, strict=True)],
        answer=[inverted(name, "answer", o) for name, o in zip(names, by_answer, strict=True)],
    )
    common = row_set(study, target, traces, outputs, written)
    examples = student_examples(study, target, prompts_of(names + own), traces, outputs, common, written)
    usable = {n for n, *all_of in zip(names, shown, by_summary, by_answer, strict=True) if set(all_of) == {"ok"}}
    size = min(len(usable), surrogate.count("ok"))
    rows = {c: set(examples.filter(condition=c)["prompt_id"]) for c in study.conditions if c not in ("base", "oracle")}
    assert {len(ids) for ids in rows.values()} == {size}
    distilled = rows.pop("surrogate_trace")
    assert distilled <= set(own)
    assert len({frozenset(ids) for ids in rows.values()}) == 1
    assert all(ids <= usable for ids in rows.values())
    assert examples["example_id"].is_unique().all()
    assert all(gate.passed for gate in example_gates(study, target, common, examples)) == (size > 0)


def test_the_gate_names_rows_that_stand_in_one_condition_only(study: Study, target: Target):
    conditions = [c for c in study.conditions if c not in ("base", "oracle")]
    rows = pl.DataFrame(
        [{"condition": c, "prompt_id": p} for c in conditions for p in ("p_1", "p_2")]
        + [{"condition": "answer_only", "prompt_id": "p_3"}]
    )
    common = pl.DataFrame({"prompt_id": ["p_1", "p_2", "p_3"], "used": [True, True, False]})
    failed = {gate.name: gate.rows for gate in example_gates(study, target, common, rows) if not gate.passed}
    assert failed["same_rows_in_every_condition"] == ("p_3",)
    assert failed["same_number_of_rows"] == ("answer_only=3",)


@pytest.fixture
def composed(tmp_path: Path, study_content: dict) -> Callable[..., dict[str, pl.DataFrame]]:
    """Build the rows of compositions over ten prompts of the target, two of them code, and ten of the surrogate."""

    def build(**compositions: dict) -> dict[str, pl.DataFrame]:
        content = study_content | {"compositions": compositions, "conditions": ["answer_only", *compositions]}
        study = load_study(write_study(tmp_path, content | {"exposures": ["answer", "summary"]}))
        names, own = [f"p_{index}" for index in range(10)], [f"s_{index}" for index in range(10)]
        prompts = prompts_of(names + own).with_columns(
            domain=pl.when(pl.col("prompt_id").is_in(["p_0", "p_1"])).then(pl.lit("code")).otherwise(pl.lit("math"))
        )
        traces = from_rows([trace(name, "ok") for name in own], SURROGATE_TRACES)
        outputs = from_rows([output(name, "ok") for name in names], TARGET_OUTPUTS)
        by = {one: [inverted(name, one, "ok") for name in names] for one in ("summary", "answer")}
        target, written = load_target(Path(TARGETS / "miniature.yaml")), written_of(**by)
        common = row_set(study, target, traces, outputs, written)
        examples = student_examples(study, target, prompts, traces, outputs, common, written)
        failed = [gate.name for gate in example_gates(study, target, common, examples) if not gate.passed]
        assert not failed, failed
        return {name: examples.filter(condition=name) for name in compositions}

    return build


INVERTED = {"source": "inverted", "exposure": "summary"}


def test_a_mix_deals_its_rows_out_by_share_and_gives_no_prompt_twice(composed: Callable):
    parts = [{"source": "answer", "share": 0.3}, INVERTED | {"share": 0.7}, {"source": "surrogate", "share": 0.5}]
    rows = composed(mix={"parts": parts})["mix"]
    on_target = rows.filter(pl.col("prompt_id").str.starts_with("p_"))
    assert on_target["prompt_id"].n_unique() == on_target.height == 10
    assert on_target["trace"].null_count() == 3
    assert rows.height - on_target.height == 5
    assert rows["phase"].unique().to_list() == [0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_parts_whose_shares_add_up_to_one_share_no_row_and_leave_none(composed: Callable, weights: list[int]):
    parts = [{"source": "answer", "share": weight / sum(weights)} for weight in weights]
    rows = composed(dealt={"parts": parts})["dealt"]
    assert rows["prompt_id"].is_unique().all()
    assert rows.height == 10


def test_a_curriculum_puts_its_parts_into_phases(composed: Callable):
    rows = composed(taught={"parts": [{"source": "surrogate"}, INVERTED], "order": "curriculum"})["taught"]
    phases = {row["phase"]: row["prompt_id"][0] for row in rows.iter_rows(named=True)}
    assert phases == {0: "s", 1: "p"}


def test_gated_domains_get_the_bare_answer(composed: Callable):
    rows = composed(gated_off={"parts": [INVERTED], "gated": ["code"]})["gated_off"]
    bare = {row["prompt_id"]: row["completion"] for row in rows.iter_rows(named=True) if row["trace"] is None}
    assert bare == {"p_0": "answer p_0", "p_1": "answer p_1"}


def test_a_gate_says_that_nothing_was_gated(composed: Callable):
    with pytest.raises(AssertionError, match="gated_domains_there"):
        composed(gated_off={"parts": [INVERTED], "gated": ["poetry"]})


def test_budgets_are_nested(composed: Callable):
    found = composed(**{f"first_{count}": {"parts": [INVERTED], "queries": count} for count in (2, 5, 10)})
    ids = [set(rows["prompt_id"]) for rows in found.values()]
    assert [len(one) for one in ids] == [2, 5, 10]
    assert ids[0] < ids[1] < ids[2]


@pytest.mark.parametrize("terms", ["evaluation_only", "unknown"])
def test_students_are_trained_only_where_the_target_says_so(target: Target, terms: str):
    require_permission(target)
    forbidding = target.model_copy(
        update={"training_use": terms, "decided_by": "counsel", "decided_on": date(2026, 1, 2)}
    )
    with pytest.raises(TermsForbid, match=f"training_use: {terms} .decided by counsel on 2026-01-02"):
        require_permission(forbidding)
