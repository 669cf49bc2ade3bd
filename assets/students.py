"""Training rows of every condition, and the students fine-tuned on them."""

from collections.abc import Mapping

import polars as pl

from assets.graph import Graph
from assets.metadata import counts, grid_metadata
from assets.pictures import loss_picture
from assets.step import Made, Step, TableAsset, checkpoints_exist
from tracepipe import row_set, students
from tracepipe.checkpoints import TRAINING_GATES, checkpoint_rows, training_gates, training_seconds
from tracepipe.conditions import UNTRAINED, Condition
from tracepipe.gates import Gate, ids_preserved
from tracepipe.records import CHECKPOINTS, EXAMPLES, ROW_SET
from tracepipe.report.tables import preview_grid
from tracepipe.study import Study
from tracepipe.target import hides_traces
from tracepipe.training import sft
from tracepipe.training.render import RENDER_GATES

_RENDERED = {name: f"no {what}" for name, what in RENDER_GATES.items()}


def add_students(graph: Graph) -> None:
    """Add `row_set`, `student_examples`, `oracle_examples` where there is an oracle, and `student/<condition>`."""
    study = graph.study
    compositions = {one: study.composition(one).model_dump(mode="json") for one in study.trained_conditions}
    _add_row_set(graph, compositions)
    decided_by_study = {
        "conditions": study.conditions,
        "compositions": compositions,
        "wording": study.student.wording.model_dump(),
        "weights": study.student.identity()["weights"],
        "max_length": study.student.recipe.max_length,
        "thinking": study.student.thinking,
        "seed": study.derived_seed("common rows"),
    }
    graph.add(
        TableAsset(
            name="student_examples",
            stage="students",
            description="Training rows of all conditions but the oracle, on one common row set per target. "
            "Made only where the target's terms permit training (paper section 3).",
            table=EXAMPLES,
            version=students.VERSION,
            config=decided_by_study,
            given=(study.student,),
            reads=("prompts", "surrogate_traces", "target_outputs", "row_set", *_written_tables(study)),
            target_config=lambda target: [target.training_use, target.exposes, target.open],
            gates={
                "same_rows_in_every_condition": "conditions on the target's side train on the common rows, or on "
                "a part of them where that is what they are for",
                "same_number_of_rows": "conditions that can be compared train on equally many rows",
                "gated_domains_there": "a gated condition holds prompts of the domains it is gated for",
                **_RENDERED,
            },
            make=_student_examples,
            describe=lambda frame: counts(frame, "condition"),
        )
    )
    if "oracle" in study.conditions:
        graph.add(
            TableAsset(
                name="oracle_examples",
                stage="withheld",
                description="The shared rows with an open target's own traces: the upper end of the comparison.",
                table=EXAMPLES,
                version=students.VERSION,
                config=decided_by_study,
                given=(study.student,),
                # Where the terms stop the other conditions, they stop this one.
                reads=("prompts", "target_outputs", "target_traces", "row_set", "student_examples"),
                inapplicable=hides_traces,
                gates={"same_rows_as_other_conditions": "the oracle trains on the shared prompts", **_RENDERED},
                withheld=True,
                sees_withheld=True,
                make=_oracle_examples,
            )
        )
    for condition in study.conditions:
        _add_student(graph, condition)


def _written_tables(study: Study) -> list[str]:
    """The tables of traces that conditions train on."""
    found = [f"inverted_traces/{exposure}" for exposure in study.exposures]
    found += [f"zero_shot_traces/{exposure}" for exposure in study.exposures if study.uses_zero_shot(exposure)]
    return found + [f"selected_traces/{exposure}" for exposure in study.exposures if study.selections_at(exposure)]


def _written(step: Step) -> row_set.Written:
    tables: dict[str, dict[str, pl.DataFrame]] = {"inverted": {}, "zero_shot": {}, "selected": {}}
    for name in _written_tables(step.study):
        family, _, exposure = name.partition("/")
        tables[family.removesuffix("_traces")][exposure] = step.read(name)
    return row_set.Written(**tables)


