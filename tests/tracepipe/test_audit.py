"""Levels of exposure: the standard ladder, the curve's ends, and what stands beside it."""

from pathlib import Path

import polars as pl
import pytest

from tests.conftest import write_study
from tracepipe.audit import FULL, NONE, OWN, audited, leakage, levels_of
from tracepipe.home import CHECKOUT
from tracepipe.records import COMPARISON, conform
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study


def test_a_study_without_levels_is_audited_on_the_standard_ladder():
    study = audited(load_study(CHECKOUT / "studies" / "paper_r1.yaml"))
    assert study.name == "paper_r1-audit"
    levels = ["answer", "headers", "withheld", "short_25", "short_50", "noised", "paraphrased", "summary"]
    assert list(study.exposures) == levels
    assert list(levels_of(study)) == [NONE, *levels, FULL, "untrained", "surrogate"]
    paraphrase = study.policies["paraphrased"]
    assert paraphrase.model == study.compressor.model
    assert paraphrase.engine == study.compressor.engine


def test_a_ladder_of_the_studys_own_is_kept_and_a_summariser_is_one_level_more(beyond_study: Study):
    assert audited(beyond_study) == beyond_study
    own = {"kind": "function", "function": "tracepipe.miniature.policies:thorough", "of": "trace"}
    study = audited(beyond_study, own)
    assert study.name == "beyond-own"
    assert study.exposures == (*beyond_study.exposures, OWN)
    assert f"inverted_{OWN}" in study.conditions
    with pytest.raises(SpecError, match="study 'beyond' cannot be audited"):
        audited(beyond_study, {"kind": "function", "function": "not a function"})


def test_a_selected_exposure_is_a_level_of_its_own(tmp_path: Path, study_content: dict):
    study_content |= {"selection": {}, "exposures": ["answer"]}
    study_content["conditions"] = ["answer_only", "inverted_answer", "inverted_answer_selected"]
    study = load_study(write_study(tmp_path, study_content))
    assert levels_of(study) == {
        NONE: "answer_only",
        "answer": "inverted_answer",
        "answer_selected": "inverted_answer_selected",
    }
    accuracies = {"answer_only": 10.0, "inverted_answer": 20.0, "inverted_answer_selected": 40.0}
    found = leakage(study, compared(accuracies), {}, pl.Series(dtype=pl.String), {}).to_dicts()[-1]
    assert (found["level"], found["tokens"], found["accuracy"]) == ("answer_selected", 0, 40)
    assert found["describe"].endswith("of several draws, the selected one")


def compared(accuracies: dict[str, float]) -> pl.DataFrame:
    rows = [
        {"benchmark": "b", "condition": name, "accuracy": value, "low": value - 5, "high": value + 5}
        for name, value in accuracies.items()
    ]
    blank = {name: pl.lit(0, dtype=column.dtype) for name, column in COMPARISON.items() if name not in rows[0]}
    return conform(pl.DataFrame(rows).with_columns(**blank), COMPARISON)


def test_the_curve_goes_from_answers_alone_to_the_full_trace(tmp_path: Path, study_content: dict):
    study = load_study(write_study(tmp_path, study_content))
    accuracies = {"answer_only": 10.0, "inverted_answer": 20.0, "inverted_summary": 60.0, "oracle": 90.0, "base": 5.0}
    shown = {"summary": pl.Series(["A *4 7", "B *2 3 C *2 6"])}
    traces = pl.Series(["A *4 7", "B *2 3 C *2 6 D +1 7"])
    found = {row["level"]: row for row in leakage(study, compared(accuracies), shown, traces, {}).iter_rows(named=True)}
    assert list(found) == [NONE, "summary", "answer", FULL, "untrained"]
    assert [found[level]["tokens"] for level in found] == [0, 4.5, 0, 6, None]
    assert found["summary"]["facts"] == 3
    assert [found[level]["recovered"] for level in (NONE, "answer", "summary", FULL)] == [0, 12.5, 62.5, 100]
    assert [found[level]["fidelity"] for level in (NONE, "summary", FULL)] == [None, None, 100]


def test_without_ends_that_are_apart_nothing_is_recovered(tmp_path: Path, study_content: dict):
    study = load_study(write_study(tmp_path, study_content))
    found = leakage(study, compared({"answer_only": 10.0, "inverted_answer": 20.0}), {}, pl.Series(dtype=pl.String), {})
    assert found["recovered"].null_count() == found.height == 2
    ends = leakage(study, compared({"answer_only": 10.0, "oracle": 20.0}), {}, pl.Series(dtype=pl.String), {})
    assert ends["recovered"].to_list() == [None, None]
