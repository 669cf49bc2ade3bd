"""The command line: exit codes, messages, JSON; and a killed run that goes on where it stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from resources.launch import instance
from tests.conftest import write_study
from tests.provider import Provider, serving
from tracepipe.home import CHECKOUT, Home
from tracepipe.study import Study

PROMPTS = CHECKOUT.parent / "shared" / "data" / "math500.jsonl"


def tracepipe(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRACEPIPE_HOME": str(home), "NO_COLOR": "1"} | variables
    return subprocess.run(
        [sys.executable, "-m", "tracepipe", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_version_and_targets_are_printed(tmp_path: Path):
    assert tracepipe(tmp_path, "version").stdout.strip() == "0.1.0"
    (target,) = json.loads(tracepipe(tmp_path, "targets", "list", "--json").stdout)
    assert (target["name"], target["training_use"]) == ("miniature", "permitted")
    checked = tracepipe(tmp_path, "targets", "check", "miniature")
    assert checked.returncode == 0
    assert "shows answer and summary" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nowhere.yaml", "--target", "miniature"), "nowhere.yaml: there is no such file"),
        (("run", "miniature", "--target", "nobody"), "no target is named 'nobody'; there are: miniature"),
        (("run", "miniature"), "give --target NAME; there are: miniature"),
        (("run", "miniature", "--target", "miniature", "--select", "nothing_here"), "nothing_here"),
        (("run", "miniature", "--select", "comparison"), "comparison belong to a target; give --target NAME"),
        (("show", "miniature"), "has no comparison yet"),
        (("targets", "check", "nobody"), "no target is named 'nobody'"),
        (("demo", "--seed", "-3"), "seed"),
        (("audit", "miniature", "--target", "nobody"), "no target is named 'nobody'"),
        (("audit", "miniature", "--target", "miniature", "--summariser", "nonsense"), "cannot be audited"),
        (("audit", "miniature", "--target", "miniature", "--endpoint", "nowhere.yaml"), "there is no such file"),
        (("audit", "miniature", "--target", "miniature", "--wording", "x"), "is what an --endpoint is asked"),
    ],
)
def test_bad_input_ends_with_code_2_and_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], words: str):
    ended = tracepipe(tmp_path, *arguments)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_show_prints_the_table_of_a_finished_run(finished: Home, tiny_study: Study, tmp_path: Path):
    study = write_study(tmp_path, yaml.safe_load(tiny_study.model_dump_json()))
    printed = tracepipe(finished.root, "show", str(study))
    assert printed.returncode == 0, printed.stderr
    assert "inverted_summary" in printed.stdout
    assert "95 % interval" in printed.stdout
    assert "no evidence for the paper" in printed.stdout
    shown = json.loads(tracepipe(finished.root, "show", str(study), "--json").stdout)
    assert {row["condition"] for row in shown["comparison"]} == set(tiny_study.conditions)
    assert {row["inverter"] for row in shown["fidelity"]} == {"trained", "zero_shot"}


@pytest.mark.skipif(not PROMPTS.exists(), reason="MATH500 is not at hand; the project ships none of it")
def test_prompts_of_a_real_file_are_materialised_alone(tmp_path: Path, study_content: dict):
    columns = {"prompt": "problem", "domain": "subject"}
    study_content["prompts"] = {"source": {"kind": "file", "path": str(PROMPTS), "columns": columns}}
    study = write_study(tmp_path, study_content)
    ended = tracepipe(tmp_path / "home", "run", str(study), "--select", "+prompts")
    assert ended.returncode == 0, ended.stderr
    assert "duplicates 0" in ended.stdout
    store = Home(tmp_path / "home").store("tiny")
    event = store.current("prompts", "all")
    assert event is not None
    assert (event.rows, event.details["duplicates"], event.details["bad rows"]) == (500, 0, 0)


def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_table(
    finished: Home, tiny_study: Study, tmp_path: Path
):
    content = yaml.safe_load(tiny_study.model_dump_json())
    study, home = write_study(tmp_path, content), Home(tmp_path / "home")
    command = [sys.executable, "-m", "tracepipe", "run", str(study), "--target", "miniature"]
    environment = os.environ | {"TRACEPIPE_HOME": str(home.root)}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    students = home.store("tiny").root / "tables" / "tiny" / "student"
    deadline = time.monotonic() + 300
    while not list(students.glob("*/miniature/current.json")):
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*.parquet")}
    trained = {path: path.stat().st_mtime_ns for path in (home.root / "checkpoints").glob("c_*/model.safetensors")}
    again = tracepipe(home.root, "run", str(study), "--target", "miniature")
    assert again.returncode == 0, again.stderr
    kept = {path: path.stat().st_mtime_ns for path in [*before, *trained]}
    assert kept == before | trained
    table = home.store("tiny").read("comparison", "miniature")
    assert table.equals(finished.store("tiny").read("comparison", "miniature"))
    with instance(home, "tiny") as opened:
        statuses = sorted(run.status.value for run in opened.get_runs())
        assert statuses == ["FAILURE", "SUCCESS"]
        assert opened.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving() as running:
        yield running


@pytest.fixture
def bought(provider: Provider, tmp_path: Path, study_content: dict) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command on a home, a study and a targets folder of its own, with the provider's key in its variable."""
    study_content["prompts"]["splits"] = {"surrogate": 16, "target": 16}
    study = write_study(tmp_path, study_content)
    folders = {"TRACEPIPE_TARGETS": str(tmp_path / "targets"), "PROVIDER_KEY": provider.key, "STUDY": str(study)}
    (tmp_path / "targets").mkdir()

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        filled = [argument.replace("STUDY", str(study)) for argument in arguments]
        return tracepipe(tmp_path / "home", *filled, **folders)

    return command


