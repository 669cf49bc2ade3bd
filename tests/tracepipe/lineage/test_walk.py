"""Every row of every table can be walked back to what it stands on, down to the request and the raw response."""

import json
from pathlib import Path

import polars as pl
import pytest

from tracepipe.home import Home
from tracepipe.identity import request_key
from tracepipe.lineage.links import FAMILIES, family_of
from tracepipe.lineage.walk import Lineage, Node, Version
from tracepipe.spec import SpecError
from tracepipe.study import Study

ROWS = 200
BEYOND = {
    "trace_draws",
    "selected_traces",
    "target_exposures",
    "surrogate_exposures",
    "leakage",
    "audit",
}
"""What only studies beyond the paper have; `tests/assets/test_beyond.py` walks them."""


def keys_of(version: Version, rows: int) -> list[str]:
    """The ids of so many random rows."""
    columns = FAMILIES[family_of(version.asset)].key
    table = pl.read_parquet(version.path, columns=list(columns))
    drawn = table.sample(min(rows, table.height), seed=0).iter_rows(named=True)
    return [" ".join(str(row[column]) for column in columns) for row in drawn]


def walk_all(home: Home, rows: int) -> tuple[set[str], int]:
    """Walk so many rows of every table; returns the families walked, and how many rows it were."""
    walked, families = 0, set[str]()
    with Lineage(home.catalogue, home.responses) as lineage:
        for version in lineage.versions("m.current"):
            families.add(family_of(version.asset))
            for key in keys_of(version, rows):
                node = lineage.walk(key, version)
                assert node.key == key
                assert [what for one in node.all() for what in one.missing] == [], (version.asset, key)
                walked += 1
    return families, walked


def test_200_random_rows_of_every_table_resolve_every_id(finished: Home):
    families, walked = walk_all(finished, ROWS)
    assert families == set(FAMILIES) - BEYOND
    assert walked > 3000


def test_an_id_is_found_in_the_version_it_stands_in(finished: Home):
    with Lineage(finished.catalogue, finished.responses) as lineage:
        for version in lineage.versions("m.current AND m.rows > 0"):
            (key,) = keys_of(version, 1)
            assert version.number in [found.number for found in lineage.holding(key)], (version.asset, key)
        assert lineage.holding("r_nobody") == []


def score_walk(home: Home) -> Node:
    key = home.store("tiny").read("benchmark_scores/inverted_summary", "miniature")["request_key"][0]
    with Lineage(home.catalogue, home.responses) as lineage:
        return lineage.walk(key, lineage.holding(key)[0])


def test_a_score_leads_to_the_request_and_the_raw_response(finished: Home):
    nodes = {family_of(one.version.asset): one for one in score_walk(finished).all() if not one.repeated}
    assert set(nodes) == {
        "benchmark_scores",
        "benchmark_answers",
        "benchmark_items",
        "student",
        "student_examples",
        "inverted_traces",
        "target_outputs",
        "prompts",
        "inverter",
        "inverter_examples",
        "surrogate_traces",
        "surrogate_summaries",
    }
    assert nodes["student_examples"].of == 64
    assert nodes["student_examples"].row["condition"] == "inverted_summary"
    output = nodes["target_outputs"]
    assert output.request["model"] == "miniature-target"
    response = output.response
    with Path(response["journal"]).open("rb") as journal:
        journal.seek(response["offset"])
        entry = json.loads(journal.readline())
    assert entry["request_key"] == output.row["request_key"]
    assert output.row["answer"] in json.dumps(json.loads(entry["body"])).encode().decode("unicode_escape")


def test_the_request_of_a_local_model_can_be_computed_anew(finished: Home, tiny_study: Study):
    nodes = {family_of(one.version.asset): one for one in score_walk(finished).all() if not one.repeated}
    trace, prompt = nodes["surrogate_traces"], nodes["inverter_examples"].children[-1]
    asked = trace.request
    body = {
        "prompt": asked["wording"]["template"].format(prompt=prompt.row["prompt"]),
        "dtype": asked["engine"]["dtype"],
    }
    body |= {name: asked[name] for name in ("sampling", "thinking", "seed")}
    key = request_key(endpoint=asked["engine"]["endpoint"], base_url="", model=asked["weights"], body=body)
    assert key == trace.row["request_key"]


def test_a_response_that_is_not_where_its_row_says_is_missing(finished: Home, tmp_path: Path):
    (row,) = finished.store("tiny").read("target_outputs", "miniature").head(1).iter_rows(named=True)
    key, another = row["request_key"], '{"kind": "response", "request_key": "r_another"}\n'
    (tmp_path / "miniature.jsonl").write_text(" " * row["offset"] + another)
    for responses in (tmp_path, tmp_path / "gone"):
        with Lineage(finished.catalogue, responses) as lineage:
            node = lineage.walk(key, lineage.holding(key)[0])
        assert not node.response["found"]
        assert key in node.missing[0]


def test_no_catalogue_and_no_such_row_are_clear_errors(finished: Home, tmp_path: Path):
    with pytest.raises(SpecError, match="tracepipe lineage rebuild"):
        Lineage(tmp_path / "none.duckdb", tmp_path)
    with Lineage(finished.catalogue, finished.responses) as lineage:
        (version,) = lineage.versions("m.asset = 'prompts'")
        with pytest.raises(SpecError, match="has no row 'p_nobody'"):
            lineage.walk("p_nobody", version)
