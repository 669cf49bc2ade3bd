"""The whole experiment on a real Dagster instance: tables, gates, reuse, terms."""

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from tests.conftest import TARGETS, write_study
from tests.families import checkpoint
from tracepipe.definitions import run_study
from tracepipe.export.logs import export_logs
from tracepipe.home import Home
from tracepipe.records import COMPARISON, schema
from tracepipe.report.results import read_results
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study

CONDITIONS = {
    "base",
    "answer_only",
    "summary_answer",
    "surrogate_trace",
    "inverted_answer",
    "inverted_summary",
    "oracle",
}


@pytest.fixture
def copy(finished: Home, tmp_path: Path) -> Home:
    """A copy of the finished home that a test may change."""
    shutil.copytree(finished.root, tmp_path / "copy")
    return Home(tmp_path / "copy")


def target_folder(tmp_path: Path, **changes: object) -> Path:
    """A targets folder with the miniature target, some of its keys changed."""
    content = yaml.safe_load((TARGETS / "miniature.yaml").read_text()) | changes
    content["serve"]["command"] = [part.replace("{folder}", str(TARGETS)) for part in content["serve"]["command"]]
    folder = tmp_path / "targets"
    folder.mkdir()
    (folder / "target.yaml").write_text(yaml.safe_dump(content))
    return folder


def materialised(home: Home, study: Study) -> dict[str, str]:
    """Asset to the run that made its version in use."""
    with duckdb.connect(str(home.catalogue), read_only=True) as catalogue:
        query = "SELECT asset, run_id FROM materializations WHERE current AND study = ?"
        return dict(catalogue.execute(query, [study.name]).fetchall())


def test_every_condition_is_compared_on_every_benchmark_with_what_qualifies_it(finished: Home, tiny_study: Study):
    comparison = finished.store("tiny").read("comparison", "miniature")
    assert comparison.schema == schema(COMPARISON)
    assert set(comparison["condition"]) == CONDITIONS
    assert comparison.height == 2 * len(CONDITIONS)
    assert (comparison["low"] <= comparison["accuracy"]).all()
    assert (comparison["accuracy"] <= comparison["high"]).all()
    assert comparison["truncation_rate"].is_between(0, 100).all()
    assert comparison["no_answer_rate"].is_between(0, 100).all()
    assert set(comparison.filter(pl.col("condition") != "base")["seeds"]) == {2}


def test_every_item_is_answered_once_per_sample_and_graded_twice(finished: Home):
    scores = finished.store("tiny").read("benchmark_scores/oracle", "miniature")
    per_item = scores.group_by("benchmark", "item_id", "seed").agg(pl.col("sample").sort())
    assert dict(per_item.group_by("benchmark").agg(pl.col("sample").first()).iter_rows()) == {
        "in-distribution": [0],
        "harder": [0, 1],
    }
    assert scores.select("score", "outcome", "rule").equals(
        scores.select(score="fair_score", outcome="fair_outcome", rule="fair_rule")
    )
    answers = finished.store("tiny").read("benchmark_answers/oracle", "miniature").filter(benchmark="harder", seed=0)
    first, second = (answers.filter(sample=number)["response"].to_list() for number in (0, 1))
    assert first != second
    comparison = finished.store("tiny").read("comparison", "miniature").filter(condition="oracle")
    assert dict(comparison.select("benchmark", "samples").iter_rows()) == {"in-distribution": 1, "harder": 2}


def test_every_pair_of_conditions_has_its_difference(finished: Home):
    found = finished.store("tiny").read("differences", "miniature")
    assert found.height == 2 * 7 * 6 / 2
    assert (found["low"] <= found["difference"]).all()
    assert (found["p_holm"] >= found["p"]).all()


def test_inverted_traces_are_checked_against_what_was_shown(finished: Home):
    store = finished.store("tiny")
    for exposure in ("summary", "answer"):
        checked = store.read(f"trace_consistency/{exposure}", "miniature")
        assert checked.height == store.read(f"inverted_traces/{exposure}", "miniature").height
        assert (checked["facts_kept"].drop_nulls() <= 1).all()


