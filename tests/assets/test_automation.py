"""The sensor and the schedule under a live daemon: a file becomes a table, then a revision; no key is written."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest
import yaml

from tests.conftest import write_study
from tests.processes import alive_after
from tests.provider import Provider, serving
from tracepipe.definitions import build_definitions, prepare_dagster_home
from tracepipe.home import CHECKOUT, Home
from tracepipe.study import load_study

KEY = "sk-planted-4f81c0d2"
VARIABLE = "TRACEPIPE_TEST_KEY"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving(key=KEY) as running:
        yield running


@pytest.fixture
def small_study(tmp_path: Path, study_content: dict) -> Path:
    """Answers alone and no student, since the miniature has no words for these; a new revision every minute."""
    study_content["prompts"]["splits"] = {"surrogate": 16, "target": 16}
    study_content |= {"exposures": ["answer"], "conditions": ["base"], "recollect": "* * * * *"}
    study_content["student"]["seeds"] = [0]
    study_content["benchmarks"] = study_content["benchmarks"][:1]
    for role in ("inverter", "student"):
        study_content[role]["recipe"]["max_steps"] = 30
    return write_study(tmp_path, study_content)


def target_file(provider: Provider) -> str:
    return yaml.safe_dump(
        {
            "name": "fresh",
            "model": "m",
            "api": "responses",
            "base_url": provider.url,
            "api_key_env": VARIABLE,
            "exposes": "answer",
            "open": False,
            "price": {"input": 1, "output": 10},
            "max_output_tokens": 200,
            "budget_usd": 1,
            "training_use": "permitted",
            "decided_by": "a test",
            "decided_on": "2026-11-23",
        }
    )


class Daemon:
    """A Dagster daemon on a study, in a process of its own."""

    def __init__(self, study: Path, home: Home, targets: Path) -> None:
        self.folder = prepare_dagster_home(home, "tiny")
        # Two processes that create Dagster's databases at once disturb each other.
        dg.DagsterInstance.from_config(str(self.folder)).dispose()
        self.log = home.root / "daemon.log"
        self._environment = os.environ | {
            "DAGSTER_HOME": str(self.folder),
            "TRACEPIPE_HOME": str(home.root),
            "TRACEPIPE_STUDY": str(study),
            "TRACEPIPE_TARGETS": str(targets),
            VARIABLE: KEY,
        }

    def __enter__(self) -> "Daemon":
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command("dagster-daemon", "run"),
                cwd=CHECKOUT,
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the code server and its runs too: until they end they close databases, whose journals then go."""
        family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        self._process.terminate()
        assert alive_after(family, 90) == []

    def switch_on(self, kind: str, name: str) -> None:
        command = self._command("dagster", kind, "start", name)
        ended = subprocess.run(
            command, cwd=CHECKOUT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr

    @staticmethod
    def _command(program: str, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name(program)), *arguments, "-w", str(CHECKOUT / "workspace.yaml")]


def wait_until(true: Callable[[], object], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.5)


def test_both_ship_stopped(small_study: Path, home: Home, tmp_path: Path):
    repository = build_definitions(load_study(small_study), home, tmp_path).get_repository_def()
    assert repository.get_sensor_def("new_targets").default_status == dg.DefaultSensorStatus.STOPPED
    assert repository.get_schedule_def("recollect").default_status == dg.DefaultScheduleStatus.STOPPED


def test_a_new_file_becomes_a_partition_a_run_and_a_table_and_later_a_revision(
    provider: Provider, small_study: Path, home: Home, tmp_path: Path
):
    targets = tmp_path / "targets"
    targets.mkdir()
    (targets / "broken.yaml").write_text("name: Not A Slug\n")
    store = home.store("tiny")
    with Daemon(small_study, home, targets) as daemon:
        daemon.switch_on("sensor", "new_targets")
        (targets / "fresh.yaml").write_text(target_file(provider))
        wait_until(lambda: store.current("comparison", "fresh"), 150, daemon.log)
        provider.version = "m-2027"
        daemon.switch_on("schedule", "recollect")
        wait_until(lambda: any("@" in key for key in store.partitions("target_changes")), 150, daemon.log)
        with dg.DagsterInstance.from_config(str(daemon.folder)) as instance:
            wait_until(lambda: all(run.is_finished for run in instance.get_runs()), 60, daemon.log)
            assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
            (revision,) = set(instance.get_dynamic_partitions("target")) - {"fresh"}
    outputs = store.read("target_outputs", "fresh")
    assert outputs.height == 16
    assert outputs["outcome"].unique().to_list() == ["ok"]
    changes = {row["measure"]: row for row in store.read("target_changes", revision).iter_rows(named=True)}
    assert changes["same_model_name"]["after"] == 0
    assert changes["answer_agreement"]["after"] == 100
    assert store.current("comparison", revision) is None
    assert set(provider.asked.values()) == {2}
    assert_no_key_under(tmp_path)


def assert_no_key_under(folder: Path) -> None:
    """The key stands in no file: tables, journals, lineage, Dagster's databases and logs."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert any(path.suffix == ".parquet" for path in files)
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
        if path.suffix == ".parquet":
            assert KEY not in pl.read_parquet(path).write_ndjson(), path
