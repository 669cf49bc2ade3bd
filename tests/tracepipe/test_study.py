"""Study and target files: what is refused, and how the message helps."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import TARGETS, write_study
from tracepipe.home import CHECKOUT
from tracepipe.prompts.build import build_items
from tracepipe.registry import find_target, load_target, load_targets
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study
from tracepipe.target import Target
from tracepipe.wording import inverter_wording


@pytest.fixture
def target_content() -> dict:
    return yaml.safe_load((TARGETS / "miniature.yaml").read_text())


def write_target(folder: Path, content: dict, name: str = "target") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("path", sorted((CHECKOUT / "studies").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_study_is_valid(path: Path):
    assert load_study(path).name == path.stem


def test_an_unknown_key_is_refused_with_file_key_and_what_is_allowed(tmp_path: Path, study_content: dict):
    study_content["student"]["recipe"]["learning_rat"] = 1
    path = write_study(tmp_path, study_content)
    with pytest.raises(SpecError) as error:
        load_study(path)
    assert str(path) in str(error.value)
    assert "student.recipe.learning_rat" in str(error.value)
    assert "learning_rate" in str(error.value)
    assert "epochs" in str(error.value)


def test_an_unknown_key_inside_a_tagged_choice_names_the_keys_of_that_choice(tmp_path: Path, study_content: dict):
    study_content["prompts"]["source"] = {"kind": "miniature", "pth": "x"}
    with pytest.raises(SpecError, match="pth"):
        load_study(write_study(tmp_path, study_content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conditions": ["inverted_summary"], "exposures": ["answer"]}, "needs the exposure 'summary'"),
        ({"conditions": ["base", "base"]}, "each may stand once"),
        ({"conditions": ["bass"]}, "'bass' is none of base, answer_only"),
        ({"seed": -1}, "seed"),
        ({"name": "With Spaces"}, "name"),
        ({"benchmarks": []}, "benchmarks"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, study_content: dict, change: dict, words: str):
    path = write_study(tmp_path, study_content | {"name": "tiny"})
    path.write_text(yaml.safe_dump(study_content | change))
    with pytest.raises(SpecError, match=words):
        load_study(path)


@pytest.mark.parametrize(
    ("thinking", "conditions", "words"),
    [
        (True, ["base"], "thinking on, base stands beside base_thinking_off, got none"),
        (
            False,
            ["base", "base_thinking_off"],
            "thinking off, base stands beside base_thinking_on, got base_thinking_off",
        ),
        (
            None,
            ["base", "base_thinking_on"],
            "thinking not set, base stands beside no other render, got base_thinking_on",
        ),
    ],
)
def test_a_base_that_can_think_is_measured_both_ways_or_not_at_all(
    tmp_path: Path, study_content: dict, thinking: bool | None, conditions: list[str], words: str
):
    study_content["student"]["thinking"] = thinking
    with pytest.raises(SpecError, match=words):
        load_study(write_study(tmp_path, study_content | {"conditions": conditions}))


def test_an_engine_is_one_line_for_all_roles_or_one_for_a_role(tmp_path: Path, study_content: dict):
    study_content["engine"] = "vllm"
    study_content["surrogate"]["engine"] = {"kind": "vllm_server", "url": "http://127.0.0.1:8000/v1"}
    study = load_study(write_study(tmp_path, study_content))
    assert [role.engine.kind for role in (study.surrogate, study.inverter, study.student)] == [
        "vllm_server",
        "vllm",
        "vllm",
    ]
    study_content["engine"] = "sglang"
    with pytest.raises(SpecError, match="'transformers', 'vllm', 'vllm_server', 'ray_data'"):
        load_study(write_study(tmp_path, study_content))
    study_content["engine"] = {"kind": "vllm_server", "api_key_env": "TRACEPIPE_NO_SUCH_KEY"}
    with pytest.raises(SpecError, match=r"TRACEPIPE_NO_SUCH_KEY \(api_key_env\) is not set"):
        load_study(write_study(tmp_path, study_content))


def test_what_runs_where_decides_no_row(tmp_path: Path, study_content: dict):
    from tracepipe.engines.generation import Asking
    from tracepipe.engines.settings import Sampling, TransformersEngine, VllmEngine, VllmServer

    one = Asking(TransformersEngine(slots=1), Sampling()).key("w", "prompt", 0)
    assert Asking(TransformersEngine(slots=9, replicas=3, chunk_rows=7), Sampling()).key("w", "prompt", 0) == one
    assert Asking(VllmServer(), Sampling()).key("w", "prompt", 0) == Asking(VllmEngine(), Sampling()).key(
        "w", "prompt", 0
    )
    others = [
        Asking(TransformersEngine(dtype="bfloat16"), Sampling()),
        Asking(VllmEngine(), Sampling()),
        Asking(VllmEngine(quantization="fp8"), Sampling()),
        Asking(VllmServer(url="http://127.0.0.1/v1"), Sampling()),
        Asking(TransformersEngine(), Sampling(), thinking=True),
        Asking(TransformersEngine(), Sampling(top_k=5)),
    ]
    assert len({one, *(other.key("w", "prompt", 0) for other in others)}) == 7


def test_a_missing_file_and_a_file_that_is_no_yaml_are_named(tmp_path: Path):
    with pytest.raises(SpecError, match="there is no such file"):
        load_study(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,")
    with pytest.raises(SpecError, match="cannot be read as YAML"):
        load_study(broken)


def test_a_model_folder_without_a_checkpoint_is_refused(tmp_path: Path, study_content: dict):
    study_content["surrogate"]["model"] = "./nowhere"
    with pytest.raises(SpecError, match=r"surrogate\.model.*holds no checkpoint"):
        load_study(write_study(tmp_path, study_content))


def test_seeds_differ_by_purpose_and_by_study_seed(study: Study):
    other = study.model_copy(update={"seed": 1})
    seeds = [one.derived_seed(purpose) for one in (study, other) for purpose in ("surrogate", "splits")]
    assert len(set(seeds)) == 4
    assert study.derived_seed("splits") == seeds[1]


def test_a_template_must_hold_exactly_what_its_exposure_shows(study: Study):
    wording = dict(study.inverter.wording)
    leaking = {"answer": wording["answer"].model_copy(update={"template": "{prompt} {summary} {answer}"})}
    with pytest.raises(SpecError, match=r"must hold exactly \{answer\}, \{prompt\}"):
        inverter_wording(leaking, "answer")


def test_a_decision_about_training_needs_a_name_and_a_date(tmp_path: Path, target_content: dict):
    del target_content["decided_by"]
    with pytest.raises(SpecError, match="decided_by and decided_on"):
        load_target(write_target(tmp_path, target_content))


def test_training_use_is_unknown_until_somebody_decides(target_content: dict):
    undecided = {
        key: value for key, value in target_content.items() if key not in ("training_use", "decided_by", "decided_on")
    }
    assert Target.model_validate(undecided).training_use == "unknown"


def test_a_target_may_not_be_named_like_the_place_of_the_studys_own_tables(tmp_path: Path, target_content: dict):
    path = tmp_path / "target.yaml"
    path.write_text(yaml.safe_dump(target_content | {"name": "all"}))
    with pytest.raises(SpecError, match=r"name: .*'all' is where the study's own tables lie; give another name"):
        load_target(path)


def test_two_files_may_not_claim_one_name(tmp_path: Path, target_content: dict):
    write_target(tmp_path, target_content, "one")
    write_target(tmp_path, target_content, "two")
    with pytest.raises(SpecError, match=r"two\.yaml.*'miniature' is taken by .*one\.yaml"):
        load_targets(tmp_path)


def test_an_unknown_target_is_answered_with_the_known_ones():
    with pytest.raises(SpecError, match="there are: miniature"):
        find_target(TARGETS, "nobody")


def test_a_known_benchmark_is_named_for_its_kind_and_reads_a_file_or_the_hub(tmp_path: Path, study_content: dict):
    items = tmp_path / "items.jsonl"
    items.write_text('{"unique_id": "a/1", "problem": "What is 1 + 1?", "answer": "2"}\n')
    study_content["benchmarks"] = [{"kind": "math500", "path": "items.jsonl", "samples": 4}, {"kind": "jeebench"}]
    study = load_study(write_study(tmp_path, study_content))
    assert [(one.name, one.samples) for one in study.benchmarks] == [("math500", 4), ("jeebench", 1)]
    only = study.model_copy(update={"benchmarks": study.benchmarks[:1]})
    (row,) = build_items(only).to_dicts()
    assert (row["key"], row["problem"], row["gold"], row["licence"]) == ("a/1", "What is 1 + 1?", "2", "MIT")
    assert row["prompt"].startswith("What is 1 + 1?")
    assert "\\boxed{}" in row["prompt"]
    study_content["benchmarks"] = [{"kind": "math500", "path": "nowhere.jsonl"}]
    with pytest.raises(SpecError, match=r"benchmarks.0.math500.path: .*nowhere.jsonl: there is no such file"):
        load_study(write_study(tmp_path, study_content))
