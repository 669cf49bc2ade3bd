"""Model steps somewhere else: the same rows, whoever runs them, and nothing that outlives its parent."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from resources.cluster import pod_spec, task_parameters
from resources.subprocesses import Gpus
from tests.conftest import TARGETS, write_study
from tests.processes import alive_after
from tracepipe.definitions import run_study
from tracepipe.home import Home
from tracepipe.placement import Ecs, Kubernetes, Training
from tracepipe.steps import TemplatedRole, TemplateSpec, TrainSpec, arrived, travelling
from tracepipe.study import Study, load_study
from tracepipe.training.recipe import Recipe

PART = "+key:inverted_traces/summary"
"""Templates, generation, rendering, training and inversion: every kind of step."""
LOOK = "+key:chat_templates"

MADE = ("surrogate_traces", "inverter_examples", "inverter/summary")


def variant(tmp_path: Path, content: dict, compute: dict) -> Study:
    return load_study(write_study(tmp_path, content | {"compute": compute}))


def same_rows(home: Home, finished: Home, *names: str) -> None:
    """What was made elsewhere is, to the last digit, what the whole run made in its own process."""
    for name in names or (*MADE, "inverted_traces/summary"):
        partition = "miniature" if name.startswith("inverted") else "all"
        assert home.store("tiny").read(name, partition).equals(finished.store("tiny").read(name, partition)), name


def test_steps_in_processes_of_their_own_make_the_same_rows(
    home: Home, finished: Home, tmp_path: Path, study_content: dict
):
    compute = {"kind": "subprocess", "processes": 2, "interpreters": {"train": sys.executable}}
    study = variant(tmp_path, study_content, compute)
    assert run_study(study, home, TARGETS, "miniature", PART).failures == ()
    same_rows(home, finished)
    event = home.store("tiny").current("surrogate_traces", "all")
    assert event is not None
    assert event.details["steps: rows"] == 64
    assert "up to 2 processes" in event.ran_on
    logs = list(home.logs.rglob("*.log"))
    assert len(logs) >= 5


def test_a_step_that_fails_says_which_and_shows_its_last_words(home: Home, tmp_path: Path, study_content: dict):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no CUDA here' >&2\nexit 3\n")
    broken.chmod(0o755)
    compute = {"kind": "subprocess", "interpreters": {"train": str(broken)}}
    (failure,) = run_study(variant(tmp_path, study_content, compute), home, TARGETS, None, LOOK).failures
    assert failure.asset == "chat_templates"
    assert "chat templates: External execution process failed with code 3" in failure.message
    assert "no CUDA here" in failure.message


def test_an_environment_that_was_not_built_is_named(home: Home, tmp_path: Path, study_content: dict):
    compute = {"kind": "subprocess", "interpreters": {"train": "train"}}
    (failure,) = run_study(variant(tmp_path, study_content, compute), home, TARGETS, None, LOOK).failures
    assert "build it: tracepipe envs build train" in failure.message


def test_a_killed_run_leaves_no_process_behind(tmp_path: Path, study_content: dict):
    study_content["student"]["recipe"]["max_steps"] = study_content["inverter"]["recipe"]["max_steps"] = 5000
    write_study(tmp_path, study_content | {"compute": {"kind": "subprocess", "processes": 2}})
    program = (
        "import sys; from pathlib import Path; from tracepipe.definitions import purge_target, run_study; "
        "from tracepipe.home import Home; from tracepipe.study import load_study; "
        f"run_study(load_study(Path({str(tmp_path / 'tiny.yaml')!r})), Home(Path({str(tmp_path / 'home')!r})), "
        f"Path({str(TARGETS)!r}), 'miniature', '+key:inverter/*')"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parent = psutil.Process(run.pid)
    deadline = time.monotonic() + 120
    while not (workers := [one for one in parent.children(recursive=True) if training(one)]):
        assert time.monotonic() < deadline, "no training was begun"
        assert run.poll() is None
        time.sleep(0.1)
    everything = parent.children(recursive=True)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert workers
    assert alive_after(everything, 30) == []


def training(process: psutil.Process) -> bool:
    """Whether a process is a worker that has begun to train: its state is on disk."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    if "tracepipe.worker" not in command:
        return False
    spec = json.loads(Path(command[command.index("tracepipe.worker") + 1]).read_text())
    return spec["kind"] == "train"


