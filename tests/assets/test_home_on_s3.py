"""A home on S3: the same rows, a machine that is lost, machines that share nothing else, a purge."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resources import cluster
from tests import s3
from tests.assets.test_compute import LOOK, MADE, same_rows, variant
from tests.conftest import TARGETS, write_study
from tests.test_cli import tracepipe
from tracepipe.books import Books
from tracepipe.definitions import run_study
from tracepipe.home import CHECKOUT, Home
from tracepipe.mirror import mirror_at
from tracepipe.study import Study


@pytest.fixture
def on_s3(tmp_path: Path) -> Iterator[Home]:
    with s3.serving():
        yield Home(tmp_path / "home", mirror_at(tmp_path / "home", s3.new_place()))


def test_a_home_on_s3_makes_the_same_rows_and_survives_the_loss_of_this_machine(
    on_s3: Home, finished: Home, tiny_study: Study, tmp_path: Path, study_content: dict
):
    assert run_study(tiny_study, on_s3, TARGETS, "miniature", None).failures == ()
    same_rows(on_s3, finished)
    comparison = finished.store("tiny").read("comparison", "miniature")
    assert on_s3.store("tiny").read("comparison", "miniature").equals(comparison)
    assert on_s3.mirror is not None
    elsewhere = Home(tmp_path / "elsewhere", mirror_at(tmp_path / "elsewhere", on_s3.mirror.url))
    shutil.rmtree(on_s3.root)
    outcome = run_study(tiny_study, elsewhere, TARGETS, "miniature", None)
    assert outcome.failures == ()
    assert elsewhere.store("tiny").read("comparison", "miniature").equals(comparison)
    fresh = {"TRACEPIPE_STORE": on_s3.mirror.url}
    study = str(write_study(tmp_path, study_content))
    shown = tracepipe(tmp_path / "fresh", "show", study, **fresh)
    assert "inverted_summary" in shown.stdout, shown.stderr
    left = tracepipe(tmp_path / "fresh", "estimate", study, "--target", "miniature", "--json", **fresh)
    assert (json.loads(left.stdout)["rows"], json.loads(left.stdout)["collected"]) == (0, 64)
    key = elsewhere.store("tiny").read("target_outputs", "miniature")["request_key"][0]
    assert tracepipe(tmp_path / "fresh", "lineage", "rebuild", **fresh).returncode == 0
    walked = tracepipe(tmp_path / "fresh", "lineage", "row", key, "--table", "target_outputs", "--json", **fresh)
    assert json.loads(walked.stdout)["response"]["found"], walked.stderr
    # A machine that has nothing yet adds to what was collected elsewhere.
    collected = list(elsewhere.journal("miniature").entries())
    checked = tracepipe(tmp_path / "checking", "targets", "check", "miniature", **fresh)
    assert checked.returncode == 0, checked.stderr
    elsewhere.catch_up("miniature")
    after = list(elsewhere.journal("miniature").entries())
    assert len(collected) == 2 * 64
    assert after[: len(collected)] == collected
    assert len(after) > len(collected)
    # Nothing was asked, generated or trained again, and no weights were needed for that.
    assert not list(elsewhere.root.glob("open/work/*/generated/*"))
    assert not list(elsewhere.checkpoints.root.glob("c_*"))
    events = [event for event in elsewhere.store("tiny").root.rglob("*.json") if event.name != "current.json"]
    assert events
    assert all(s3.CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in path.read_bytes() for path in files(elsewhere))


def test_a_purge_reaches_what_lies_on_s3(on_s3: Home, tiny_study: Study, tmp_path: Path):
    assert run_study(tiny_study, on_s3, TARGETS, "miniature", "+key:target_outputs").failures == ()
    assert on_s3.mirror is not None
    before = keys(on_s3)
    assert any("target_outputs/miniature" in key for key in before)
    paid = Books.of(on_s3.journal("miniature")).paid_usd
    assert paid > 0
    # Purged from a machine that knows only the first of what was collected.
    purging = Home(tmp_path / "purging")
    lines = on_s3.journal("miniature").path.read_bytes().splitlines(keepends=True)
    purging.responses.mkdir(parents=True)
    purging.journal("miniature").path.write_bytes(b"".join(lines[:20]))
    asked = ("lineage", "purge", "--target", "miniature", "--yes")
    purged = tracepipe(purging.root, *asked, TRACEPIPE_STORE=on_s3.mirror.url)
    assert purged.returncode == 0, purged.stderr
    after = keys(on_s3)
    assert after < before | {key for key in after if key.endswith("tombstones/miniature.json")}
    assert not [key for key in after if "/miniature/" in key]
    assert any("tables/tiny/prompts" in key for key in after)
    (journal,) = [key for key in after if "responses/" in key]
    elsewhere = Home(tmp_path / "elsewhere", mirror_at(tmp_path / "elsewhere", on_s3.mirror.url))
    assert elsewhere.mirror is not None
    assert elsewhere.mirror.pull(elsewhere.root / "responses" / "miniature.jsonl")
    (left,) = elsewhere.journal("miniature").entries()
    assert (left["kind"], left["paid_usd"]) == ("purged", paid)
    assert journal.endswith("responses/miniature.jsonl")


def keys(home: Home) -> set[str]:
    assert home.mirror is not None
    return set(home.mirror._keys(home.mirror._prefix))


def files(home: Home) -> list[Path]:
    return [path for path in home.root.rglob("*") if path.is_file()]


class AnotherMachine:
    """Stands for a cluster: runs the command it is given in a home of its own, which shares nothing but S3."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[dict[str, Any]] = []

    def run(self, **asked: Any) -> Any:
        self.asked.append(asked)
        command = asked.get("command") or asked["run_task_params"]["overrides"]["containerOverrides"][0]["command"]
        environment = os.environ | {"TRACEPIPE_HOME": str(self.folder), "PYTHONPATH": str(CHECKOUT)}
        here = [sys.executable, *command[1:], "--threads", "1"]
        ended = subprocess.run(
            here,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise RuntimeError(ended.stderr[-2000:])
        figures = json.loads(ended.stdout.splitlines()[-1])
        return SimpleNamespace(get_custom_messages=lambda: [figures])


@pytest.mark.parametrize(
    ("compute", "client", "made"),
    [
        ({"kind": "ecs", "task_definition": "worker:3", "cluster": "gpu"}, "_ecs_client", MADE),
        ({"kind": "kubernetes", "image": "registry/tracepipe-train:1"}, "_kubernetes_client", MADE[:1]),
    ],
)
def test_steps_on_machines_that_share_nothing_but_s3_make_the_same_rows(
    on_s3: Home,
    finished: Home,
    tmp_path: Path,
    study_content: dict,
    compute: dict,
    client: str,
    made: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    machine = AnotherMachine(tmp_path / "machine")
    monkeypatch.setattr(cluster, client, lambda: machine)
    study = variant(tmp_path, study_content, compute)
    assert run_study(study, on_s3, TARGETS, "miniature", f"+key:{made[-1]}").failures == ()
    same_rows(on_s3, finished, *made)
    assert on_s3.mirror is not None
    for asked in machine.asked:
        assert on_s3.mirror.url in json.dumps(asked, default=str)
        assert s3.CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in json.dumps(asked, default=str)


def test_machines_that_share_nothing_need_a_store_they_can_reach(home: Home, tmp_path: Path, study_content: dict):
    compute = {"kind": "ecs", "task_definition": "worker:3"}
    (failure,) = run_study(variant(tmp_path, study_content, compute), home, TARGETS, None, LOOK).failures
    assert "set TRACEPIPE_STORE=s3://" in failure.message
