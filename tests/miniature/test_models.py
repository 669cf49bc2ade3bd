"""The given models as shipped, their rebuild at reduced size, and the target's server."""

import json
import socket
import urllib.request
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.conftest import MODELS, TARGETS
from tracepipe.engines.base import body_of
from tracepipe.journal import Journal
from tracepipe.miniature.build import BuildSize, build, measure
from tracepipe.miniature.world import Problem, solve
from tracepipe.registry import load_target
from tracepipe.serving import ServingError, reachable
from tracepipe.target import Target

PROBLEM = Problem(1, ("-2", "+1", "*4"))


def test_the_shipped_models_have_the_skills_that_the_world_rests_on():
    torch.set_num_threads(1)
    base, target, surrogate = (measure(MODELS / name) for name in ("base", "target", "surrogate"))
    assert base["easy_steps"] > 0.97
    assert base["reads_notes"] > 0.97
    assert base["in_distribution"] < 0.2
    assert target["in_distribution"] > 0.97
    assert 0.4 < surrogate["in_distribution"] < 0.8


@pytest.mark.parametrize("name", ["base", "target", "surrogate"])
def test_a_shipped_model_is_small_safetensors_with_a_card(name: str):
    files = {path.name: path.stat().st_size for path in (MODELS / name).iterdir()}
    assert files["model.safetensors"] < 600_000
    assert not [file for file in files if file.endswith((".bin", ".pt", ".py"))]
    assert "tracepipe miniature build" in (MODELS / name / "README.md").read_text()
    assert AutoModelForCausalLM.from_pretrained(MODELS / name).config.model_type == "qwen3"


def test_a_rebuild_at_reduced_size_is_reproducible_and_learns(tmp_path: Path):
    torch.set_num_threads(1)
    size = BuildSize(
        base_steps=60, target_steps=20, surrogate_steps=20, target_problems=200, surrogate_problems=100, probes=20
    )
    measured = [build(tmp_path / name, seed=0, size=size) for name in ("one", "two")]
    assert measured[0] == measured[1]
    weights = [(tmp_path / name / "base" / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert (tmp_path / "one" / "base" / "model.safetensors").read_bytes() != (
        MODELS / "base" / "model.safetensors"
    ).read_bytes()
    assert 'base_steps": 60' in (tmp_path / "one" / "target" / "README.md").read_text()


@pytest.fixture
def target() -> Target:
    return load_target(TARGETS / "miniature.yaml")


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read())


def test_the_server_shows_answer_and_summary_counts_its_reasoning_and_hides_the_trace(target: Target, tmp_path: Path):
    solution = solve(PROBLEM)
    with reachable(target, TARGETS, tmp_path / "traces.jsonl") as base_url:
        response = post(f"{base_url}/responses", body_of(target, f"problem {PROBLEM.text}"))
    reasoning, message = response["output"]
    assert message["content"][0]["text"] == solution.answer
    assert [part["text"] for part in reasoning["summary"]] == [solution.summary]
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == len(solution.trace.split())
    assert solution.trace not in json.dumps(response)
    logged = list(Journal(tmp_path / "traces.jsonl").entries())
    assert logged == [{"response_id": response["id"], "trace": solution.trace}]


def test_the_server_shows_no_summary_where_none_is_asked_for_and_says_when_it_was_cut(target: Target, tmp_path: Path):
    body = body_of(target.model_copy(update={"reasoning": None}), f"problem {PROBLEM.text}")
    with reachable(target, TARGETS, tmp_path / "traces.jsonl") as base_url:
        whole = post(f"{base_url}/responses", body)
        cut = post(f"{base_url}/responses", body | {"max_output_tokens": 3})
    assert whole["output"][0]["summary"] == []
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_the_server_is_gone_when_it_is_no_longer_needed(target: Target, tmp_path: Path):
    with reachable(target, TARGETS, tmp_path / "traces.jsonl") as base_url:
        port = int(base_url.split(":")[2].split("/")[0])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_that_does_not_start_is_an_error_with_its_last_words(target: Target, tmp_path: Path):
    assert target.serve is not None
    broken = target.serve.model_copy(update={"command": ("{python}", "-c", "raise SystemExit('no such model')")})
    with (
        pytest.raises(ServingError, match="'miniature': its server ended with status 1:\nno such model"),
        reachable(target.model_copy(update={"serve": broken}), TARGETS, tmp_path / "traces.jsonl"),
    ):
        pass
