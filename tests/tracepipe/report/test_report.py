"""The report: every section from its tables, nothing a model wrote alive, and what it does not show said plainly."""

import re
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import TARGETS
from tests.tracepipe.test_comparison import score
from tracepipe.comparison import compare
from tracepipe.home import Home
from tracepipe.records import BENCHMARK_SCORES, STAGES, from_rows
from tracepipe.registry import find_target
from tracepipe.report.limits import limits
from tracepipe.report.material import Material, material_of
from tracepipe.report.paper import papers_numbers
from tracepipe.report.reader import LONGEST, agreement, examples
from tracepipe.report.sections import sections
from tracepipe.report.write import write_report
from tracepipe.spec import SpecError
from tracepipe.study import Study
from tracepipe.target import Target

SECTIONS = [
    "accuracy",
    "differences",
    "truncation",
    "rows",
    "lengths",
    "fidelity",
    "style",
    "paper",
    "cost",
    "gates",
    "limits",
]


@pytest.fixture(scope="module")
def target() -> Target:
    return find_target(TARGETS, "miniature")[0]


@pytest.fixture
def material(finished: Home, tiny_study: Study, target: Target) -> Material:
    return material_of(tiny_study, target, (finished.store("tiny"), finished.withheld("tiny")))


def changed(material: Material, **changes: object) -> Material:
    return Material(**{**vars(material), **changes})


def test_every_section_is_there_with_its_plots_and_their_data(material: Material):
    written = {section.anchor: section for section in sections(material)}
    assert list(written) == SECTIONS
    figures = {figure.name: figure for section in written.values() for figure in section.figures}
    assert set(figures) == {"accuracy", "differences", "truncation", "lengths"}
    assert all(figure.svg.startswith(b"<?xml") and figure.data.height for figure in figures.values())
    assert set(figures["lengths"].data["traces"]) == {"surrogate", "real", "inverted (summary)", "inverted (answer)"}
    stages = [row[0] for row in written["cost"].grids[0].rows]
    assert stages == [*STAGES, "all"]


