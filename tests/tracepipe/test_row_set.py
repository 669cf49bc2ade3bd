"""Every row of the target is used by all conditions or by none, and what took it is said."""

from pathlib import Path

import polars as pl
import pytest

from tests.conftest import TARGETS, write_study
from tests.tracepipe.test_students import inverted, output, trace
from tracepipe.records import INVERTED_TRACES, SELECTED_TRACES, SURROGATE_TRACES, TARGET_OUTPUTS, from_rows
from tracepipe.registry import load_target
from tracepipe.row_set import Written, conditions_for, losses, row_gates, row_set
from tracepipe.study import Study, load_study
from tracepipe.target import Target


@pytest.fixture
def target() -> Target:
    return load_target(TARGETS / "miniature.yaml")


@pytest.fixture
def selecting(tmp_path: Path, study_content: dict) -> Study:
    study_content |= {"selection": {}, "conditions": ["answer_only", "inverted_answer", "inverted_answer_selected"]}
    return load_study(write_study(tmp_path, study_content | {"exposures": ["answer"]}))


def selected(name: str, lost_to: str | None) -> dict:
    taken = {"request_key": None if lost_to else f"d_{name}", "draw": None if lost_to else 1}
    counts = {"survivors": 0 if lost_to else 1, "draws": 2, "inverted_trace": None if lost_to else "t"}
    return {"prompt_id": name, "selection": "selected", "lost_to": lost_to} | taken | counts


def test_a_row_is_lost_to_the_first_thing_that_took_it(selecting: Study, target: Target):
    names = ["a", "b", "c", "d"]
    outputs = [output("a", "ok"), output("b", "refused"), output("c", "empty_summary"), output("d", "ok")]
    traces = [inverted("a", "answer", "ok"), inverted("c", "answer", "truncated"), inverted("d", "answer", "ok")]
    chosen = [selected("a", None), selected("c", "terminates"), selected("d", "agrees")]
    written = Written(
        {"answer": from_rows(traces, INVERTED_TRACES)}, {}, {"answer": from_rows(chosen, SELECTED_TRACES)}
    )
    shown = from_rows(outputs, TARGET_OUTPUTS)
    rows = row_set(selecting, target, from_rows([], SURROGATE_TRACES), shown, written)
    assert dict(rows.select("prompt_id", "lost_to").iter_rows()) == {
        "a": None,
        "b": "target_outputs: refused",
        "c": "inverted_traces/answer: truncated",
        "d": "selected_traces/answer (selected): agrees",
    }
    assert rows.filter("used")["prompt_id"].to_list() == ["a"]
    assert sorted(rows["query"]) == [0, 1, 2, 3]
    assert dict(losses(rows).iter_rows()) == dict.fromkeys(rows["lost_to"].drop_nulls(), 1)
    assert all(gate.passed for gate in row_gates(shown, rows))
    assert not row_gates(shown, rows.filter(pl.col("prompt_id").is_in(names[:3])))[0].passed


def test_a_policy_that_shows_nothing_for_a_row_takes_it(beyond_study: Study, target: Target):
    every = {name: from_rows([inverted("a", name, "ok")], INVERTED_TRACES) for name in beyond_study.exposures}
    every["half"] = from_rows([], INVERTED_TRACES)
    chosen = selected("a", None) | {"selection": "likely"}
    written = Written(every, {"summary": every["summary"]}, {"answer": from_rows([chosen], SELECTED_TRACES)})
    traces, shown = from_rows([trace("s", "ok")], SURROGATE_TRACES), from_rows([output("a", "ok")], TARGET_OUTPUTS)
    (row,) = row_set(beyond_study, target, traces, shown, written).to_dicts()
    assert row["lost_to"] == "inverted_traces/half: nothing was shown"


def test_the_surrogates_fewer_rows_are_a_reason_too(tmp_path: Path, study_content: dict, target: Target):
    content = study_content | {"conditions": ["answer_only", "surrogate_trace"], "exposures": ["answer"]}
    study = load_study(write_study(tmp_path, content))
    shown = from_rows([output(name, "ok") for name in "abc"], TARGET_OUTPUTS)
    traces = from_rows([trace("s", "ok"), trace("t", "truncated")], SURROGATE_TRACES)
    rows = row_set(study, target, traces, shown, Written({}, {}, {}))
    assert rows["used"].sum() == 1
    assert losses(rows).to_dicts() == [{"lost_to": "surrogate_traces: the surrogate has fewer usable rows", "rows": 2}]


def test_a_condition_has_students_only_where_the_target_shows_what_it_needs(beyond_study: Study, target: Target):
    closed = target.model_copy(update={"open": False})
    silent = closed.model_copy(update={"exposes": "answer"})
    assert set(beyond_study.conditions) - set(conditions_for(beyond_study, closed)) == {"oracle", "inverted_thorough"}
    assert set(conditions_for(beyond_study, silent)) == {
        "base",
        "answer_only",
        "surrogate_trace",
        "inverted_answer",
        "inverted_answer_likely",
        "no_longer",
    }
