"""What derives from a prompt, row by row; what derives from a target, and its removal, checked by content."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from resources.launch import instance
from tests.conftest import TARGETS
from tracepipe.books import Books
from tracepipe.definitions import purge_target, run_study
from tracepipe.home import Home
from tracepipe.journal import Journal
from tracepipe.lineage import purge as purging
from tracepipe.lineage.entries import read_entries
from tracepipe.lineage.impact import impact_of_prompt, impact_of_target
from tracepipe.lineage.purge import plan_purge
from tracepipe.lineage.walk import Lineage
from tracepipe.spec import SpecError
from tracepipe.study import Study

IDS = ("request_key", "example_id", "response_id", "attempt")


@pytest.fixture
def copy(finished: Home, tmp_path: Path) -> Home:
    shutil.copytree(finished.root, tmp_path / "copy")
    return Home(tmp_path / "copy")


def touched(home: Home, split: str) -> dict[str, tuple[int, int]]:
    """Asset to rows touched and rows there are, for the first prompt of a split."""
    prompts = home.store("tiny").read("prompts", "all").filter(split=split)
    found = impact_of_prompt(read_entries(*home.roots), prompts["prompt_id"][0], home.checkpoints)
    return {one.entry.event.asset: (one.rows, one.entry.event.rows) for one in found.versions}


def test_a_prompt_of_the_target_reaches_its_rows_the_students_and_all_they_wrote(finished: Home):
    found = touched(finished, "target")
    assert found["target_outputs"] == (1, 64)
    assert found["trace_fidelity/answer"] == (2, 128)  # by the trained inverter and by its base
    assert found["student_examples"] == (4, 320)  # answers, summaries, two exposures
    assert found["student/oracle"] == (2, 2)
    assert found["benchmark_scores/oracle"] == (144, 144)
    assert found["comparison"] == (10, 14)  # not base, not surrogate_trace
    assert not {"student/base", "student/surrogate_trace", "inverter/summary", "surrogate_traces"} & set(found)


def test_a_prompt_of_the_surrogate_reaches_everything_that_inverters_wrote(finished: Home):
    found = touched(finished, "surrogate")
    assert found["inverter_examples"] == (2, 128)
    assert found["inverted_traces/summary"] == (64, 64)
    assert found["student_examples"] == (129, 320)  # all inverted ones, and its own trace
    assert not {"target_outputs", "student/answer_only", "student/oracle", "zero_shot_traces/answer"} & set(found)


def test_a_target_reaches_all_of_its_partition_and_nothing_of_the_study(finished: Home):
    entries = read_entries(*finished.roots)
    found = impact_of_target(entries, "miniature", finished.checkpoints)
    assert {one.entry.event.partition for one in found.versions} == {"miniature"}
    assert {entry.event.partition for entry in entries} == {"miniature", "all"}
    assert len(found.checkpoints) == 6 * 2
    assert found.scores == 72 + 6 * 144


def texts_of(home: Home) -> Iterator[tuple[Path, bytes]]:
    """Every file with all that can be read in it; Dagster keeps Markdown, which escapes the underscores of ids."""
    for path in home.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            rows = pl.read_parquet(path).write_ndjson().encode() if path.suffix == ".parquet" else b""
            yield path, content + rows + (content.replace(b"\\", b"") if "dagster" in path.parts else b"")


def ids_in(home: Home, part: str) -> set[str]:
    """The ids in the tables of a partition."""
    tables = [pl.read_parquet(path) for path in home.root.glob(f"*/tables/**/{part}/*.parquet")]
    return {one for table in tables for column in IDS if column in table.columns for one in table[column].drop_nulls()}


def sums_of(home: Home) -> dict[Path, str]:
    files = [path for path in home.root.rglob("*") if path.is_file()]
    return {path.relative_to(home.root): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_purge_leaves_nothing_of_the_target_and_everything_else_as_it_was(copy: Home):
    needles = ids_in(copy, "miniature") - ids_in(copy, "all")
    traces = set(copy.withheld("tiny").read("target_traces", "miniature")["trace"])
    needles |= {trace for trace in traces if len(trace) > 30}
    runs = {path.name for path in copy.root.glob("dagster/tiny/storage/*")}
    assert len(needles) > 1500
    before = sums_of(copy)
    shown = dict(texts_of(copy))[copy.root / "dagster" / "tiny" / "history" / "runs" / "index.db"]
    assert runs
    assert any(needle.encode() in shown for needle in needles)
    plan = plan_purge(copy, "miniature")
    own = {path.relative_to(copy.root) for folder in plan.folders for path in folder.rglob("*")}
    trained = [copy.checkpoints.path(one) for one in plan.checkpoints]
    own |= {file.relative_to(copy.root) for folder in trained for file in folder.iterdir()}
    tombstone = purge_target(copy, plan)
    for path, text in texts_of(copy):
        # The study's own tables may say that a run of the target made them; Dagster has forgotten it.
        wanted = needles | runs if "dagster" in path.parts else needles
        assert [needle for needle in wanted if needle.encode() in text] == [], path
    after = sums_of(copy)
    assert [path for path in after if any(run in str(path) for run in runs)] == []
    changed = {path for path in after if after[path] != before.get(path)}
    dagster = {Path("dagster/tiny/history", name) for name in ("runs.db", "runs/index.db")}
    own_files = ("lineage.duckdb", "responses/miniature.jsonl", "tombstones/miniature.json")
    assert changed == dagster | {Path(name) for name in own_files}
    forgotten = {path for path in before if "dagster" in path.parts and path not in after}
    assert set(before) - set(after) == own & set(before) | forgotten | {Path("withheld/traces/miniature.jsonl")}
    content = json.loads(tombstone.read_text())
    assert (content["finished"], content["checkpoints"], content["versions"]) == (True, 12, 41)
    assert plan_purge(copy, "miniature").empty


def test_what_was_billed_stays_on_the_books_and_the_next_run_buys_anew(copy: Home, tiny_study: Study):
    def journal() -> Journal:
        return copy.journal("miniature")

    paid = Books.of(journal()).paid_usd
    assert paid > 0
    purge_target(copy, plan_purge(copy, "miniature"))
    assert Books.of(journal()).paid_usd == pytest.approx(paid)
    with Lineage(copy.catalogue, copy.responses) as lineage:
        assert lineage.ask("SELECT target, finished FROM tombstones") == [{"target": "miniature", "finished": True}]
        assert lineage.ask("SELECT 1 FROM materializations WHERE partition = 'miniature'") == []
    with instance(copy, "tiny") as opened:
        assert opened.get_dynamic_partitions("target") == []
        assert opened.get_runs() == []
        assert opened.get_latest_materialization_event(dg.AssetKey("target_outputs")) is None
    outcome = run_study(tiny_study, copy, TARGETS, "miniature", "+key:target_outputs")
    assert outcome.failures == ()
    assert Books.of(journal()).paid_usd == pytest.approx(2 * paid, rel=0.02)


def second_target(tmp_path: Path) -> Path:
    """A folder with the miniature target twice, under two names."""
    folder = tmp_path / "targets"
    folder.mkdir()
    content = yaml.safe_load((TARGETS / "miniature.yaml").read_text())
    content["serve"]["command"] = [part.replace("{folder}", str(TARGETS)) for part in content["serve"]["command"]]
    for name in ("miniature", "twin"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content | {"name": name}))
    return folder


def test_what_a_second_target_shares_stays_and_its_report_is_made_anew_without_the_first(
    copy: Home, tiny_study: Study, tmp_path: Path
):
    targets = second_target(tmp_path)
    assert run_study(tiny_study, copy, targets, "twin", None).failures == ()
    report = copy.reports("tiny", "twin") / "report.md"
    assert "| miniature |" in report.read_text()
    plan = plan_purge(copy, "miniature")
    # Both trained the same students on the surrogate's traces; the target answers greedily, so all are shared.
    assert plan.impact.shared
    assert not set(plan.checkpoints) & plan.impact.shared
    twin = {path: one for path, one in sums_of(copy).items() if "twin" in path.parts and "report" not in str(path)}
    assert plan.stale == [("tiny", "report", "twin")]
    purge_target(copy, plan)
    after = sums_of(copy)
    assert {path: after.get(path) for path in twin} == twin
    with instance(copy, "tiny") as opened:
        assert opened.get_materialized_partitions(dg.AssetKey("comparison")) == {"twin"}
        assert opened.get_materialized_partitions(dg.AssetKey("report")) == set()
    assert not report.exists()
    assert run_study(tiny_study, copy, targets, "twin", None).failures == ()
    assert "| miniature |" not in report.read_text()
    remade = {path for path in sums_of(copy) if path not in after and "tables" in path.parts}
    assert {path.parts[3] for path in remade} == {"report"}


@pytest.mark.parametrize("step", ["_close_books", "_finish"])
def test_a_purge_that_is_killed_goes_on(copy: Home, monkeypatch: pytest.MonkeyPatch, step: str):
    whole = plan_purge(copy, "miniature")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(purging, step, killed)
        with pytest.raises(KeyboardInterrupt):
            purge_target(copy, whole)
    assert not plan_purge(copy, "miniature").empty
    (copy.root / "checkpoints" / ".c_1.2.tmp").mkdir()
    tombstone = purge_target(copy, plan_purge(copy, "miniature"))
    content = json.loads(tombstone.read_text())
    assert (content["finished"], content["versions"], content["checkpoints"]) == (True, 41, 12)
    assert plan_purge(copy, "miniature").empty
    assert list((copy.root / "checkpoints").glob(".*")) == []


def test_a_checkpoint_that_no_table_names_goes_with_the_rows_it_was_trained_on(copy: Home):
    (event,) = [one.event for one in read_entries(*copy.roots) if one.event.asset == "student/answer_only"]
    named = set(copy.store("tiny").read("student/answer_only", "miniature")["checkpoint_id"])
    folder = copy.roots[0] / "tables" / "tiny" / "student" / "answer_only"
    shutil.rmtree(folder)  # as if killed between training and the table
    plan = plan_purge(copy, "miniature")
    assert set(plan.orphans) == named
    purge_target(copy, plan)
    assert not any(copy.checkpoints.path(one).exists() for one in named)
    assert event.partition == "miniature"


def test_nothing_is_removed_while_a_run_is_under_way_or_of_one_revision_alone(copy: Home):
    database = copy.root / "dagster" / "tiny" / "history" / "runs.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE runs SET status = 'STARTED', run_body = replace(run_body, 'SUCCESS', 'STARTED')")
        connection.execute("DELETE FROM run_tags WHERE key = 'tracepipe/pid'")
        body = connection.execute("SELECT run_body FROM runs").fetchone()[0].replace("tracepipe/pid", "tracepipe/other")
        connection.execute("UPDATE runs SET run_body = ?", (body,))
    before = sums_of(copy)
    with pytest.raises(SpecError, match="of study 'tiny' is under way, and a purge"):
        purge_target(copy, plan_purge(copy, "miniature"))
    assert set(before) <= set(sums_of(copy))
    with pytest.raises(SpecError, match="'all' is no target"):
        plan_purge(copy, "all")
    with pytest.raises(SpecError, match="all revisions share one journal: purge miniature"):
        plan_purge(copy, "miniature@2026-11-24")


def test_nothing_is_removed_while_a_batch_is_under_way(copy: Home):
    attempt = {"kind": "attempt", "attempt": "r_new.1", "request_key": "r_new", "number": 1, "round": 0}
    priced = {"worst_usd": 0.1, "price": [1, 1], "at": "2026-11-24", "delivery": "batch", "shard": "s"}
    copy.journal("miniature").append_all([attempt | priced, {"kind": "batch", "shard": "s", "batch": "batch_1"}])
    before = sums_of(copy)
    with pytest.raises(SpecError, match="has batches under way, whose results would be paid and lost"):
        purge_target(copy, plan_purge(copy, "miniature"))
    after = sums_of(copy)
    assert {path for path in before if after.get(path) != before[path]} == set()
