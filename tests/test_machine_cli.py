"""`tracepipe doctor, envs, estimate`: what a person asks of a machine before and after things go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from resources.launch import instance
from tests.processes import alive_after
from tests.test_cli import tracepipe
from tracepipe import environments
from tracepipe.environments import build, check, interpreter, locked
from tracepipe.home import CHECKOUT, Home
from tracepipe.spec import SpecError


def findings(home: Path, *options: str) -> dict[str, dict[str, str]]:
    looked = tracepipe(home, "doctor", "--json", *options)
    assert looked.stdout, looked.stderr
    return {one["subject"]: one for one in json.loads(looked.stdout)}


def test_a_dead_run_its_pool_slot_and_half_written_files_are_found_and_repaired(tmp_path: Path):
    home = Home(tmp_path)
    program = (
        "import os, time; from pathlib import Path; import dagster as dg; from resources.launch import instance; "
        "from tracepipe.home import Home\n"
        "@dg.op\ndef nothing(): ...\n"
        "@dg.job\ndef target(): nothing()\n"
        f"with instance(Home(Path({str(tmp_path)!r})), 'tiny') as opened:\n"
        "    run = opened.create_run_for_job(target)\n"
        "    opened.report_engine_event(f'Started process for run (pid: {os.getpid()}).', run)\n"
        "    started = dg.DagsterEvent(event_type_value='PIPELINE_START', job_name='target')\n"
        "    opened.report_dagster_event(started, run.run_id)\n"
        "    opened.event_log_storage.set_concurrency_slots('gpu', 1)\n"
        "    claimed = opened.event_log_storage.claim_concurrency_slot('gpu', run.run_id, 'nothing')\n"
        "    print(run.run_id, claimed.is_claimed, flush=True)\n"
        "    time.sleep(600)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, stderr=subprocess.PIPE
    )
    assert run.stdout is not None
    line = run.stdout.readline()
    assert line, run.stderr.read() if run.stderr else ""
    run_id, claimed = line.split()
    assert claimed == "True"
    (tmp_path / "open").mkdir(exist_ok=True)
    half = tmp_path / "open" / ".table.parquet.123.tmp"
    half.write_bytes(b"half")
    alive = findings(tmp_path)
    assert alive["runs of tiny"]["state"] == "fine"
    assert alive["half-written files"]["state"] == "fine"  # a run is under way, and the file is young
    run.send_signal(signal.SIGKILL)
    run.wait()
    looked = findings(tmp_path, "--look")
    assert [looked[name]["state"] for name in ("runs of tiny", "half-written files")] == ["found", "found"]
    assert half.exists()
    repaired = findings(tmp_path)
    assert [repaired[name]["state"] for name in ("runs of tiny", "half-written files")] == ["repaired", "repaired"]
    assert not half.exists()
    with instance(home, "tiny") as opened:
        found = opened.get_run_by_id(run_id)
        assert found is not None
        assert found.status == dg.DagsterRunStatus.FAILURE
        assert opened.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
    again = findings(tmp_path)
    assert {again[name]["state"] for name in ("runs of tiny", "pools of tiny", "half-written files")} == {"fine"}


def test_a_slot_that_an_ended_run_holds_is_freed(tmp_path: Path):
    with instance(Home(tmp_path), "tiny") as opened:
        storage = opened.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        assert storage.claim_concurrency_slot("gpu", "a-run-nobody-knows", "step").is_claimed
    assert "gpu (run a-run-no)" in findings(tmp_path, "--look")["pools of tiny"]["detail"]
    assert findings(tmp_path)["pools of tiny"]["state"] == "repaired"
    with instance(Home(tmp_path), "tiny") as opened:
        assert opened.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0


def test_a_missing_tool_is_a_problem_with_a_cure(tmp_path: Path):
    bare = tmp_path / "bin"
    bare.mkdir()
    looked = tracepipe(tmp_path / "home", "doctor", PATH=str(bare))
    assert looked.returncode == 1
    assert "apt-get install bubblewrap" in looked.stdout
    assert "no nvidia-smi" in looked.stdout


def test_gpus_in_use_are_named(tmp_path: Path):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho '4711, python, 60000 MiB'\n")
    tool.chmod(0o755)
    looked = findings_with_path(tmp_path, f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    assert looked["GPUs"]["detail"] == "in use by: 4711, python, 60000 MiB"


def findings_with_path(home: Path, path: str) -> dict[str, dict[str, str]]:
    return {one["subject"]: one for one in json.loads(tracepipe(home, "doctor", "--json", PATH=path).stdout)}


@pytest.mark.parametrize("name", ["train", "vllm"])
def test_the_locks_fit_together_and_are_whole(name: str):
    pins = locked(name)
    assert (pins["torch"], pins["transformers"]) == ("2.13.0", "5.23.0")
    assert pins.get("trl", pins.get("vllm")) in ("1.16.0", "0.30.0")
    asked = [line for line in (environments.LOCKS / f"{name}.in").read_text().splitlines() if not line.startswith("#")]
    for line in asked:
        package = line.replace("<", ">").replace("=", ">").split(">")[0].split("[")[0]
        assert package in pins, package
    assert {"polars", "pydantic", "dagster-pipes", "httpx2", "tenacity"} <= set(pins)


def test_a_stack_is_built_from_its_lock_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A small lock instead of torch's: what the worker imports before it runs a step."""
    needed = [
        "annotated-types",
        "anyio",
        "certifi",
        "h11",
        "httpcore2",
        "httpx2",
        "idna",
        "polars",
        "polars-runtime-32",
        "pydantic",
        "pydantic-core",
        "pyyaml",
        "setuptools",
        "sniffio",
        "tenacity",
        "truststore",
        "typing-extensions",
        "typing-inspection",
    ]
    pins = {name: version for name, version in locked("train").items() if name in needed}
    locks = tmp_path / "locks"
    locks.mkdir()
    lines = [f"{name}=={version}\n" for name, version in pins.items()]
    (locks / "small.txt").write_text("".join(["# a comment\n", *lines]))
    monkeypatch.setattr(environments, "LOCKS", locks)
    told: list[str] = []
    python = build("small", tmp_path / "envs", told.append)
    assert str(python) == interpreter("small", tmp_path / "envs")
    assert check("small", tmp_path / "envs") == []
    assert len(told) == 2
    (locks / "small.txt").write_text("polars==0.0.1\nnothing==1.0\n")
    assert check("small", tmp_path / "envs") == [
        f"polars is {pins['polars']}, the lock says 0.0.1",
        "nothing is missing, the lock says 1.0",
    ]
    shutil.rmtree(next((tmp_path / "envs" / "small" / "lib").glob("python*")) / "site-packages" / "polars")
    assert "cannot import tracepipe.worker: ModuleNotFoundError" in check("small", tmp_path / "envs")[0]
    with pytest.raises(SpecError, match="there is no environment 'other'; there are: small"):
        build("other", tmp_path / "envs", told.append)