def test_gpus_are_shared_out_and_given_back():
    gpus = Gpus(["0", "1", "2"])
    with gpus.take(2) as two, gpus.take(1) as one:
        assert sorted((*two, *one)) == ["0", "1", "2"]
    with gpus.take(3) as three:
        assert len(three) == 3
    with pytest.raises(RuntimeError, match="a step uses 4 GPUs and this machine has 3"), gpus.take(4):
        pass
    with Gpus([]).take(2) as none:
        assert none == ()


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A Ray cluster of this machine."""
    from tracepipe.serving import free_port

    ray = str(Path(sys.executable).with_name("ray"))
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    port, dashboard = free_port(), free_port()
    start = f"{ray} start --head --port {port} --dashboard-port {dashboard} --num-cpus 2 --disable-usage-stats"
    subprocess.run(shlex.split(start), env=environment, check=True, capture_output=True)
    yield f"http://127.0.0.1:{dashboard}"
    subprocess.run([ray, "stop", "--force"], env=environment, check=True, capture_output=True)


def test_steps_on_a_ray_cluster_make_the_same_rows(
    home: Home, finished: Home, tmp_path: Path, study_content: dict, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    compute = {"kind": "ray", "address": ray_cluster, "gpu_pool": False, "interpreters": {"train": sys.executable}}
    # One thread per step, as in the run it is compared with: Ray leaves a job the CPUs that it reserved.
    compute["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    study = variant(tmp_path, study_content, compute)
    assert run_study(study, home, TARGETS, "miniature", "+key:inverter/summary").failures == ()
    same_rows(home, finished, *MADE)


def training_spec(devices: int) -> TrainSpec:
    return TrainSpec(
        label="train", role="student/oracle", base="Qwen/Qwen2.5-7B-Instruct", base_weights="hub", examples="/home/e",
        dataset_hash="d", recipe=Recipe(), seed=0, thinking=None, code_version="1", checkpoints="/home/checkpoints",
        training=Training(devices=devices, strategy="fsdp2"),
    )  # fmt: skip


def test_what_is_asked_of_ecs():
    settings = Ecs(
        kind="ecs", task_definition="worker:3", cluster="gpu", subnets=("subnet-1",), security_groups=("sg-1",)
    )
    asked = task_parameters(settings, training_spec(8), "s3://bucket/specs/1.json")
    (container,) = asked["overrides"]["containerOverrides"]
    assert container["resourceRequirements"] == [{"type": "GPU", "value": "8"}]
    assert container["command"][:3] == ["python", "-m", "accelerate.commands.launch"]
    assert container["command"][-1] == "s3://bucket/specs/1.json"
    assert (asked["cluster"], asked["launchType"], asked["taskDefinition"]) == ("gpu", "EC2", "worker:3")
    assert asked["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == ["subnet-1"]
    looking = TemplateSpec(label="look", roles=(), sample="s", output="/home/o")
    (container,) = task_parameters(settings, looking, "s3://x")["overrides"]["containerOverrides"]
    assert "resourceRequirements" not in container


def test_what_is_asked_of_kubernetes():
    settings = Kubernetes(kind="kubernetes", image="i", secret="keys", pod_spec={"nodeSelector": {"gpu": "h100"}})
    asked = pod_spec(settings, training_spec(8))
    assert asked["containers"] == [
        {
            "name": "worker",
            "resources": {"limits": {"nvidia.com/gpu": "8"}},
            "envFrom": [{"secretRef": {"name": "keys"}}],
        }
    ]
    assert asked["nodeSelector"] == {"gpu": "h100"}
    from dagster_k8s.pipes import build_pod_body

    body = build_pod_body(pod_name="p", image="i", command=["c"], env_vars={}, base_pod_meta=None, base_pod_spec=asked)
    assert body.spec.node_selector == {"gpu": "h100"}


def test_a_step_travels_between_homes(tmp_path: Path):
    role = TemplatedRole(role="student", model=str(tmp_path / "one" / "m"), thinking=None, max_length=5)
    spec = TemplateSpec(
        label="look", roles=(role,), sample=str(tmp_path / "oneself"), output=str(tmp_path / "one" / "o")
    )
    there = arrived(travelling(spec, tmp_path / "one"), tmp_path / "two")
    assert isinstance(there, TemplateSpec)
    assert (there.output, there.roles[0].model) == (str(tmp_path / "two" / "o"), str(tmp_path / "two" / "m"))
    assert there.sample == spec.sample


def test_several_devices_need_processes_of_their_own(tmp_path: Path, study_content: dict):
    from tracepipe.spec import SpecError

    study_content["compute"] = {"processes": 2, "training": {"devices": 2}}
    with pytest.raises(SpecError, match=r"training\.devices above 1 starts processes of their own"):
        load_study(write_study(tmp_path, study_content))
    study_content["compute"]["kind"] = "gpu"
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(study_content))
    with pytest.raises(SpecError, match="compute"):
        load_study(path)
