"""Conditions as data: what their names say, and what a study may compose."""

from pathlib import Path

import pytest

from tests.conftest import beyond_study_content, write_study
from tracepipe.conditions import Composition, Part, budget_of, read_name
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study


def read(name: str) -> Composition | None:
    return read_name(name, ("answer", "summary", "headers"), ("selected", "agreeing"), ("code",))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("answer_only", [Part(source="answer")]),
        ("summary_answer", [Part(source="summary")]),
        ("surrogate_trace", [Part(source="surrogate")]),
        ("oracle", [Part(source="oracle")]),
        ("inverted_headers", [Part(source="inverted", exposure="headers")]),
        ("inverted_answer_selected", [Part(source="inverted", exposure="answer", selection="selected")]),
        ("inverted_answer_agreeing", [Part(source="inverted", exposure="answer", selection="agreeing")]),
        ("zero_shot_summary", [Part(source="zero_shot", exposure="summary")]),
    ],
)
def test_a_name_says_what_a_condition_is_made_of(name: str, parts: list[Part]):
    found = read(name)
    assert found is not None
    assert list(found.parts) == parts
    assert found.whole


def test_what_stands_behind_a_name_adds_to_it():
    augmented, curriculum = read("inverted_summary_augmented"), read("inverted_summary_selected_curriculum_gated")
    assert augmented is not None
    assert [part.source for part in augmented.parts] == ["inverted", "surrogate"]
    assert augmented.order == "mixed"
    assert curriculum is not None
    assert [part.source for part in curriculum.parts] == ["surrogate", "inverted"]
    assert curriculum.order == "curriculum"
    assert curriculum.gated == ("code",)
    assert curriculum.parts[1].selection == "selected"
    swept = read("inverted_summary_at_250")
    assert swept is not None
    assert (swept.queries, swept.whole) == (250, False)
    assert budget_of("inverted_summary_at_250") == ("inverted_summary", 250)
    assert budget_of("inverted_summary") is None


@pytest.mark.parametrize("name", ["inverted_nothing", "inverted_answer_other", "answer", "zero_shot_answer_selected"])
def test_a_name_that_says_nothing_is_none(name: str):
    assert read(name) is None


def test_a_list_of_budgets_sweeps_every_inverted_condition(tmp_path: Path, study_content: dict):
    study_content["budgets"] = [16, 64]
    study = load_study(write_study(tmp_path, study_content))
    swept = [name for name in study.conditions if budget_of(name)]
    assert swept == [f"inverted_{one}_at_{count}" for one in ("answer", "summary") for count in (16, 64)]
    again = Study.model_validate(study.model_dump())
    assert again == study


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": [16, 65]}, "65 queries are more than prompts.splits.target, 64"),
        ({"conditions": ["inverted_answer_selected"]}, "'inverted_answer_selected' is none of"),
        ({"exposures": ["answer", "headers"], "conditions": ["base"]}, r"\['headers'\] are neither answer nor summary"),
        ({"policies": {"gated": {"kind": "headers"}}}, "'gated' would be read as another name"),
        ({"policies": {"x_selected": {"kind": "headers"}}}, "'x_selected' would be read as another name"),
        ({"selections": {"one": {}}}, "selections: need the block selection"),
        ({"selection": {"rules": ["agrees"]}}, "terminates cannot be switched off"),
        ({"selection": {"draws": 4, "most_draws": 2}}, "most_draws 2 is less than draws 4"),
        (
            {
                "exposures": ["answer", "half"],
                "policies": {"half": {"kind": "shorten", "share": 0.5, "learn": ["answer"]}},
            },
            "are not exposures of this study that show a text",
        ),
        (
            {"compositions": {"alone": {"parts": [{"source": "surrogate"}], "length_of": "inverted_answer"}}},
            "'inverted_answer' must be a condition of the study whose length_of is 'alone'",
        ),
        ({"compositions": {"bad": {"parts": [{"source": "inverted"}]}}}, "inverted needs one"),
        (
            {"compositions": {"bad": {"parts": [{"source": "oracle"}]}}},
            "hidden traces are for the condition oracle alone",
        ),
        (
            {"compositions": {"bad": {"parts": [{"source": "answer"}], "length_of": "base"}}},
            "needs one part alone, with traces",
        ),
        (
            {"compositions": {"bad": {"parts": [{"source": "answer", "selection": "x"}]}}},
            "nothing is selected for answer",
        ),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, study_content: dict, change: dict, words: str):
    content = study_content | {"conditions": ["base", "inverted_answer", *change.get("compositions", {})]} | change
    with pytest.raises(SpecError, match=words):
        load_study(write_study(tmp_path, content))


def test_a_policys_prompt_asks_for_one_text(tmp_path: Path, study_content: dict):
    own = {"kind": "model", "model": study_content["student"]["model"], "wording": {"template": "{trace} {summary}"}}
    with pytest.raises(SpecError, match=r"must hold \{summary\} or \{trace\}"):
        load_study(write_study(tmp_path, study_content | {"policies": {"own": own}}))
    own["wording"]["template"] = "{prompt}: {trace}"
    study = load_study(write_study(tmp_path, study_content | {"policies": {"own": own}}))
    assert study.policies["own"].origin == "trace"


def test_who_learns_from_what(tmp_path: Path):
    study = load_study(write_study(tmp_path, beyond_study_content()))
    assert study.learnt_from("reworded") == ("summary", "half")
    assert study.learnt_from("half") == ("half",)
    assert study.of_summaries == ["summary", "half", "reworded"]
    assert set(study.selections_at("answer")) == {"likely"}
    assert study.selections_at("summary") == {}
    assert study.uses_zero_shot("summary")
    assert not study.uses_zero_shot("answer")
