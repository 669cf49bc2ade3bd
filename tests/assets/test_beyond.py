"""What goes beyond the paper, on a real Dagster instance: levels of exposure, selection, compositions, budgets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tests.conftest import TARGETS, beyond_study_content, write_study
from tests.tracepipe.lineage.test_walk import walk_all
from tracepipe.definitions import run_study
from tracepipe.home import Home
from tracepipe.lineage.links import FAMILIES
from tracepipe.lineage.walk import Lineage
from tracepipe.registry import load_target
from tracepipe.report.material import Material, material_of
from tracepipe.report.sections import audit_sections, sections
from tracepipe.study import Study

SENTINEL = "SENTINEL"
SELECTED = ("trace_draws/answer", "selected_traces/answer")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, beyond_study: Study) -> Home:
    home = Home(tmp_path_factory.mktemp("beyond"))
    assert run_study(beyond_study, home, TARGETS, "miniature", None).failures == ()
    return home


@pytest.fixture(scope="module")
def material(ran: Home, beyond_study: Study) -> Material:
    stores = (ran.store("beyond"), ran.withheld("beyond"))
    return material_of(beyond_study, load_target(TARGETS / "miniature.yaml"), stores)


def test_every_condition_is_trained_on_the_rows_it_is_made_of(ran: Home, beyond_study: Study):
    store = ran.store("beyond")
    comparison = store.read("comparison", "miniature")
    assert set(comparison["condition"]) == set(beyond_study.conditions)
    used = set(store.read("row_set", "miniature").filter("used")["prompt_id"])
    examples = store.read("student_examples", "miniature")
    own = {name: rows for (name,), rows in examples.group_by("condition")}
    whole = ["answer_only", "inverted_answer", "inverted_answer_likely", "inverted_half", "inverted_thorough"]
    assert all(set(own[name]["prompt_id"]) == used for name in [*whole, "half_and_half", "zero_shot_summary"])
    assert own["inverted_summary_augmented"].height == 2 * len(used)
    assert own["inverted_summary_curriculum"].group_by("phase").len().sort("phase")["len"].to_list() == [len(used)] * 2
    assert own["as_long"].height == own["no_longer"].height
    assert 0 < own["inverted_summary_at_16"].height < own["inverted_summary_at_32"].height
    assert ran.withheld("beyond").read("oracle_examples", "miniature").height == len(used)


def test_draws_are_measured_and_one_of_them_is_taken(ran: Home):
    store = ran.store("beyond")
    draws, selected = (store.read(name, "miniature") for name in SELECTED)
    survives = pl.all_horizontal("terminates", "no_loop", "agrees", "no_quote")
    assert set(draws.group_by("prompt_id").len()["len"]) <= {2, 3}
    # A row without a survivor among its first draws is drawn once more, and no other row is.
    first = draws.filter(pl.col("draw") < 2).group_by("prompt_id").agg(survived=survives.any())
    lost = set(first.filter(~pl.col("survived"))["prompt_id"])
    assert lost
    assert set(draws.filter(draw=2)["prompt_id"]) == lost
    ended = draws.filter("terminates")
    assert (ended["likelihood"] < 0).all()
    assert (ended["plausibility"] < 0).all()
    plain = store.read("inverted_traces/answer", "miniature")
    assert set(draws.filter(draw=0)["request_key"]) == set(plain["request_key"])
    taken = selected.filter(pl.col("request_key").is_not_null()).join(draws, on="request_key", validate="1:1")
    assert taken["inverted_trace"].equals(taken["inverted_trace_right"])
    assert set(selected["lost_to"].drop_nulls()) == {"plausible"} | ({"terminates"} & set(selected["lost_to"]))


def test_no_selection_sees_what_the_target_hides(ran: Home, beyond_study: Study, tmp_path: Path):
    """The hidden traces are replaced by others: selection makes the same rows, and nothing outside holds a word."""
    home, store = Home(tmp_path / "home"), ran.store("beyond")
    collected = "+key:target_outputs"
    assert run_study(beyond_study, home, TARGETS, "miniature", collected).failures == ()
    log = home.trace_log("miniature").path
    lines = [json.loads(line) | {"trace": f"A +1 {SENTINEL}"} for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    wanted = "+key:target_traces or +key:selected_traces/answer"
    assert run_study(beyond_study, home, TARGETS, "miniature", wanted).failures == ()
    planted = home.withheld("beyond").read("target_traces", "miniature")["trace"]
    assert planted.unique().to_list() == [f"A +1 {SENTINEL}"]
    for name in SELECTED:
        assert home.store("beyond").read(name, "miniature").equals(store.read(name, "miniature"))
    for path in (path for path in home.root.rglob("*") if path.is_file() and "withheld" not in path.parts):
        whole = pl.read_parquet(path).write_ndjson().encode() if path.suffix == ".parquet" else path.read_bytes()
        assert SENTINEL.encode() not in whole, path


def test_an_inverter_may_learn_from_other_texts_than_it_is_given(ran: Home, beyond_study: Study):
    store = ran.store("beyond")
    examples = store.read("inverter_examples", "all")
    prompts = {
        name: dict(rows.select("prompt_id", "prompt").iter_rows()) for (name,), rows in examples.group_by("condition")
    }
    assert set(prompts["reworded"]) == set(prompts["half"]) == set(prompts["summary"])
    dealt = {
        key: {name for name in ("summary", "half") if prompts[name][key] == text}
        for key, text in prompts["reworded"].items()
    }
    assert all(dealt.values())
    assert {"summary"} in dealt.values()
    assert {"half"} in dealt.values()
    shown = store.read("target_exposures/reworded", "miniature")
    outputs = store.read("target_outputs", "miniature")
    assert set(shown["prompt_id"]) == set(outputs.filter(pl.col("summary").is_not_null())["prompt_id"])


def test_the_leakage_curve_has_both_ends_and_every_level(ran: Home):
    leaks = ran.store("beyond").read("leakage", "miniature")
    levels = ["none", "answer", "summary", "half", "reworded", "thorough", "full_trace", "untrained", "surrogate"]
    assert leaks["level"].to_list() == levels
    comparison = ran.store("beyond").read("comparison", "miniature")
    for row in leaks.iter_rows(named=True):
        (scored,) = comparison.filter(condition=row["condition"]).to_dicts()
        assert (row["accuracy"], row["low"], row["high"]) == (scored["accuracy"], scored["low"], scored["high"])
    tokens = dict(leaks.select("level", "tokens").iter_rows())
    assert tokens["none"] == tokens["answer"] == 0
    assert tokens["half"] < tokens["summary"] == tokens["reworded"] < tokens["thorough"] < tokens["full_trace"]
    assert leaks.filter(pl.col("fidelity").is_not_null())["level"].to_list() == levels[1:7]


def test_report_and_page_say_what_was_lost_and_what_each_policy_costs(ran: Home, material: Material):
    written = {section.anchor: section for section in sections(material)}
    assert {"leakage", "budgets", "rows", "selection", "matched"} <= set(written)
    assert [row[2] for row in written["budgets"].grids[0].rows] == ["16", "32"]
    assert [row[1] for row in written["matched"].grids[0].rows] == ["as_long", "no_longer"]
    (selection,) = written["selection"].grids
    assert selection.rows[0][:2] == ("answer", "likely")
    shown = dict(zip(selection.header, selection.rows[0], strict=True))
    assert shown["lost to agrees"] == "off"
    assert re.match(r"in-distribution: [+-][\d.]+ \([+-][\d.]+ to [+-][\d.]+", shown["points over the first draw"])
    assert not any("matched in length" in point for point in written["limits"].points)
    for grid in (grid for section in written.values() for grid in section.grids if "accuracy %" in grid.header):
        assert {"95 % interval", "truncated %", "no answer %"} <= set(grid.header)
    (leakage, *_) = audit_sections(material)
    assert len(leakage.points) == 5
    assert all(re.search(r"students reach [\d.]+ % \(.*cut off .*no answer", point) for point in leakage.points)
    page = (ran.reports("beyond", "miniature") / "audit.html").read_text()
    assert "the first half" in page
    assert 'src="http' not in page


def test_the_audit_command_prints_the_curve_of_a_study_with_levels_and_reuses_all_of_it(ran: Home, tmp_path: Path):
    study = write_study(tmp_path, beyond_study_content())
    before = ran.store("beyond").read("leakage", "miniature")
    environment = os.environ | {"TRACEPIPE_HOME": str(ran.root), "NO_COLOR": "1", "COLUMNS": "250"}
    command = [sys.executable, "-m", "tracepipe", "audit", str(study), "--target", "miniature"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "half (the first half):" in ended.stdout
    assert "full_trace" in ended.stdout
    assert f"{ran.reports('beyond', 'miniature')}/audit.html" in ended.stdout
    assert "train student" not in ended.stderr
    assert ran.store("beyond").read("leakage", "miniature").equals(before)


def test_a_budgets_points_are_no_pairs(ran: Home):
    found = ran.store("beyond").read("differences", "miniature")
    assert not [name for name in found["condition"] if "_at_" in name]
    assert "inverted_answer_likely" in set(found["condition"])


def test_every_table_has_its_lineage(ran: Home):
    families, _ = walk_all(ran, 20)
    assert families == set(FAMILIES)


def test_a_selected_row_is_walked_down_to_its_draw_and_the_answer_shown(ran: Home):
    examples = ran.store("beyond").read("student_examples", "miniature").filter(condition="inverted_answer_likely")
    draws = ran.store("beyond").read("trace_draws/answer", "miniature").filter(pl.col("draw") > 0)
    later = examples.join(draws, on="request_key", how="semi")["example_id"]
    with Lineage(ran.catalogue, ran.responses) as lineage:
        (version, *_) = lineage.holding(later[0])
        node = lineage.walk(later[0], version)
    families = {one.version.asset.partition("/")[0] for one in node.all()}
    assert {"student_examples", "selected_traces", "trace_draws", "inverter", "target_outputs", "prompts"} <= families
    with duckdb.connect(str(ran.catalogue), read_only=True) as catalogue:
        read = catalogue.execute("SELECT input FROM inputs WHERE asset = 'trace_draws/answer'").fetchall()
    assert not [name for (name,) in read if name == "target_traces"]