def test_an_environment_that_is_not_there_is_named_with_its_cure(tmp_path: Path):
    ended = tracepipe(tmp_path, "envs", "check", "train")
    assert ended.returncode == 2
    assert "build it: tracepipe envs build train" in ended.stderr


def test_a_study_is_priced_by_stage_without_reading_its_prompts(tmp_path: Path):
    examples = str(CHECKOUT / "targets" / "examples")
    command = ("estimate", "paper_gpt5_mini", "--target", "gpt-5-mini", "--rough")
    printed = tracepipe(tmp_path, *command, TRACEPIPE_TARGETS=examples)
    assert printed.returncode == 0, printed.stderr
    for words in ("inverter/summary", "GPU-hours", "disk GiB", "assumed", "trace 6130", "8 x h100"):
        assert words in printed.stdout
    sized = json.loads(tracepipe(tmp_path, *command, "--json", TRACEPIPE_TARGETS=examples).stdout)
    assert sized["stages"][-1]["stage"] == "total"
    halved = tracepipe(tmp_path, *command, "--assume", "trace=3000", "--json", TRACEPIPE_TARGETS=examples)
    assert json.loads(halved.stdout)["stages"][-1]["usd"] < sized["stages"][-1]["usd"]
    for wrong, words in (("trace=much", "is not NAME=NUMBER"), ("length=3", "there is no 'length'; there are: answer")):
        ended = tracepipe(tmp_path, *command, "--assume", wrong, TRACEPIPE_TARGETS=examples)
        assert (ended.returncode, words in ended.stderr) == (2, True)


def test_an_audit_says_what_its_ladder_takes_and_runs_nothing(tmp_path: Path):
    examples = str(CHECKOUT / "targets" / "examples")
    command = ("audit", "paper_gpt5_mini", "--target", "gpt-5-mini", "--rough", "--json")
    printed = tracepipe(tmp_path / "home", *command, TRACEPIPE_TARGETS=examples)
    assert printed.returncode == 0, printed.stderr
    stages = {one["stage"] for one in json.loads(printed.stdout)["stages"]}
    assert {"inverter/short_25", "exposures/paraphrased", "student/inverted_noised", "total"} <= stages
    assert not (tmp_path / "home").exists()


def test_a_tethered_process_ends_with_its_parent(tmp_path: Path):
    program = (
        "import subprocess, sys, time; from pathlib import Path; from tracepipe.tether import tethered; "
        "child = subprocess.Popen(tethered([sys.executable, '-c', "
        "'import os, time; print(os.getpid(), flush=True); time.sleep(600)'], "
        f"Path({str(tmp_path / 'log')!r}))); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT)
    deadline = time.monotonic() + 30
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = psutil.Process(int((tmp_path / "log").read_text()))
    parent.kill()
    parent.wait()
    assert alive_after([child], 30) == []