def _add_row_set(graph: Graph, compositions: Mapping[str, object]) -> None:
    study = graph.study

    def make(step: Step) -> Made:
        traces, outputs = step.read("surrogate_traces"), step.read("target_outputs")
        rows = row_set.row_set(step.study, step.target, traces, outputs, _written(step))
        lost = {f"lost to {why}": count for why, count in row_set.losses(rows).iter_rows()}
        return Made(rows, row_set.row_gates(outputs, rows), {"rows used": int(rows["used"].sum()), **lost})

    graph.add(
        TableAsset(
            name="row_set",
            stage="students",
            description="The target's rows that every condition can use, and what took each other row from all.",
            table=ROW_SET,
            version=row_set.VERSION,
            config={"compositions": compositions, "seed": study.derived_seed("common rows")},
            reads=("surrogate_traces", "target_outputs", *_written_tables(study)),
            target_config=lambda target: [target.exposes, target.open],
            gates={"every_row_accounted_for": "every row is either used or has the reason why not"},
            make=make,
            describe=lambda frame: {"lost": grid_metadata(preview_grid(row_set.losses(frame), rows=20))},
        )
    )


def _student_examples(step: Step) -> Made:
    students.require_permission(step.target)
    study, target = step.study, step.target
    prompts, traces, outputs, rows = (step.read(name) for name in step.asset.reads[:4])
    examples = students.student_examples(study, target, prompts, traces, outputs, rows, _written(step))
    rendered = _rendered(step, examples)
    return Made(examples, [*students.example_gates(study, target, rows, examples), *rendered])


def _rendered(step: Step, examples: pl.DataFrame) -> list[Gate]:
    student = step.study.student
    return step.bench.render_gates(student.model, examples, student.recipe.max_length, student.thinking)


def _oracle_examples(step: Step) -> Made:
    students.require_permission(step.target)
    prompts, outputs, traces, rows = (step.read(name) for name in step.asset.reads[:4])
    examples = students.oracle_examples(step.study, prompts, rows, outputs, traces)
    expected = rows.filter("used")["prompt_id"]
    rendered = _rendered(step, examples)
    same_rows = ids_preserved("same_rows_as_other_conditions", expected, examples["prompt_id"])
    return Made(examples, [same_rows, *rendered])


def _add_student(graph: Graph, condition: Condition) -> None:
    study = graph.study
    trained = condition not in UNTRAINED
    examples = "oracle_examples" if condition == "oracle" else "student_examples"

    def make(step: Step) -> Made:
        if not trained:
            return Made(students.untrained(step.study))
        made = students.train_students(step.study, condition, step.read(examples), step.bench)
        manifests = [manifest for _, manifest in made]
        return Made(
            checkpoint_rows(f"student/{condition}", made), training_gates(manifests), training_seconds(manifests)
        )

    graph.add(
        TableAsset(
            name=f"student/{condition}",
            stage="students",
            description=f"One student per training seed, condition {condition} (paper section 3)."
            if trained
            else "The student's base model as it is given, without training.",
            table=CHECKPOINTS,
            version=sft.VERSION,
            config={
                "recipe": study.student.recipe.model_dump(mode="json"),
                "thinking": study.student.thinking,
                "weights": study.student.identity()["weights"],
                "seeds": [study.derived_seed("student", seed) for seed in study.student.seeds],
            }
            if trained
            else {"weights": study.student.identity()["weights"]},
            given=(study.student,),
            reads=(examples,),
            inapplicable=lambda target: row_set.not_applicable(study, condition, target),
            gates={name: f"no {what}" for name, what in TRAINING_GATES.items()} if trained else {},
            kinds=frozenset({"huggingface", "pytorch"}),
            sees_withheld=condition == "oracle",
            gpu=trained,
            make=make,
            intact=checkpoints_exist if trained else lambda _step, _frame: True,
            describe=loss_picture,
        )
    )