def test_a_target_is_added_checked_estimated_and_its_failed_rows_bought_again(
    provider: Provider, bought: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    options = ("--base-url", provider.url, "--key-env", "PROVIDER_KEY", "--price", "1", "10", "--budget", "1")
    added = bought("targets", "add", "lab/Model", *options)
    assert added.returncode == 0, added.stderr
    (path,) = (tmp_path / "targets").glob("*.yaml")
    name = path.stem
    assert f"next:    tracepipe targets check {name}" in added.stdout
    assert "is there already" in bought("targets", "add", "lab/Model", *options).stderr
    assert "outcome ok, shows answer and summary" in bought("targets", "check", name).stdout

    prior = json.loads(bought("estimate", "STUDY", "--target", name, "--json").stdout)
    assert (prior["rows"], prior["basis"][:5]) == (16, "prior")
    measured = bought("estimate", "STUDY", "--target", name, "--probe", "12")
    assert "4 rows to ask, 12 collected" in measured.stdout
    assert "12 answered rows" in measured.stdout

    provider.fatal = "bad key"
    stopped = bought("run", "STUDY", "--target", name, "--select", "+key:dead_letters")
    assert stopped.returncode == 1
    assert "the key in PROVIDER_KEY is refused" in stopped.stderr
    assert "12 of 16 rows are collected and kept" in stopped.stderr
    assert provider.key not in stopped.stderr + stopped.stdout
    provider.fatal = None

    provider.spoil = "cut"
    assert bought("run", "STUDY", "--target", name, "--select", "+key:dead_letters").returncode == 0
    listed = json.loads(bought("retry", "STUDY", "--target", name, "--json").stdout)
    assert [(row["outcome"], row["rows"]) for row in listed] == [("truncated", 4)]
    assert "the outcomes are: ok, truncated" in bought("retry", "STUDY", "--target", name, "--outcome", "odd").stderr
    provider.spoil = None
    again = bought("retry", "STUDY", "--target", name, "--outcome", "truncated", "--yes")
    assert again.returncode == 0, again.stderr
    assert "4 rows, at most" in again.stdout
    store = Home(tmp_path / "home").store("tiny")
    assert store.read("target_outputs", name)["outcome"].unique().to_list() == ["ok"]
    assert store.read("dead_letters", name).height == 0
    assert store.read("target_attempts", name)["cost_usd"].sum() == pytest.approx(
        sum(usd for _, prompt, usd, _ in provider.sent if prompt.startswith("problem"))
    )
