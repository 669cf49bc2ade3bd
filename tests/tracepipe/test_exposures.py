"""What each policy shows: of prose, by a function, a model and an endpoint; and that no trace is shown whole."""

from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TARGETS, write_study
from tests.provider import serving
from tracepipe.compute import InProcessCompute
from tracepipe.exposures import GAP, exposed, exposure_gates, headers, noise, not_exposed, shorten, withhold
from tracepipe.facts import count_facts
from tracepipe.home import Home
from tracepipe.miniature import policies as miniature
from tracepipe.registry import load_target
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study
from tracepipe.workbench import Workbench

SUMMARY = """**Setting up the equation**

I write $x^2 - 5x + 6 = 0$ and look for two numbers with product 6 and sum 5.

## Checking the roots
Both 2 and 3 work, so the sum of squares is 13.
"""


@pytest.fixture
def bench(home: Home) -> Workbench:
    return home.bench(home.store("tiny"), InProcessCompute(1), "miniature")


def rows(*texts: str) -> pl.DataFrame:
    named = [{"prompt_id": f"p{at}", "prompt": f"problem {at}", "text": text} for at, text in enumerate(texts)]
    return pl.DataFrame(named)


def with_policy(folder: Path, content: dict, **policy: object) -> Study:
    content |= {"policies": {"own": policy}, "exposures": ["answer", "own"]}
    return load_study(write_study(folder, content | {"conditions": ["base", "inverted_own"]}))


def test_headers_are_bold_lines_and_headings():
    assert headers(SUMMARY) == "**Setting up the equation**\n## Checking the roots"


def test_withholding_leaves_gaps_and_no_fact():
    shown = withhold(SUMMARY)
    assert shown.count(GAP) == 6
    assert count_facts(SUMMARY) == 6
    assert count_facts(shown) == 0
    assert "look for two numbers with product [...] and sum [...]" in shown


@given(st.text(alphabet="ab \n1", max_size=40), st.sampled_from([0.25, 0.5, 1.0]))
def test_shortening_keeps_the_first_words_and_all_of_them_at_one(text: str, share: float):
    kept, words = shorten(text, share).split(), text.split()
    assert kept == words[: len(kept)]
    assert len(kept) == -(-len(words) * share // 1)


@given(st.lists(st.integers(0, 9999), min_size=1, max_size=8))
def test_noise_at_one_changes_every_number_and_keeps_its_length(numbers: list[int]):
    text = " and ".join(map(str, numbers))
    noisy = noise(text, 1).split(" and ")
    assert noise(text, 1) == " and ".join(noisy)
    for before, after in zip(map(str, numbers), noisy, strict=True):
        assert before != after
        assert len(before) == len(after)


def test_the_miniatures_own_policies():
    assert miniature.headers("B *4 7 D *2 3") == "B D"
    assert miniature.withheld("B *4 7 D *2 3") == "B *4 D *2"
    assert miniature.paraphrased("B *4 7 D *2 3") == "D 3 *2 B 7 *4"
    assert miniature.thorough("A +1 10 B *4 7 C -1 6 D *2 1") == "B 10 *4 7 D 6 *2 1"
    shown = [miniature.noised(f"B *4 7 D *2 {value}").split() for value in range(10)]
    assert {len(one) for one in shown} == {6}
    assert 0 < sum(one[2] != "7" for one in shown) < 10


def test_a_function_is_named_by_its_key_where_it_cannot_be_used(tmp_path: Path, study_content: dict, bench: Workbench):
    study = with_policy(tmp_path, study_content, kind="function", function="builtins:len")
    with pytest.raises(SpecError, match=r"policies.own.function: 'builtins:len' returned int for row p0"):
        exposed(study, "own", rows("a b"), bench)
    study = with_policy(tmp_path, study_content, kind="function", function="no_such_module:f")
    with pytest.raises(SpecError, match=r"policies.own.function: 'no_such_module:f' cannot be imported"):
        exposed(study, "own", rows("a b"), bench)


def test_a_model_writes_what_is_shown_and_what_it_did_not_finish_is_not_used(
    tmp_path: Path, study_content: dict, bench: Workbench
):
    model = {"model": study_content["surrogate"]["model"], "wording": {"template": "problem start 1 A +1 {summary}"}}
    cut = {"temperature": 0, "max_new_tokens": 2}
    study = with_policy(tmp_path, study_content, kind="model", sampling=cut, **model)
    shown = exposed(study, "own", rows("B *4", "B *2"), bench)
    assert shown["outcome"].to_list() == ["truncated", "truncated"]
    whole = {"temperature": 0, "repetition_penalty": 1.0, "max_new_tokens": 64}
    study = with_policy(tmp_path, study_content, kind="model", sampling=whole, **model)
    shown = exposed(study, "own", rows("B *4", "B *2"), bench)
    assert shown["outcome"].to_list() == ["ok", "ok"]
    assert shown["summary"].str.contains("boxed").all()  # its answer, without its think block


def test_an_endpoint_is_asked_once_and_what_was_paid_for_is_kept(
    tmp_path: Path, study_content: dict, bench: Workbench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRACEPIPE_TEST_KEY", "good-key")
    with serving() as provider:
        about = yaml.safe_load((TARGETS / "miniature.yaml").read_text())
        for key in ("serve", "check_prompt", "reasoning", "temperature"):
            del about[key]
        about |= {"name": "summariser", "base_url": provider.url, "api_key_env": "TRACEPIPE_TEST_KEY", "open": False}
        (tmp_path / "summariser.yaml").write_text(yaml.safe_dump(about | {"exposes": "answer"}))
        wording = {"template": "Summarise: {trace}"}
        study = with_policy(tmp_path, study_content, kind="endpoint", file="summariser.yaml", wording=wording)
        given = rows("first trace", "second trace")
        shown = exposed(study, "own", given, bench)
        assert shown["outcome"].to_list() == ["ok", "ok"]
        assert set(provider.asked) == {"Summarise: first trace", "Summarise: second trace"}
        assert exposed(study, "own", given, bench).equals(shown)
        assert set(provider.asked.values()) == {1}
    journal = (bench.work / "summarisers" / "own.jsonl").read_text()
    assert "good-key" not in journal


def test_a_missing_summariser_file_is_named(tmp_path: Path, study_content: dict):
    with pytest.raises(SpecError, match=r"nowhere.yaml: there is no such file; give a target file"):
        with_policy(tmp_path, study_content, kind="endpoint", file="nowhere.yaml", wording={"template": "{trace}"})


def test_a_text_that_is_the_whole_trace_fails_its_gate():
    given = rows("A B", "C D").with_columns(whole="text")
    shown = given.select("prompt_id", summary=pl.Series(["A  B\n", "C"]))
    failed = {gate.name: gate.rows for gate in exposure_gates(given, shown) if not gate.passed}
    assert failed == {"traces_stay_hidden": ("p0",)}


def test_what_a_target_must_show_for_a_policy(beyond_study: Study):
    target = load_target(TARGETS / "miniature.yaml")
    closed = target.model_copy(update={"open": False})
    silent = closed.model_copy(update={"exposes": "answer"})
    names = ("answer", "half", "thorough")
    assert [not_exposed(beyond_study, one, closed) is None for one in names] == [True, True, False]
    assert [not_exposed(beyond_study, one, silent) is None for one in names] == [True, False, False]
