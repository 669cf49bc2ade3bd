"""What is shipped for deployments fits what it is read by, as far as that can be looked at without a cluster."""

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster_aws.ecs import EcsRunLauncher

from tests import s3
from tracepipe.definitions import build_definitions
from tracepipe.home import CHECKOUT, Home
from tracepipe.study import Study, load_study

DEPLOY = CHECKOUT / "deploy"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3.serving():
        name = s3.new_place().removeprefix("s3://").partition("/")[0]
        monkeypatch.setenv("TRACEPIPE_LOG_BUCKET", name)
        yield name


def test_compute_logs_of_a_run_arrive_on_s3(bucket: str, tmp_path: Path):
    shipped = yaml.safe_load((DEPLOY / "dagster.aws.yaml").read_text())
    kept = {name: shipped[name] for name in ("telemetry", "compute_logs", "concurrency", "run_monitoring")}
    kept["run_monitoring"] = {"enabled": False}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(kept))

    @dg.op
    def says() -> None:
        print("a word in the log")

    @dg.job
    def speaking() -> None:
        says()

    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        assert speaking.execute_in_process(instance=opened).success
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket=bucket, Prefix="compute-logs/")["Contents"]
    texts = [client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read().decode() for one in found]
    assert any("a word in the log" in text for text in texts)


def test_the_run_launcher_takes_its_configuration():
    launcher = yaml.safe_load((DEPLOY / "dagster.aws.yaml").read_text())["run_launcher"]
    assert (launcher["module"], launcher["class"]) == ("dagster_aws.ecs", EcsRunLauncher.__name__)
    checked = process_config(resolve_to_config_type(EcsRunLauncher.config_type()), launcher["config"])
    assert checked.success, checked.errors


def test_compose_and_chart_name_what_there_is():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(compose["services"]) == {"webserver", "daemon"}
    for service in compose["services"].values():
        assert (CHECKOUT / service["build"]["dockerfile"]).exists()
        assert "workspace.yaml" in service["command"]
    stages = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    assert [line.rpartition(" ")[2] for line in stages] == ["main", "train", "vllm"]
    values = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"][1] == "tracepipe.definitions"
    studies = {one["value"] for one in deployment["env"] if one["name"] == "TRACEPIPE_STUDY"}
    assert all((CHECKOUT / "studies" / f"{name}.yaml").exists() for name in studies)
    shown = json.dumps([compose, values])
    assert not {"api_key", "password", "secret_access_key"} & set(shown.lower().split('"'))


@pytest.mark.parametrize("name", ["paper_r1", "paper_gpt5_mini", "single_gpu"])
def test_a_shipped_study_is_the_same_graph_with_a_process_for_each_asset(name: str, tmp_path: Path, tiny_study: Study):
    study = load_study(CHECKOUT / "studies" / f"{name}.yaml")
    definitions = build_definitions(study, Home(tmp_path), CHECKOUT / "targets")
    assert definitions.executor is not None
    assert definitions.executor.name == "multiprocess"
    local = build_definitions(tiny_study, Home(tmp_path), CHECKOUT / "targets")
    assert local.executor is dg.in_process_executor
    assets = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    wanted = {f"student/{condition}" for condition in study.conditions}
    assert wanted | {"chat_templates", "surrogate_traces", "comparison", "report"} <= assets
