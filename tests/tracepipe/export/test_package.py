"""Tables and checkpoints leave with a card that the hub reads, and are published only where the terms permit it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from tests.assets.test_run import target_folder
from tests.conftest import TARGETS, tiny_study_content, write_study
from tests.tracepipe.export.hub import Hub, serving
from tracepipe.export.package import export_dataset, export_model
from tracepipe.home import Home
from tracepipe.registry import find_target
from tracepipe.spec import SpecError
from tracepipe.store import Store
from tracepipe.study import Study
from tracepipe.target import Target

KEY = "hf_planted-91c2"


@pytest.fixture
def target() -> Target:
    return find_target(TARGETS, "miniature")[0]


@pytest.fixture
def stores(finished: Home) -> tuple[Store, Store]:
    return finished.store("tiny"), finished.withheld("tiny")


def test_a_table_is_exported_with_a_card_that_says_what_must_be_known(
    stores: tuple[Store, Store], tiny_study: Study, target: Target, tmp_path: Path
):
    event = export_dataset(tiny_study, target, stores, "inverted_traces/summary", tmp_path / "out")
    exported = pl.read_parquet(tmp_path / "out" / "data" / "*.parquet")
    assert exported.equals(stores[0].read("inverted_traces/summary", "miniature"))
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.to_dict()["size_categories"] == "n<1K"
    assert {"tracepipe", "arxiv:2603.07267"} <= set(card.data.tags)
    for said in (
        "training use **permitted**, decided by the TracePipe project",
        "`base` (w_",
        "the synthesised trace",
        "one\\_row\\_per\\_output | passed",
        '"max_new_tokens": 80',
        event.version,
        "they are not its reasoning",
        "no evidence for the paper",
        "Rows by outcome: ok ",
    ):
        assert said in card.content, said
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert {"prompts", "target_outputs", "inverter/summary", "surrogate_traces"} <= {one["asset"] for one in lineage}


def test_a_checkpoint_is_exported_with_its_recipe_and_scores_and_loads(
    stores: tuple[Store, Store], finished: Home, tiny_study: Study, target: Target, tmp_path: Path
):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = stores[0].read("student/oracle", "miniature")["checkpoint_id"][0]
    export_model(tiny_study, target, stores, finished.checkpoints, name, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "transformers"
    for said in (
        "| harder | oracle |",
        "95 % interval",
        "truncated %",
        "oracle\\_examples | fits\\_max\\_length",
        name,
    ):
        assert said in str(card), said
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) > 10


def test_an_inverter_belongs_to_the_study_and_has_no_targets_terms(
    stores: tuple[Store, Store], finished: Home, tiny_study: Study, tmp_path: Path
):
    name = stores[0].read("inverter/answer", "all")["checkpoint_id"][0]
    export_model(tiny_study, None, stores, finished.checkpoints, name, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing in it comes from a target." in text
    assert "95 % interval" not in text


def test_what_is_not_there_and_a_folder_that_is_filled_are_refused(
    stores: tuple[Store, Store], finished: Home, tiny_study: Study, target: Target, tmp_path: Path
):
    with pytest.raises(SpecError, match=r"no table 'traces' \(miniature\); there are: benchmark_answers/answer_only"):
        export_dataset(tiny_study, target, stores, "traces", tmp_path / "out")
    with pytest.raises(SpecError, match="no checkpoint 'c_0'"):
        export_model(tiny_study, target, stores, finished.checkpoints, "c_0", tmp_path / "out")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SpecError, match="name a folder that is empty or not there"):
        export_dataset(tiny_study, target, stores, "target_outputs", tmp_path)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as running:
        yield running


Export = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def export(finished: Home, hub: Hub, tmp_path: Path) -> Export:
    study = write_study(tmp_path, tiny_study_content())

    def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"TRACEPIPE_HOME": str(finished.root), "NO_COLOR": "1", "HF_ENDPOINT": hub.url}
        environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf")} | variables
        program = [sys.executable, "-m", "tracepipe", "export", arguments[0], str(study), *arguments[1:]]
        return subprocess.run(program, capture_output=True, text=True, env=environment, check=False)

    return command


def test_nothing_is_sent_unless_it_is_asked_for_with_a_key_and_the_terms_permit_it(
    export: Export, hub: Hub, tmp_path: Path
):
    table = ("dataset", "target_outputs", "--target", "miniature")
    kept = export(*table, "--to", str(tmp_path / "kept"), HF_TOKEN=KEY)
    assert kept.returncode == 0, kept.stderr
    no_key = export(*table, "--to", str(tmp_path / "no-key"), "--push", "me/outputs", HF_TOKEN="")
    assert no_key.returncode == 2
    assert "put the hub's key into the variable HF_TOKEN" in no_key.stderr
    closed = target_folder(tmp_path, training_use="unknown", decided_by=None, decided_on=None)
    forbidden = export(
        *table, "--to", str(tmp_path / "no"), "--push", "me/outputs", HF_TOKEN=KEY, TRACEPIPE_TARGETS=str(closed)
    )
    assert forbidden.returncode == 2
    assert "declares training_use: unknown; what comes from it is not published" in forbidden.stderr
    assert hub.repositories == hub.files == {}

    sent = export(*table, "--to", str(tmp_path / "sent"), "--push", "me/outputs", HF_TOKEN=KEY)
    assert sent.returncode == 0, sent.stderr
    assert hub.repositories["me/outputs"]["visibility"] == "private"
    assert set(hub.files) >= {"README.md", "lineage.json", "data/train-00000-of-00001.parquet"}
    assert hub.files["README.md"] == (tmp_path / "sent" / "README.md").read_bytes()
    assert hub.keys == {f"Bearer {KEY}"}
    for said in (sent, no_key, forbidden, kept):
        assert KEY not in said.stdout + said.stderr


def test_nothing_is_sent_to_a_repository_that_is_public(export: Export, hub: Hub, tmp_path: Path):
    hub.public = True
    refused = export("dataset", "prompts", "--to", str(tmp_path / "out"), "--push", "me/prompts", HF_TOKEN=KEY)
    assert refused.returncode == 2
    assert "is there and public; make it private" in refused.stderr
    assert hub.files == {}


def test_a_hub_that_refuses_is_a_clear_error_without_the_key(export: Export, hub: Hub, tmp_path: Path):
    prompts = ("dataset", "prompts", "--to", str(tmp_path / "out"), "--push")
    hub.refuses = True
    refused = export(*prompts, "me/prompts", HF_TOKEN=KEY)
    assert refused.returncode == 2
    assert "--push: the hub refuses" in refused.stderr
    assert "not with Bearer (key)" in refused.stderr
    assert str(tmp_path / "out") in refused.stderr.replace("\n", "")
    assert KEY not in refused.stderr
    assert yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])["license"] == "other"
