"""Tables are whole or absent, known by their recipe, and never silently replaced."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracepipe.files import write_parquet
from tracepipe.gates import Gate
from tracepipe.store import Event, Input, Making, Store, read_event, recipe_key


def write(store: Store, frame: pl.DataFrame, key: str = "k1", asset: str = "inverted_traces/summary") -> Event:
    making = Making(
        asset=asset,
        partition="t",
        stage="inversion",
        recipe_key=key,
        code_version="1",
        config_version="c",
        run_id="run",
        seconds=0.5,
        inputs=(Input("prompts", "all", "k0.d0"),),
        cost_usd=0.25,
        gates=(Gate("g", passed=False, summary="1 bad", rows=("p_1",)),),
        details={"rows read": 2},
    )
    return store.write(frame, making)


def test_a_table_and_its_event_come_back_as_they_were_written(tmp_path: Path):
    store = Store(tmp_path, "study")
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    event = write(store, frame)
    assert store.read("inverted_traces/summary", "t").equals(frame)
    assert store.current("inverted_traces/summary", "t") == event
    assert store.find("inverted_traces/summary", "t", "k1") == event
    assert store.version(event.as_input) == event
    assert read_event(tmp_path / "nowhere.json") is None


def test_versions_of_other_recipes_stay_and_can_be_used_again(tmp_path: Path):
    store = Store(tmp_path, "study")
    first = write(store, pl.DataFrame({"a": [1]}), "k1")
    write(store, pl.DataFrame({"a": [2]}), "k2")
    assert store.read("inverted_traces/summary", "t")["a"].to_list() == [2]
    store.use(first)
    assert store.read("inverted_traces/summary", "t")["a"].to_list() == [1]


def test_other_rows_of_the_same_recipe_are_another_version_and_the_latest_is_found(tmp_path: Path):
    store = Store(tmp_path, "study")
    first = write(store, pl.DataFrame({"a": [1]}))
    second = write(store, pl.DataFrame({"a": [2]}))
    assert first.recipe_key == second.recipe_key
    assert store.read_version(first)["a"].to_list() == [1]
    assert store.find("inverted_traces/summary", "t", "k1") == second


def test_a_table_whose_file_is_gone_or_cut_is_not_found_again(tmp_path: Path):
    store = Store(tmp_path, "study")
    event = write(store, pl.DataFrame({"a": [1]}))
    file = tmp_path / event.path
    file.write_bytes(file.read_bytes()[:-1])
    assert store.find("inverted_traces/summary", "t", "k1") is None
    file.unlink()
    with pytest.raises(FileNotFoundError, match="materialise it again"):
        store.read("inverted_traces/summary", "t")


def test_reading_a_table_never_made_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"'prompts' \(all\) has not been materialised"):
        Store(tmp_path, "study").read("prompts", "all")


@given(st.dictionaries(st.text(), st.text(), max_size=5), st.text(), st.text())
def test_a_recipe_does_not_depend_on_the_order_of_inputs_and_depends_on_each(inputs: dict, name: str, version: str):
    key = recipe_key("a", "1", inputs, {})
    assert recipe_key("a", "1", dict(reversed(inputs.items())), {}) == key
    if inputs.get(name) != version:
        assert recipe_key("a", "1", inputs | {name: version}, {}) != key


@settings(max_examples=8)
@given(st.floats(0.0, 0.15))
def test_a_kill_while_writing_leaves_the_old_file_or_the_new_one(tmp_path_factory: pytest.TempPathFactory, wait: float):
    path = tmp_path_factory.mktemp("killed") / "table.parquet"
    write_parquet(pl.DataFrame({"a": [0]}), path)
    program = (
        "import sys, polars as pl; from pathlib import Path; from tracepipe.store import write_parquet\n"
        "print('ready', flush=True)\n"
        "for value in range(1, 10**6): write_parquet(pl.DataFrame({'a': [value] * 50_000}), Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
    frame = pl.read_parquet(path)
    assert frame["a"].n_unique() == 1
    assert frame.height in (1, 50_000)
