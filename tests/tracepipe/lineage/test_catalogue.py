"""The catalogue: rebuilt from files, swapped in whole, readable meanwhile; a kill loses nothing that was reported."""

import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tracepipe.home import Home
from tracepipe.lineage.catalogue import SCHEMAS, rebuild
from tracepipe.lineage.walk import Lineage
from tracepipe.records import PROMPTS
from tracepipe.spec import SpecError
from tracepipe.store import Making, Store, events_under, read_event

KILLS = 50


def making(recipe: str = "k1", asset: str = "prompts", **more: object) -> Making:
    about = {"partition": "all", "stage": "prompts", "code_version": "1", "config_version": "c", "run_id": "run"}
    return Making(**{**about, "asset": asset, "recipe_key": recipe, "seconds": 0.5, **more})


def prompts(*ids: str) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(PROMPTS, "text") | {"prompt_id": one} for one in ids])


def test_every_table_has_its_documented_columns(finished: Home):
    documented = (Path(__file__).parents[3] / "docs" / "lineage.md").read_text()
    with duckdb.connect(str(finished.catalogue), read_only=True) as catalogue:
        for table, columns in SCHEMAS.items():
            found = [row[0] for row in catalogue.execute(f"DESCRIBE {table}").fetchall()]
            assert found == list(columns)
            assert f"`{table}`" in documented
            for column in columns:
                assert f"`{column}`" in documented, (table, column)


def test_generations_hold_every_model_call_with_model_sampling_tokens_and_cost(finished: Home):
    with duckdb.connect(str(finished.catalogue), read_only=True) as catalogue:
        rows = catalogue.execute(
            "SELECT asset, count(*), count(request_key), count(model), count(sampling), count(output_tokens), "
            "count(outcome), sum(cost_usd) FROM generations GROUP BY asset"
        ).fetchall()
    counted = {asset: figures for asset, *figures in rows}
    calls = 24 * 2 + 24 * 2 * 2
    assert counted["benchmark_answers/oracle"] == [calls] * 6 + [0]
    assert counted["surrogate_traces"][:6] == [64] * 6
    assert counted["target_outputs"][:6] == [64] * 6
    outputs = finished.store("tiny").read("target_outputs", "miniature")
    assert counted["target_outputs"][6] == pytest.approx(outputs["cost_usd"].sum())
    assert {"zero_shot_traces/answer", "inverted_traces/summary", "surrogate_summaries"} <= set(counted)


def test_models_hold_trained_and_given_ones(finished: Home):
    with Lineage(finished.catalogue, finished.responses) as lineage:
        rows = lineage.ask("SELECT * FROM models WHERE name = 'student/oracle' ORDER BY seed")
        given = lineage.ask("SELECT name FROM models WHERE given")
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        manifest = finished.checkpoints.manifest(row["checkpoint_id"])
        assert (row["weights"], row["dataset_hash"]) == (manifest.weights, manifest.dataset_hash)
        assert (row["losses"], row["last_loss"]) == (manifest.losses, manifest.losses[-1])
        assert json.loads(row["recipe"])["learning_rate"] == 0.004
    assert {row["name"] for row in given} == {"base", "surrogate"}


def test_views_show_versions_in_use_and_rows_of_old_ones_are_still_found(tmp_path: Path):
    home = Home(tmp_path)
    store = home.store("s")
    store.write(prompts("p_old"), making("k1"))
    store.write(prompts("p_new"), making("k2"))
    assert home.rebuild_catalogue() == 2
    with Lineage(home.catalogue, home.responses) as lineage:
        assert lineage.ask("SELECT study, target, prompt_id FROM prompts") == [
            {"study": "s", "target": "all", "prompt_id": "p_new"}
        ]
        (old,) = lineage.holding("p_old")
        assert not old.current
        assert lineage.walk("p_old", old).row["prompt_id"] == "p_old"


def test_tables_of_other_columns_stand_in_one_view(tmp_path: Path):
    home = Home(tmp_path)
    home.store("a").write(prompts("p_1"), making())
    home.store("b").write(prompts("p_2").with_columns(more=pl.lit(1)), making())
    home.rebuild_catalogue()
    with Lineage(home.catalogue, home.responses) as lineage:
        found = lineage.ask("SELECT study, prompt_id, more FROM prompts ORDER BY study")
    assert [tuple(row.values()) for row in found] == [("a", "p_1", None), ("b", "p_2", 1)]