def test_graded_answers_open_in_inspect(finished: Home, tiny_study: Study, tmp_path: Path):
    from inspect_ai.log import read_eval_log

    written = export_logs(tiny_study, finished.store("tiny"), "miniature", tmp_path)
    assert len(written) == 2 * (1 + 6 * 2)  # two benchmarks; the untrained base, six conditions with two seeds
    log = read_eval_log(str(tmp_path / "tiny_miniature_harder_oracle_1.eval"))
    scores = finished.store("tiny").read("benchmark_scores/oracle", "miniature").filter(benchmark="harder", seed=1)
    assert len(log.samples) == scores.height == 48
    assert log.eval.config.epochs == 2
    assert log.results.scores[0].metrics["mean"].value == pytest.approx(scores["score"].mean())
    by_key = {row["request_key"]: row for row in scores.iter_rows(named=True)}
    for sample in log.samples:
        row = by_key[sample.metadata["request_key"]]
        assert (sample.id, sample.epoch, sample.target) == (row["item_id"], row["sample"] + 1, row["gold"])
        assert (sample.scores["official"].value, sample.scores["official"].answer) == (row["score"], row["extracted"])
    with pytest.raises(SpecError, match="no graded answers of target 'nobody'"):
        export_logs(tiny_study, finished.store("tiny"), "nobody", tmp_path)


def test_students_of_all_conditions_train_on_one_row_set(finished: Home):
    examples = finished.store("tiny").read("student_examples", "miniature")
    oracle = finished.withheld("tiny").read("oracle_examples", "miniature")
    by_condition = {
        condition: set(rows["prompt_id"]) for (condition,), rows in examples.group_by("condition", maintain_order=True)
    }
    surrogate = by_condition.pop("surrogate_trace")
    assert len({frozenset(ids) for ids in [*by_condition.values(), set(oracle["prompt_id"])]}) == 1
    assert len(surrogate) == oracle.height
    assert not surrogate & set(oracle["prompt_id"])


def test_hidden_traces_lie_only_under_the_withheld_root(finished: Home):
    traces = finished.withheld("tiny").read("target_traces", "miniature")["trace"].to_list()
    longest = max(traces, key=len)
    outside = [
        path
        for path in finished.root.rglob("*")
        if path.is_file() and "withheld" not in path.parts and path.suffix in (".parquet", ".jsonl", ".json")
    ]
    # The summary inverter may write the very same trace, which is its purpose; nothing before it may hold one.
    before_inversion = [
        path
        for path in outside
        if not {"inverted_traces", "student_examples", "benchmark_answers", "work"} & set(path.parts)
    ]
    assert before_inversion
    for path in before_inversion:
        text = pl.read_parquet(path).write_json() if path.suffix == ".parquet" else path.read_text()
        assert longest not in text, path


def test_a_second_run_reuses_everything(copy: Home, tiny_study: Study):
    before = materialised(copy, tiny_study)
    assert run_study(tiny_study, copy, TARGETS, "miniature", None).failures == ()
    assert materialised(copy, tiny_study) == before


def test_a_student_hyperparameter_retrains_students_only(
    copy: Home, tiny_study: Study, tmp_path: Path, study_content: dict
):
    before = materialised(copy, tiny_study)
    study_content["student"]["recipe"]["learning_rate"] = 0.002
    changed = load_study(write_study(tmp_path, study_content))
    assert run_study(changed, copy, TARGETS, "miniature", None).failures == ()
    after = materialised(copy, changed)
    remade = {asset for asset in after if after[asset] != before[asset]}
    trained = CONDITIONS - {"base"}
    downstream = {f"{stage}/{one}" for stage in ("student", "benchmark_answers", "benchmark_scores") for one in trained}
    assert remade == downstream | {"comparison", "differences", "report"}


def test_terms_that_do_not_permit_training_stop_before_the_students(copy: Home, tiny_study: Study, tmp_path: Path):
    folder = target_folder(tmp_path, training_use="evaluation_only")
    outcome = run_study(tiny_study, copy, folder, "miniature", None)
    assert [(failure.asset, failure.kind) for failure in outcome.failures] == [("student_examples", "terms")]
    assert "training_use: evaluation_only" in outcome.failures[0].message
    assert {"target_outputs", "inverted_traces/summary", "trace_fidelity/summary"} <= outcome.made
    assert not any(asset.startswith(("student", "benchmark_answers", "comparison")) for asset in outcome.made)
    # The earlier comparison is still in the store and must not pass for this run's.
    shown = read_results(tiny_study, copy.store("tiny"), "miniature", outcome.made)
    assert [result.name for result in shown] == ["fidelity"]


def test_a_closed_target_that_shows_answers_only_has_neither_oracle_nor_summary_conditions(
    home: Home, tiny_study: Study, tmp_path: Path
):
    folder = target_folder(tmp_path, open=False, exposes="answer", reasoning=None)
    assert run_study(tiny_study, home, folder, "miniature", None).failures == ()
    comparison = home.store("tiny").read("comparison", "miniature")
    assert set(comparison["condition"]) == {"base", "answer_only", "surrogate_trace", "inverted_answer"}
    assert home.withheld("tiny").read("target_traces", "miniature").height == 0


