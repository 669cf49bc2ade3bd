"""`tracepipe lineage`, `report`: what they print, as text and JSON, and their clear errors."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import tiny_study_content, write_study
from tracepipe.home import Home

Command = Callable[..., subprocess.CompletedProcess[str]]


def lineage_of(home: Path) -> Command:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"TRACEPIPE_HOME": str(home), "NO_COLOR": "1"}
        program = [sys.executable, "-m", "tracepipe", "lineage", *arguments]
        return subprocess.run(program, capture_output=True, text=True, env=environment, check=False)

    return command


@pytest.fixture
def lineage(finished: Home) -> Command:
    return lineage_of(finished.root)


@pytest.fixture
def score(finished: Home) -> str:
    return str(finished.store("tiny").read("benchmark_scores/inverted_summary", "miniature")["request_key"][0])


def test_a_score_is_printed_as_a_tree_down_to_the_response(lineage: Command, score: str, finished: Home):
    printed = lineage("row", score)
    assert printed.returncode == 0, printed.stderr
    first, *rest = printed.stdout.splitlines()
    assert first == f"benchmark score {score} [benchmark_scores/inverted_summary, miniature]"
    text = "\n".join(rest)
    for shown in (
        "student c_",
        "the first of 64",
        "inverted trace r_",
        "inverter c_",
        "surrogate's trace r_",
        "(above)",
    ):
        assert shown in text
    journal = finished.journal("miniature").path
    assert f"response: {journal}, byte " in text
    assert "asked with: " in text
    assert "commit " in text
    assert "NOT FOUND" not in text
    assert "The id stands in benchmark_answers/inverted_summary too" in text


def test_the_same_as_json_and_from_another_table(lineage: Command, score: str):
    walked = json.loads(lineage("row", score, "--table", "benchmark_answers/inverted_summary", "--json").stdout)
    assert (walked["asset"], walked["id"]) == ("benchmark_answers/inverted_summary", score)
    assert [one["asset"] for one in walked["stands_on"]] == ["benchmark_items", "student/inverted_summary"]
    assert walked["request"]["sampling"]["temperature"] == 0.6


def test_a_response_that_is_gone_is_said(finished: Home, score: str, tmp_path: Path):
    shutil.copytree(finished.root, tmp_path / "copy")
    (tmp_path / "copy" / "responses" / "miniature.jsonl").unlink()
    command = lineage_of(tmp_path / "copy")
    assert command("rebuild").returncode == 0
    assert "NOT FOUND: target's output" in command("row", score).stdout


def test_asset_and_model_say_how_they_were_made(lineage: Command, finished: Home):
    made = json.loads(lineage("asset", "inverted_traces/summary", "--json").stdout)
    assert {one["asset"] for one in made["inputs"]} == {
        "prompts",
        "target_outputs",
        "inverter/summary",
        "summary_style",
    }
    assert made["gates"][0]["passed"] is True
    assert json.loads(made["config"])["study"]["calls"]["sampling"]["max_new_tokens"] == 80
    assert "made from" in lineage("asset", "inverted_traces/summary").stdout
    name = finished.store("tiny").read("student/oracle", "miniature")["checkpoint_id"][0]
    model = json.loads(lineage("model", name, "--json").stdout)
    assert model["models"][0]["role"] == "student/oracle"
    assert model["wrote"] == [{"asset": "benchmark_answers/oracle", "target": "miniature", "rows": 72}]
    assert "last_loss" in lineage("model", name).stdout


def test_impact_counts_rows_checkpoints_and_scores(lineage: Command, finished: Home):
    of_target = json.loads(lineage("impact", "--target", "miniature", "--json").stdout)
    assert (len(of_target["checkpoints"]), of_target["scores"]) == (12, 936)
    prompt = finished.store("tiny").read("prompts", "all").filter(split="target")["prompt_id"][0]
    printed = lineage("impact", "--prompt", prompt).stdout
    assert "scores      720 in tables in use" in printed
    assert "checkpoints 10, " in printed


def test_purge_only_says_what_would_go_until_it_is_told_yes(finished: Home, tmp_path: Path):
    shutil.copytree(finished.root, tmp_path / "copy")
    command = lineage_of(tmp_path / "copy")
    files = sorted(path for path in (tmp_path / "copy").rglob("*"))
    dry = command("purge", "--target", "miniature")
    assert "--yes removes them" in dry.stdout
    assert str(tmp_path / "copy" / "responses" / "miniature.jsonl") in dry.stdout
    assert sorted(path for path in (tmp_path / "copy").rglob("*")) == files
    done = command("purge", "--target", "miniature", "--yes")
    assert done.returncode == 0, done.stderr
    assert "tombstone: " in done.stdout
    again = command("purge", "--target", "miniature", "--yes")
    assert again.returncode == 2
    assert "nothing derives from 'miniature'" in again.stderr


def test_sql_reads_and_cannot_write(lineage: Command, finished: Home, tmp_path: Path):
    (row,) = json.loads(lineage("sql", "SELECT count(*) AS n FROM scores", "--json").stdout)
    assert row == {"n": 936}
    before = finished.catalogue.read_bytes()
    for statement in ("DROP TABLE gates", f"COPY gates TO '{tmp_path / 'x.csv'}'", "SELECT 1; DROP TABLE gates"):
        refused = lineage("sql", statement)
        assert refused.returncode == 2
        assert "give one SELECT" in refused.stderr
    assert finished.catalogue.read_bytes() == before
    assert not (tmp_path / "x.csv").exists()
    assert "the query fails: " in lineage("sql", "SELECT nothing FROM nowhere").stderr


def test_events_are_exported_one_a_line(lineage: Command, tmp_path: Path):
    for form, field in (("openlineage", "eventType"), ("json", "recipe_key")):
        path = tmp_path / form / "events.jsonl"
        assert lineage("export", str(path), "--format", form).returncode == 0
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) > 40
        assert all(field in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("row", "r_nobody"), "no row has the id 'r_nobody'"),
        (("asset", "nothing"), "no version of 'nothing'; the assets are: benchmark_answers/answer_only"),
        (("model", "c_0"), "no model has the id 'c_0'"),
        (("impact",), "give either --target NAME or --prompt ID"),
        (("impact", "--target", "nobody"), "nothing derives from 'nobody'"),
        (("purge", "--target", "name@2026-01-01"), "purge name"),
    ],
)
def test_bad_input_ends_with_code_2_and_says_what_to_do(lineage: Command, arguments: tuple[str, ...], message: str):
    ended = lineage(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr.replace("\n", " ")
    assert "Traceback" not in ended.stderr


def test_an_id_in_another_table_is_said(lineage: Command, score: str):
    refused = lineage("row", score, "--table", "prompts")
    assert "it stands in: benchmark_answers/inverted_summary (miniature), benchmark_scores" in refused.stderr


def test_a_home_without_a_catalogue_says_what_to_run(tmp_path: Path):
    assert "run a study, or: tracepipe lineage rebuild" in lineage_of(tmp_path)("row", "p_1").stderr


def test_a_report_is_written_from_what_there_is(finished: Home, tmp_path: Path):
    shutil.copytree(finished.root, tmp_path / "copy")
    report = tmp_path / "copy" / "reports" / "tiny" / "miniature" / "report.html"
    report.unlink()
    study = write_study(tmp_path, tiny_study_content())
    environment = os.environ | {"TRACEPIPE_HOME": str(tmp_path / "copy")}
    program = [sys.executable, "-m", "tracepipe", "report", str(study), "--target", "miniature"]
    ended = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert str(report) in ended.stdout
    assert report.exists()