def test_the_same_material_gives_the_same_bytes(material: Material, tmp_path: Path):
    for folder in ("one", "two"):
        write_report(material, tmp_path / folder)
    for name in ("report.html", "report.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_accuracy_stands_without_what_qualifies_it(material: Material):
    grids = [grid for section in sections(material) for grid in section.grids]
    shown = [grid for grid in grids if any("accuracy" in name for name in grid.header)]
    assert shown
    for grid in shown:
        assert {"95 % interval", "truncated %", "no answer %"} <= set(grid.header)


def test_a_failed_gate_and_an_unresolved_pair_are_said_not_to_be_shown(material: Material):
    broken = [
        type(event)(**{**vars(event), "gates": tuple(type(gate)(gate.name, False, "3 bad") for gate in event.gates)})
        for event in material.events
        if event.asset == "inverter/summary"
    ]
    said = limits(changed(material, events=broken))
    assert "Gate 'loss_fell' of inverter/summary failed: 3 bad." in said
    assert any("they are not resolved" in line for line in said)
    assert any("no condition here is matched in length" in line for line in said)
    cut = material.tables["comparison"].with_columns(truncation_rate=pl.lit(30.0))
    said = limits(changed(material, tables={**material.tables, "comparison": cut}))
    assert any("many were cut off (base on in-distribution" in line for line in said)
    silent = material.tables["comparison"].with_columns(no_answer_rate=pl.lit(30.0))
    said = limits(changed(material, tables={**material.tables, "comparison": silent}))
    assert any("where they gave no answer: more than 5 % of them (base on" in line for line in said)
    closed = material.target.model_copy(update={"open": False, "exposes": "answer"})
    said = limits(changed(material, target=closed))
    assert "Target 'miniature' is closed: its traces are not known; what would need it is left out." in said
    assert "Target 'miniature' shows answers and no summary; what would need it is left out." in said
    seeds = material.tables["comparison"].with_columns(seeds=pl.lit(1, dtype=pl.Int64))
    said = limits(changed(material, tables={**material.tables, "comparison": seeds}))
    assert any("some conditions have one seed" in line for line in said)


def test_a_target_whose_terms_stop_before_students_has_a_report_of_what_there_is(
    finished: Home, tiny_study: Study, target: Target, tmp_path: Path
):
    own = material_of(tiny_study, target, (finished.store("tiny"), finished.withheld("tiny")))
    kept = {name: table for name, table in own.tables.items() if name not in ("comparison", "differences")}
    unknown = target.model_copy(update={"training_use": "unknown"})
    material = changed(own, tables=kept, target=unknown)
    write_report(material, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## Accuracy" not in text
    assert "training\\_use: unknown, so no student was trained" in text
    assert "## Fidelity" in text
    with pytest.raises(SpecError, match="has no outputs of target 'miniature' yet; run: tracepipe run STUDY"):
        material_of(tiny_study, target, (finished.store("nothing"), finished.withheld("nothing")))


def test_other_targets_and_revisions_stand_beside_it(material: Material):
    others = {"miniature@2026-11-01": material.tables["comparison"], "elder": material.tables["comparison"]}
    (section,) = [one for one in sections(changed(material, others=others)) if one.anchor == "targets"]
    shown = [row[2] for row in section.grids[0].rows[:3]]
    assert shown == ["elder", "miniature", "miniature@2026-11-01"]
    assert [figure.name for figure in section.figures] == ["targets-in-distribution", "targets-harder"]


def test_the_reader_shows_best_middle_and_worst_rows_and_marks_agreement(material: Material):
    found = examples(material)
    assert {one.exposure for one in found} == {"summary", "answer"}
    whys = [one.why for one in found]
    assert whys.count("closest to the real trace") >= 2
    assert "argues for another answer" in whys
    for one in found:
        titles = [passage.title for passage in one.passages]
        assert titles[0] == "prompt"
        assert titles[-2:] == ["inverted trace", "real trace"]
        assert ("summary shown" in titles) == (one.exposure == "summary")
    fidelity = material.tables["trace_fidelity/summary"].filter(inverter="trained", rougeL=100.0)
    exact = [one for one in found if one.exposure == "summary" and one.prompt_id in set(fidelity["prompt_id"])]
    assert exact
    for passage in exact[0].passages[-2:]:
        assert all(agrees for _, agrees in passage.pieces)


def test_a_trace_that_was_cut_off_is_among_the_rows_shown(material: Material):
    inverted = material.tables["inverted_traces/answer"]
    shown = {one.prompt_id for one in examples(material)}
    chosen = inverted.filter(~pl.col("prompt_id").is_in(list(shown)))["prompt_id"][0]
    outcome = pl.when(prompt_id=chosen).then(pl.lit("truncated")).otherwise("outcome")
    tables = {**material.tables, "inverted_traces/answer": inverted.with_columns(outcome=outcome)}
    whys = {one.prompt_id: one.why for one in examples(changed(material, tables=tables))}
    assert whys[chosen] == "cut off at the token cap"


def test_without_real_traces_words_that_the_target_showed_are_marked(material: Material):
    closed = {
        name: table for name, table in material.tables.items() if "fidelity" not in name and name != "target_traces"
    }
    (first, *_) = examples(changed(material, tables=closed))
    texts = {passage.title: passage for passage in first.passages}
    assert "real trace" not in texts
    shown = " ".join(text for title in ("answer shown", "summary shown") for text, _ in texts[title].pieces).split()
    for text, marked in texts["inverted trace"].pieces:
        assert all((word in shown) == marked for word in text.split())


def test_agreement_is_the_longest_common_subsequence_of_words():
    left, right = ["a", "b", "c", "d", "e"], ["b", "x", "d", "e", "a"]
    assert agreement(left, right) == ([False, True, False, True, True], [True, False, True, True, False])
    assert agreement([], right) == ([], [False] * 5)


HOSTILE = '<script>document.title="owned"</script> <img src=x onerror="document.title=1"> [x](javascript:alert(1)) '


def hostile(material: Material) -> Material:
    """The same, with model-written text that would like to be alive, and one line of a megabyte."""
    text = HOSTILE + "A" * 1_000_000
    tables = dict(material.tables)
    tables["target_outputs"] = tables["target_outputs"].with_columns(answer=pl.lit(text), summary=pl.lit(HOSTILE))
    tables["inverted_traces/summary"] = tables["inverted_traces/summary"].with_columns(inverted_trace=pl.lit(text))
    return changed(material, tables=tables)


def test_what_a_model_wrote_is_text_and_cut_with_a_note(material: Material, tmp_path: Path):
    write_report(hostile(material), tmp_path)
    html, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "&lt;script&gt;" in html
    assert "default-src 'none'" in html  # should markup ever slip through, the browser runs and loads nothing
    assert re.findall(r"<script|<img src=x|onerror=\"", html) == []
    assert "<script" not in markdown
    assert "A" * (LONGEST + 1) not in html
    assert f"{1_000_000 + len(HOSTILE) - LONGEST:,} more characters are not shown" in html
    assert len(html) < 2_000_000


@pytest.mark.parametrize(
    ("model", "surrogate", "student", "expected"),
    [
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "Qwen/Qwen2.5-7B-Instruct", 71.8),
        ("deepseek-reasoner", "deepseek-ai/DeepSeek-R1", "Qwen/Qwen2.5-7B-Instruct", 74.4),
        ("gpt-5.4-mini-2026-03-01", "deepseek-ai/DeepSeek-R1", "Qwen/Qwen2.5-7B-Instruct", 76.0),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.1-8B-Instruct", 59.2),
        ("deepseek-r1", "another", "Qwen/Qwen2.5-7B-Instruct", None),
        ("gpt-5", "deepseek-ai/DeepSeek-R1", "Qwen/Qwen2.5-7B-Instruct", None),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1", "miniature", None),
    ],
)
def test_the_papers_numbers_stand_beside_ours_only_where_the_setting_is_the_papers(
    study: Study, target: Target, model: str, surrogate: str, student: str, expected: float | None
):
    roles = {
        "surrogate": study.surrogate.model_copy(update={"model": surrogate}),
        "student": study.student.model_copy(update={"model": student}),
    }
    found = papers_numbers(study.model_copy(update=roles), target.model_copy(update={"model": model}))
    cell = found.filter(benchmark="math500", condition="inverted_summary")["paper"].to_list()
    assert cell == ([] if expected is None else [expected])


def test_ours_and_the_papers_numbers_stand_in_one_row(material: Material):
    rows = [score(f"i{number}", 0, 1.0, condition="oracle") for number in range(4)]
    comparison = compare(from_rows(rows, BENCHMARK_SCORES), ["oracle"], {})
    benchmark = material.study.benchmarks[0].model_copy(update={"name": "b", "kind": "math500"})
    roles = {
        "benchmarks": (benchmark,),
        "student": material.study.student.model_copy(update={"model": "Qwen/Qwen2.5-7B-Instruct"}),
    }
    setting = changed(
        material,
        study=material.study.model_copy(update=roles),
        target=material.target.model_copy(update={"model": "deepseek-r1"}),
        tables={"comparison": comparison},
    )
    (section,) = [one for one in sections(setting) if one.anchor == "paper"]
    (row,) = section.grids[0].rows
    assert row[:4] == ("b", "oracle", "72.2", "100.0")
    assert row[-1] == "+27.8"