def test_a_catalogue_that_cannot_be_written_is_a_failure_of_the_run(copy: Home, tiny_study: Study):
    copy.catalogue.unlink()
    (copy.catalogue / "in the way").mkdir(parents=True)
    (failure,) = run_study(tiny_study, copy, TARGETS, None, "key:benchmark_items").failures
    assert (failure.asset, failure.kind) == ("after the run", "error")
    assert "lineage.duckdb" in failure.message


def test_a_failed_gate_stops_what_is_downstream_and_names_the_rows(home: Home, tmp_path: Path, study_content: dict):
    study_content["inverter"]["recipe"]["max_length"] = 40
    study = load_study(write_study(tmp_path, study_content))
    outcome = run_study(study, home, TARGETS, "miniature", None)
    (failure,) = outcome.failures
    assert (failure.asset, failure.kind) == ("inverter_examples", "gate")
    assert "fits_max_length" in failure.message
    assert "e_" in failure.message
    made = set(materialised(home, study))
    assert "inverter_examples" in made
    assert "target_outputs" in made
    assert not any(asset.startswith(("inverter/", "inverted_traces")) for asset in made)


def test_summaries_of_another_style_do_not_reach_the_inverter(home: Home, tmp_path: Path, study_content: dict):
    # The two sides' prompts differ, so their compression differs a little: here that is too much.
    study_content["summary_style"] = {"factor": 1.0001, "points": 25}
    study = load_study(write_study(tmp_path, study_content))
    outcome = run_study(study, home, TARGETS, "miniature", "+key:inverted_traces/*")
    (failure,) = outcome.failures
    assert (failure.asset, failure.kind) == ("summary_style", "gate")
    assert "compression" in failure.message
    assert "study key summary_style" in failure.message
    assert "inverted_traces/summary" not in outcome.made
    assert "inverted_traces/answer" in outcome.made


def test_the_catalogue_shows_materialisations_inputs_and_rows(finished: Home):
    with duckdb.connect(str(finished.catalogue), read_only=True) as catalogue:
        inputs = catalogue.execute("SELECT input FROM inputs WHERE asset = 'inverted_traces/summary'").fetchall()
        scores = catalogue.execute("SELECT count(*), count(DISTINCT seed) FROM benchmark_scores_oracle").fetchone()
        failed = catalogue.execute("SELECT count(*) FROM gates WHERE NOT passed").fetchone()
    assert {name for (name,) in inputs} == {"prompts", "target_outputs", "inverter/summary", "summary_style"}
    assert scores == (144, 2)  # 24 items once and 24 items twice, by two seeds
    assert failed == (0,)


def test_the_report_opens_without_a_network_and_carries_its_caution(finished: Home):
    html = (finished.reports("tiny", "miniature") / "report.html").read_text()
    assert "no evidence for the" in html
    assert 'src="http' not in html
    assert 'href="http' not in html
    assert "inverted_summary" in html


def test_a_base_that_can_think_is_measured_both_ways(home: Home, tmp_path: Path, study_content: dict):
    study_content["student"] |= {"model": str(checkpoint("qwen3", tmp_path / "student")), "thinking": True}
    study_content["conditions"], study_content["exposures"] = ["base", "base_thinking_off"], ["answer"]
    study = load_study(write_study(tmp_path, study_content))
    outcome = run_study(study, home, TARGETS, "miniature", "+key:comparison")
    assert outcome.failures == ()
    comparison = home.store("tiny").read("comparison", "miniature")
    assert set(comparison["condition"]) == {"base", "base_thinking_off"}
    on, off = (
        home.store("tiny").read(f"benchmark_answers/{one}", "miniature") for one in ("base", "base_thinking_off")
    )
    assert on["checkpoint_id"].unique().to_list() == off["checkpoint_id"].unique().to_list()
    assert not set(on["request_key"]) & set(off["request_key"])
    written = pl.concat([pl.read_parquet(path) for path in home.root.glob("open/work/*/generated/*.parquet")])
    for rows, ending in ((on, "<|im_start|>assistant\n"), (off, "<think>\n\n</think>\n\n")):
        asked = written.join(rows, on="request_key", how="semi")["prompt_text"]
        assert asked.len()
        assert asked.str.ends_with(ending).all()
