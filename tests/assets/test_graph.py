"""The shape of the graph, and what an asset may read."""

import json
from pathlib import Path

import dagster as dg
import pytest

from assets import build_assets, build_graph
from assets.graph import Graph
from assets.metadata import column_lineage
from assets.step import Made, Step, TableAsset
from tests.conftest import write_study
from tracepipe.definitions import build_definitions, run_study
from tracepipe.grading import sandbox
from tracepipe.home import Home
from tracepipe.lineage.links import FAMILIES, family_of
from tracepipe.records import EXAMPLES, PROMPTS, empty
from tracepipe.study import Study, load_study

STUDY_TABLES = {
    "chat_templates",
    "prompts",
    "rejected_prompts",
    "benchmark_items",
    "contaminated_prompts",
    "surrogate_traces",
    "surrogate_summaries",
    "inverter_examples",
}


@pytest.fixture
def specs(study: Study) -> dict[str, dg.AssetSpec]:
    found = [spec for asset in build_assets(study) for spec in asset.specs]
    return {spec.key.to_user_string(): spec for spec in found}


def test_the_graph_holds_the_assets_of_the_design(specs: dict[str, dg.AssetSpec], study: Study):
    per_exposure = {
        f"{name}/{one}"
        for name in ("inverter", "inverted_traces", "trace_consistency", "zero_shot_traces", "trace_fidelity")
        for one in study.exposures
    }
    stages = ("student", "benchmark_answers", "benchmark_scores")
    per_condition = {f"{name}/{one}" for name in stages for one in study.conditions}
    shown = {"target_outputs", "target_attempts", "target_changes", "dead_letters", "summary_style"}
    partitioned = shown | {
        "target_traces",
        "row_set",
        "student_examples",
        "oracle_examples",
        "comparison",
        "differences",
        "report",
    }
    assert set(specs) == STUDY_TABLES | partitioned | per_exposure | per_condition


def test_what_belongs_to_the_study_is_not_partitioned_and_the_rest_is_by_target(specs: dict[str, dg.AssetSpec]):
    unpartitioned = {name for name, spec in specs.items() if spec.partitions_def is None}
    assert unpartitioned == STUDY_TABLES | {"inverter/summary", "inverter/answer"}
    others = {spec.partitions_def.name for name, spec in specs.items() if name not in unpartitioned}
    assert others == {"target"}


def test_every_asset_says_what_it_is_who_owns_it_and_what_code_makes_it(specs: dict[str, dg.AssetSpec]):
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.code_version, name
        assert spec.metadata["dagster/column_schema"].columns, name


def below(specs: dict[str, dg.AssetSpec], name: str) -> set[str]:
    """An asset and all that is made from it."""
    children = [child for child, spec in specs.items() if name in {dep.asset_key.to_user_string() for dep in spec.deps}]
    return {name}.union(*(below(specs, child) for child in children))


def test_hidden_traces_are_upstream_of_fidelity_and_the_oracle_only(specs: dict[str, dg.AssetSpec]):
    allowed = {
        "target_traces",
        "oracle_examples",
        "comparison",
        "differences",
        "report",
        "trace_fidelity/summary",
        "trace_fidelity/answer",
    }
    oracle = {f"{stage}/oracle" for stage in ("student", "benchmark_answers", "benchmark_scores")}
    assert below(specs, "target_traces") == allowed | oracle


def test_no_selection_and_no_other_exposure_stands_on_a_policy_of_traces(beyond_study: Study):
    found = [spec for asset in build_assets(beyond_study) for spec in asset.specs]
    specs = {spec.key.to_user_string(): spec for spec in found}
    hidden = below(specs, "target_traces")
    assert {"target_exposures/thorough", "inverted_traces/thorough"} <= hidden
    others = [name for name in beyond_study.exposures if name != "thorough"]
    assert not hidden & {f"inverted_traces/{name}" for name in others}
    assert not hidden & {"trace_draws/answer", "selected_traces/answer", "inverter_examples"}


def test_lineage_knows_every_table_its_columns_and_what_its_rows_stand_on(beyond_study: Study):
    graph = build_graph(beyond_study)
    assert {family_of(name) for name in graph.tables} == set(FAMILIES)
    for name, asset in graph.tables.items():
        family = FAMILIES[family_of(name)]
        assert family.table == asset.table, name
        assert set(family.key) <= set(asset.table)
        read = {family_of(parent) for parent in asset.reads}
        for link in family.links:
            assert set(link.to) & read, (name, link)
            assert set(link.on) <= set(asset.table)
            for to in link.to:
                assert {*link.on.values(), *([link.suffix] if link.suffix else [])} <= set(FAMILIES[to].table)
        for column, origins in family.origins.items():
            assert column in asset.table
            assert all(origin in FAMILIES[to].table for to, origin in origins)