def test_a_reader_is_not_disturbed_by_a_rebuild(tmp_path: Path):
    home = Home(tmp_path)
    home.store("s").write(prompts("p_1"), making())
    home.rebuild_catalogue()
    with Lineage(home.catalogue, home.responses) as reader:
        home.store("s").write(prompts("p_1", "p_2"), making("k2"))
        home.rebuild_catalogue()
        assert reader.ask("SELECT count(*) AS n FROM materializations") == [{"n": 1}]
        # In a process of its own: DuckDB gives one process one database for one path while it is open.
        program = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('FROM prompts').shape)"
        command = [sys.executable, "-c", program, str(home.catalogue)]
        fresh = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert fresh.startswith("(2,")


def test_events_of_an_earlier_tracepipe_are_passed_over(tmp_path: Path):
    home = Home(tmp_path)
    event = home.store("s").write(prompts("p_1"), making())
    folder = (home.roots[0] / event.path).parent
    (folder / "0123.json").write_text('{"study": "s", "asset": "prompts", "gates": []}')
    assert home.rebuild_catalogue() == 1


def test_a_file_that_is_gone_or_cut_does_not_disturb_the_rest(tmp_path: Path):
    home = Home(tmp_path)
    home.store("a").write(prompts("p_1"), making())
    for study, content in {"b": None, "c": b"half"}.items():
        path = home.roots[0] / home.store(study).write(prompts("p_2"), making()).path
        path.unlink() if content is None else path.write_bytes(content)
    assert home.rebuild_catalogue() == 3
    with Lineage(home.catalogue, home.responses) as lineage:
        assert lineage.ask("SELECT study FROM prompts") == [{"study": "a"}]
        assert lineage.holding("p_2") == []


def test_a_catalogue_of_another_version_is_refused(tmp_path: Path):
    path = tmp_path / "lineage.duckdb"
    with duckdb.connect(str(path)) as catalogue:
        catalogue.execute("CREATE TABLE about AS SELECT 'v0.1' AS duckdb")
    with pytest.raises(SpecError, match="another version; run: tracepipe lineage rebuild"):
        Lineage(path, tmp_path)


def materialise_and_rebuild(root: Path, start: int, report: Connection) -> None:
    """Write versions and rebuild for ever; tell of each version once it is written."""
    home = Home(root)
    store: Store = home.store("s")
    for number in range(start, start + 10_000):
        event = store.write(prompts(*(f"p_{number}_{row}" for row in range(300))), making(f"k{number}"))
        report.send(event.version)
        home.rebuild_catalogue()


def test_50_kills_at_random_moments_lose_no_event_and_show_no_half_file(tmp_path: Path):
    # The server has imported everything; each child is a fork of it, and begins to write at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tracepipe.lineage.test_catalogue"])
    home, reported, generator, half, built = Home(tmp_path), [], random.Random(0), 0, False
    for kill in range(KILLS):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=materialise_and_rebuild, args=(tmp_path, kill * 10_000, theirs))
        child.start()
        theirs.close()
        reported.append(ours.recv())
        time.sleep(generator.uniform(0, 0.15))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        while True:
            try:
                reported.append(ours.recv())
            except (EOFError, OSError):
                break
        half += any(path.suffix == ".tmp" for path in tmp_path.rglob(".*"))
        built = built or home.catalogue.exists()
        if built:
            with Lineage(home.catalogue, home.responses) as lineage:
                assert lineage.ask("SELECT count(*) AS n FROM prompts")[0]["n"] == 300
    events = {event.version: event for event in events_under(home.roots[0])}
    assert set(reported) <= set(events)
    for event in events.values():
        assert pl.read_parquet(home.roots[0] / event.path).height == event.rows
    in_use = read_event(home.roots[0] / "tables" / "s" / "prompts" / "all" / "current.json")
    assert in_use is not None
    assert in_use.version in events
    assert home.rebuild_catalogue() == len(events)
    assert list(tmp_path.glob(".lineage*")) == []
    assert half > KILLS / 10, "the kills came too late to leave anything half written"


def test_an_empty_home_has_an_empty_catalogue(tmp_path: Path):
    assert rebuild(tmp_path / "open", tmp_path / "withheld", tmp_path / "lineage.duckdb", tmp_path / "none") == 0
    with Lineage(tmp_path / "lineage.duckdb", tmp_path) as lineage:
        assert lineage.holding("p_1") == []
