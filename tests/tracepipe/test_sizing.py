"""What a study takes, before anything is bought: stated assumptions, and price tags that are what is computed."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import MODELS, write_study
from tracepipe.home import CHECKOUT
from tracepipe.registry import load_target
from tracepipe.sizing import Assumptions, Sizing, Stage, parameters, price_tag
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study

EXAMPLES = CHECKOUT / "targets" / "examples"
SHIPPED = {"paper_r1": "r1", "paper_gpt5_mini": "gpt-5-mini", "single_gpu": "gpt-5-mini"}


def shipped(name: str) -> Study:
    return load_study(CHECKOUT / "studies" / f"{name}.yaml")


def stages_of(study: Study, target: str | None, assumed: Assumptions | None = None) -> dict[str, Stage]:
    found = load_target(EXAMPLES / f"{target}.yaml") if target else None
    return {one.stage: one for one in Sizing(study, found, assumed or Assumptions(), study.hardware).stages()}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_price_tag_of_a_shipped_study_is_what_is_computed(name: str):
    study = shipped(name)
    written = re.search(r"^# Price: (.*)$", (CHECKOUT / "studies" / f"{name}.yaml").read_text(), re.M)
    assert written
    assert written[1] == price_tag(list(stages_of(study, SHIPPED[name]).values()), study.hardware)


def test_the_papers_recipes_are_those_of_the_paper():
    for name in ("paper_r1", "paper_gpt5_mini"):
        study = shipped(name)
        assert (study.inverter.recipe.batch_size, study.student.recipe.batch_size) == (24, 96)
        for recipe in (study.inverter.recipe, study.student.recipe):
            assert (recipe.learning_rate, recipe.epochs, recipe.warmup, recipe.max_length) == (1e-5, 3, 0.1, 16384)
            assert recipe.lora is None
        assert (study.prompts.splits.surrogate, study.prompts.splits.target) == (10000, 10000)
        assert study.surrogate.sampling.max_new_tokens == 8192
        assert study.student.sampling.max_new_tokens == 32768
        assert study.compute.training.devices == 8
    assert {one.name: one.samples for one in shipped("paper_r1").benchmarks} == {
        "math500": 1,
        "jeebench": 3,
        "aime": 10,
        "livecodebench": 6,
    }


def test_one_engine_line_reaches_every_role_and_a_role_may_have_its_own():
    study = shipped("paper_r1")
    assert {study.surrogate.engine.kind, study.inverter.engine.kind, study.compressor.engine.kind} == {"vllm"}
    assert (study.inverter.engine.max_model_len, study.student.engine.max_model_len) == (20480, 34816)


def test_a_closed_target_bills_what_the_paper_paid():
    target = load_target(EXAMPLES / "gpt-5-mini.yaml").model_copy(update={"delivery": "live"})
    study = shipped("paper_gpt5_mini")
    (found,) = [
        one for one in Sizing(study, target, Assumptions(), study.hardware).stages() if one.stage == "target outputs"
    ]
    assert found.usd == pytest.approx(173.28, rel=0.01)


def test_stages_follow_the_study_and_the_target():
    study = shipped("paper_gpt5_mini")
    stages = stages_of(study, "gpt-5-mini")
    assert {"inverter/summary", "inverter/answer", "student/inverted_summary", "benchmark answers"} <= set(stages)
    assert not {"student/oracle", "zero-shot traces/answer"} & set(stages)
    assert "zero-shot traces/answer" in stages_of(shipped("paper_r1"), "r1")
    assert "inverter/summary" not in stages_of(study, "r1")
    assert stages["total"].gpu_hours == pytest.approx(
        sum(one.gpu_hours for name, one in stages.items() if name != "total")
    )


def test_twice_the_trace_is_about_twice_the_training():
    study = shipped("paper_r1")
    once, twice = stages_of(study, "r1"), stages_of(study, "r1", Assumptions(trace=12260))
    ratio = twice["student/oracle"].gpu_hours / once["student/oracle"].gpu_hours
    assert 1.8 < ratio < 2


def test_the_size_of_a_model_is_in_its_files_or_in_its_name():
    assert parameters("Qwen/Qwen2.5-7B-Instruct") == 7
    assert parameters("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B") == 1.5
    assert 1e-4 < parameters(str(MODELS / "base")) < 1e-3
    with pytest.raises(SpecError, match="the size of 'some/model' does not stand in its name"):
        parameters("some/model")


def test_a_study_without_sizes_says_so(tmp_path: Path):
    content = yaml.safe_load((CHECKOUT / "studies" / "single_gpu.yaml").read_text())
    del content["prompts"]["splits"]
    study = load_study(write_study(tmp_path, content))
    with pytest.raises(SpecError, match=r"prompts\.splits"):
        Sizing(study, None, Assumptions(), study.hardware)


def test_writers_of_exposures_and_judges_of_draws_have_their_price(tmp_path: Path):
    content = yaml.safe_load((CHECKOUT / "studies" / "paper_gpt5_mini.yaml").read_text())
    bare = load_study(write_study(tmp_path, content | {"name": "bare"}))
    paraphrase = {"version": "1", "template": "Say it in other words: {summary}"}
    summariser = str(EXAMPLES / "gpt-5-mini.yaml")
    content |= {"name": "audit", "exposures": [*content["exposures"], "half", "reworded", "bought"]}
    content["policies"] = {
        "half": {"kind": "shorten", "share": 0.5},
        "reworded": {"kind": "model", "model": "Qwen/Qwen2.5-7B-Instruct", "wording": paraphrase},
        "bought": {"kind": "endpoint", "file": summariser, "wording": paraphrase},
    }
    content["selection"] = {"draws": 4, "choose": "likelihood"}
    content["selections"] = {"likely": {"rules": ["terminates", "plausible"]}}
    content["conditions"] = [*content["conditions"], "inverted_half_selected", "inverted_reworded_likely"]
    study = load_study(write_study(tmp_path, content))
    stages = stages_of(study, "gpt-5-mini")
    new = {name for name in stages if name.partition("/")[0] in ("exposures", "likelihood", "plausibility")}
    assert new == {"exposures/reworded", "exposures/bought", "likelihood/half", "plausibility/reworded"}
    assert not new & set(stages_of(bare, "gpt-5-mini"))
    # 20,000 texts, half the price by the Batch API: 842 tokens read and 592 written.
    price = load_target(EXAMPLES / "gpt-5-mini.yaml").price
    assert stages["exposures/bought"].usd == pytest.approx(
        20_000 * price.batch * (842 * price.input + 592 * price.output) / 1e6
    )
    assert stages["exposures/reworded"].gpu_hours > 0
    assert 0 < stages["likelihood/half"].gpu_hours < stages["trace draws/half"].gpu_hours
    # Half a summary is 296 tokens less to learn from, of 7,372 a row.
    half, whole = stages["inverter/half"].gpu_hours, stages["inverter/summary"].gpu_hours
    assert half / whole == pytest.approx(1 - 296 / 7372)