def test_the_ui_shows_where_columns_come_from(study: Study):
    shown = column_lineage("student_examples", EXAMPLES, ["prompts", "target_outputs", "inverted_traces/summary"])
    deps = {(dep.asset_key.to_user_string(), dep.column_name) for dep in shown.deps_by_column["completion"]}
    assert deps == {
        ("target_outputs", "answer"),
        ("target_outputs", "summary"),
        ("inverted_traces/summary", "inverted_trace"),
    }


def test_a_targets_outputs_have_a_freshness_policy(specs: dict[str, dg.AssetSpec], study: Study):
    assert specs["target_outputs"].freshness_policy is not None
    stale = specs["target_outputs"].freshness_policy.fail_window.to_timedelta()
    assert stale.days == study.fresh_days == 45


def table(name: str, **options: object) -> TableAsset:
    make = options.pop("make", lambda _: Made(empty(PROMPTS)))
    return TableAsset(name=name, stage="prompts", description="d", table=PROMPTS, make=make, version="1", **options)


def test_an_attack_side_asset_cannot_be_built_on_hidden_traces(study: Study):
    graph = Graph(study)
    graph.add(table("hidden", withheld=True))
    with pytest.raises(ValueError, match="on the attack side and may not read 'hidden'"):
        graph.add(table("inverter_examples", reads=("hidden",)))


def test_a_step_reads_what_it_declared_and_nothing_else(study: Study, home: Home):
    caught: dict[str, Exception] = {}

    def make(step: Step) -> Made:
        for name, look in {"undeclared": lambda: step.read("hidden"), "log": lambda: step.trace_log}.items():
            try:
                look()
            except (KeyError, PermissionError) as error:
                caught[name] = error
        return Made(empty(PROMPTS))

    graph = Graph(study)
    graph.add(table("hidden", withheld=True, partitioned=False))
    graph.add(table("curious", make=make, partitioned=False))
    resources = build_definitions(study, home, home.root).resources
    assert dg.materialize(graph.assets, resources=resources).success
    assert {name: type(error) for name, error in caught.items()} == {"undeclared": KeyError, "log": PermissionError}


def test_the_configuration_is_part_of_the_code_version(study: Study):
    def versions(of: Study) -> dict[str, str | None]:
        return {spec.key.to_user_string(): spec.code_version for asset in build_assets(of) for spec in asset.specs}

    recipe = study.student.recipe.model_copy(update={"learning_rate": 0.1})
    changed = study.model_copy(update={"student": study.student.model_copy(update={"recipe": recipe})})
    before, after = versions(study), versions(changed)
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {f"student/{one}" for one in study.trained_conditions} | {"report"}


def test_an_edited_prompt_file_is_another_source(tmp_path: Path, study_content: dict):
    prompts = tmp_path / "prompts.jsonl"
    study_content["prompts"] = {"source": {"kind": "file", "path": "prompts.jsonl"}}

    def prompts_version(text: str) -> str | None:
        prompts.write_text(text)
        built = build_assets(load_study(write_study(tmp_path, study_content)))
        specs = {spec.key.to_user_string(): spec for asset in built for spec in asset.specs}
        return specs["prompts"].code_version

    assert prompts_version('{"prompt": "a"}') != prompts_version('{"prompt": "b"}')


def test_a_benchmark_of_code_stops_at_its_items_where_there_is_no_sandbox(
    tmp_path: Path, study_content: dict, monkeypatch: pytest.MonkeyPatch
):
    case = {"input": "1", "output": "1", "testtype": "stdin"}
    row = {"question_id": "q", "question_content": "Echo.", "public_test_cases": json.dumps([case])}
    (tmp_path / "items.jsonl").write_text(json.dumps(row))
    study_content["benchmarks"] = [{"kind": "livecodebench", "path": "items.jsonl"}]
    study = load_study(write_study(tmp_path, study_content))
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    sandbox.require.cache_clear()
    outcome = run_study(study, Home(tmp_path / "home"), tmp_path, None, "key:benchmark_items")
    sandbox.require.cache_clear()
    (failure,) = outcome.failures
    assert failure.asset == "benchmark_items"
    assert "there is no program 'bwrap' here: install it" in failure.message
