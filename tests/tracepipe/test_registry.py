"""Targets as files: found by partition key, added without overwriting, each with a key of its own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracepipe.registry import add_target, find_target, load_targets, name_for, survey
from tracepipe.spec import SpecError
from tracepipe.target import Target

CONTENT = {
    "name": "mine",
    "model": "lab/Model|1",
    "api": "responses",
    "base_url": "https://api.example.com/v1",
    "exposes": "answer",
    "open": False,
    "budget_usd": 5.0,
}


def test_an_added_target_is_found_by_its_name_and_by_the_date_of_a_revision(tmp_path: Path):
    path = add_target(tmp_path, CONTENT)
    target, found = find_target(tmp_path, "mine")
    assert (found, target.partition, target.training_use) == (path, "mine", "unknown")
    revision, _ = find_target(tmp_path, "mine@2026-12-01")
    assert revision.partition == "mine@2026-12-01"
    with pytest.raises(SpecError, match="behind the @ stands the date"):
        find_target(tmp_path, "mine@tomorrow")


def test_a_taken_name_is_not_overwritten_and_a_bad_file_is_not_written(tmp_path: Path):
    path = add_target(tmp_path, CONTENT)
    before = path.read_text()
    with pytest.raises(SpecError, match="is there already; edit its file"):
        add_target(tmp_path, CONTENT | {"model": "other"})
    assert path.read_text() == before
    with pytest.raises(SpecError, match=r"bad\.yaml: budget_usd"):
        add_target(tmp_path, CONTENT | {"name": "bad", "budget_usd": -1})
    assert list(tmp_path.iterdir()) == [path]


def test_a_bad_file_does_not_hide_the_good_ones(tmp_path: Path):
    add_target(tmp_path, CONTENT)
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    (tmp_path / "twin.yaml").write_text((tmp_path / "mine.yaml").read_text())
    found, problems = survey(tmp_path)
    assert list(found) == ["mine"]
    assert {path.name for path in problems} == {"bad.yaml", "twin.yaml"}
    assert find_target(tmp_path, "mine")[0].model == "lab/Model|1"
    with pytest.raises(SpecError, match="'mine' is taken by"):
        load_targets(tmp_path)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=2, max_size=6, unique=True))
def test_names_made_from_models_are_partition_keys_and_never_collide(models: list[str]):
    names = [name_for(model) for model in models]
    assert len(set(names)) == len(names)
    for name in names:
        assert Target.model_validate(CONTENT | {"name": name}).partition == name


def test_names_of_models_stay_readable():
    assert name_for("gpt-5-mini") == "gpt-5-mini"
    assert name_for("org/Model|v1").startswith("org-model-v1-")
    assert name_for("org/Model|v1") != name_for("org/model/v1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_url": "https://user:sk-secret@api.example.com/v1"}, "put the key into a variable"),
        ({"base_url": "https://api.example.com/v1?key=sk-secret"}, "put the key into a variable"),
        ({"chat_template_kwargs": {"a": 1}}, "use api: chat"),
        ({"api": "chat", "exposes": "summary"}, "say chat_reasoning: summary"),
    ],
)
def test_what_cannot_work_is_refused_and_no_secret_is_repeated(tmp_path: Path, change: dict, words: str):
    with pytest.raises(SpecError, match=words) as refused:
        add_target(tmp_path, CONTENT | change)
    assert "sk-secret" not in str(refused.value)
