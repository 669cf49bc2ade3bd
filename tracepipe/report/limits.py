"""What a report does not show, read off its tables and gates: the sentences a reader must not be left without."""

import polars as pl

from tracepipe.problems import MiniaturePrompts
from tracepipe.report.material import Material
from tracepipe.study import Study
from tracepipe.target import hides, hides_traces

MINIATURE_CAUTION = (
    "This is the miniature world. It shows that the pipeline works from end to end; it is no evidence for the "
    "paper, since the world was built so that inversion has something to invert."
)
_OFTEN = 5.0


def cautions(study: Study, comparison: pl.DataFrame) -> list[str]:
    """Return what a reader must know before reading the table (COMPARISON)."""
    found = [MINIATURE_CAUTION] if isinstance(study.prompts.source, MiniaturePrompts) else []
    if comparison.filter(seeds=1).height:
        found.append("One training seed supports no claim about a method: the spread over seeds is not known.")
    cut = comparison.filter(pl.col("truncation_rate") > _OFTEN)
    if cut.height:
        found.append(
            f"More than 5 % of the responses were cut off at the token cap, which lowers accuracy: {_cells(cut)}."
        )
    return found


def limits(material: Material) -> list[str]:
    """Return what the report does not show, and what would be wrong to conclude from it."""
    target, comparison = material.target, material.table("comparison")
    found = [
        f"Gate '{gate.name}' of {event.asset} failed: {gate.message}."
        for event in material.events
        for gate in event.gates
        if not gate.passed
    ]
    for reason in (hides_traces(target), hides("summary", target)):
        if reason:
            found.append(f"{reason[0].upper()}{reason[1:]}; what would need it is left out.")
    if comparison is None:
        return [*found, _no_students(material)]
    if isinstance(material.study.prompts.source, MiniaturePrompts):
        found.append("Nothing about real models: this is the miniature world, built so that inversion works.")
    if (comparison["seeds"] == 1).any():
        found.append("Whether another training seed would turn the order: some conditions have one seed.")
    else:
        found.append("Training seeds beyond those used; read the intervals as those of these students.")
    differences = material.table("differences")
    open_pairs = 0 if differences is None else differences.filter(~pl.col("resolved")).height
    if differences is not None and open_pairs:
        found.append(f"Which is better in {open_pairs} of {differences.height} pairs: they are not resolved.")
    silent = comparison.filter(pl.col("no_answer_rate") > _OFTEN)
    cut = comparison.filter(pl.col("truncation_rate") > _OFTEN)
    if cut.height:
        found.append(f"What students that end in time would score: many were cut off ({_cells(cut)}).")
    if silent.height:
        found.append(f"What the students meant where they gave no answer: more than 5 % of them ({_cells(silent)}).")
    if material.study.has_levels and material.study.selection is None:
        found.append("What a level gives away to somebody who draws several traces and selects: add a block selection.")
    if not any(material.study.composition(one).length_of for one in material.study.trained_conditions):
        found.append("That reasoning leaks rather than length: no condition here is matched in length.")
    return found


def _no_students(material: Material) -> str:
    target = material.target
    if target.training_use != "permitted":
        return (
            f"Any accuracy: the target declares training_use: {target.training_use}, so no student was trained on "
            "its outputs."
        )
    return "Any accuracy: the students were not trained or not graded yet."


def _cells(rows: pl.DataFrame) -> str:
    return ", ".join(f"{row['condition']} on {row['benchmark']}" for row in rows.iter_rows(named=True))
