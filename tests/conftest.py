"""A study small enough for a test, a home of its own, and one whole run that many tests look at."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tracepipe.home import CHECKOUT, Home
from tracepipe.study import Study, load_study

# A property holds or not; how long one example takes depends on what else the machine does.
settings.register_profile("tracepipe", deadline=None)
settings.load_profile("tracepipe")

MODELS = CHECKOUT / "tracepipe" / "miniature" / "models"
TARGETS = CHECKOUT / "targets"
SHARED = CHECKOUT.parent / "shared" / "data"


def tiny_study_content() -> dict:
    """The miniature study at a size that runs in half a minute."""
    content = yaml.safe_load((CHECKOUT / "studies" / "miniature.yaml").read_text())
    content["name"] = "tiny"
    content["prompts"]["splits"] = {"surrogate": 64, "target": 64}
    for role in ("inverter", "student"):
        content[role]["recipe"]["max_steps"] = 30
    content["student"]["seeds"] = [0, 1]
    for benchmark in content["benchmarks"]:
        benchmark["items"] = 24
    content["benchmarks"][1]["samples"] = 2
    content["compute"] = {"processes": 0}
    for role in ("surrogate", "inverter", "student"):
        content[role]["model"] = str((CHECKOUT / "studies" / content[role]["model"]).resolve())
    return content


def write_study(folder: Path, content: dict) -> Path:
    """Write a study file and return its path."""
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def beyond_study_content() -> dict:
    """A tiny study of what goes beyond the paper: selections, policies, compositions, budgets, lengths matched."""
    content = tiny_study_content()
    content |= {"name": "beyond", "exposures": ["answer", "summary", "half", "reworded", "thorough"]}
    content["student"]["seeds"] = [0]
    content["benchmarks"] = content["benchmarks"][:1]
    functions = "tracepipe.miniature.policies"
    content["policies"] = {
        "half": {"kind": "shorten", "share": 0.5, "describe": "the first half"},
        "reworded": {"kind": "function", "function": f"{functions}:paraphrased", "learn": ["summary", "half"]},
        "thorough": {"kind": "function", "function": f"{functions}:thorough", "of": "trace"},
    }
    content["selection"] = {"draws": 2, "most_draws": 3, "choose": "plausibility"}
    content["selections"] = {"likely": {"rules": ["terminates", "plausible"], "choose": "likelihood"}}
    content["conditions"] = [
        "base",
        "answer_only",
        "surrogate_trace",
        "inverted_answer",
        "inverted_answer_likely",
        "inverted_summary",
        "inverted_half",
        "inverted_reworded",
        "inverted_thorough",
        "zero_shot_summary",
        "inverted_summary_augmented",
        "inverted_summary_curriculum",
        "as_long",
        "no_longer",
        "half_and_half",
        "oracle",
    ]
    content["compositions"] = {
        "as_long": {"parts": [{"source": "inverted", "exposure": "summary"}], "length_of": "no_longer"},
        "no_longer": {"parts": [{"source": "surrogate"}], "length_of": "as_long"},
        "half_and_half": {
            "parts": [{"source": "answer", "share": 0.5}, {"source": "inverted", "exposure": "half", "share": 0.5}]
        },
    }
    content["budgets"] = {"queries": [16, 32], "conditions": ["inverted_summary"]}
    return content


@pytest.fixture(scope="session")
def beyond_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study(write_study(tmp_path_factory.mktemp("study"), beyond_study_content()))


@pytest.fixture
def study_content() -> dict:
    return tiny_study_content()


@pytest.fixture
def study(tmp_path: Path, study_content: dict) -> Study:
    return load_study(write_study(tmp_path, study_content))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study(write_study(tmp_path_factory.mktemp("study"), tiny_study_content()))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_study: Study) -> Home:
    """A home in which the tiny study has run once, from prompts to report."""
    from tracepipe.definitions import run_study

    home = Home(tmp_path_factory.mktemp("finished"))
    outcome = run_study(tiny_study, home, TARGETS, "miniature", None)
    assert outcome.failures == ()
    return home
