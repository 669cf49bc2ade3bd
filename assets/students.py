"""Training rows of every condition, and the students fine-tuned on them."""

import polars as pl

from assets.graph import Graph
from assets.metadata import counts
from assets.pictures import loss_picture
from assets.step import Made, Step, TableAsset, checkpoints_exist
from tracepipe import students
from tracepipe.checkpoints import TRAINING_GATES, checkpoint_rows, training_gates, training_seconds
from tracepipe.gates import Gate, ids_preserved
from tracepipe.records import CHECKPOINTS, EXAMPLES
from tracepipe.study import UNTRAINED, Condition
from tracepipe.target import hides_traces
from tracepipe.training import sft
from tracepipe.training.render import RENDER_GATES

_RENDERED = {name: f"no {what}" for name, what in RENDER_GATES.items()}


def add_students(graph: Graph) -> None:
    """Add `student_examples`, `oracle_examples` where the study asks for it, and `student/<condition>`."""
    study = graph.study
    decided_by_study = {
        "conditions": study.conditions,
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
            reads=(
                "prompts",
                "surrogate_traces",
                "target_outputs",
                *(f"inverted_traces/{exposure}" for exposure in study.exposures),
            ),
            target_config=lambda target: [target.training_use, target.exposes, target.open],
            gates={
                "same_rows_in_every_condition": "conditions on the target's side train on the same prompts",
                "same_number_of_rows": "all conditions train on equally many rows",
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
                reads=("prompts", "target_outputs", "target_traces", "student_examples"),
                inapplicable=hides_traces,
                gates={"same_rows_as_other_conditions": "the oracle trains on the shared prompts", **_RENDERED},
                withheld=True,
                sees_withheld=True,
                make=_oracle_examples,
            )
        )
    for condition in study.conditions:
        _add_student(graph, condition)


def _student_examples(step: Step) -> Made:
    students.require_permission(step.target)
    study, target = step.study, step.target
    inverted = {exposure: step.read(f"inverted_traces/{exposure}") for exposure in study.exposures}
    prompts, traces, outputs = (step.read(name) for name in ("prompts", "surrogate_traces", "target_outputs"))
    examples = students.student_examples(study, target, prompts, traces, outputs, inverted)
    rendered = _rendered(step, examples)
    return Made(examples, [*students.example_gates(study, target, examples), *rendered])


def _rendered(step: Step, examples: pl.DataFrame) -> list[Gate]:
    student = step.study.student
    return step.bench.render_gates(student.model, examples, student.recipe.max_length, student.thinking)


def _oracle_examples(step: Step) -> Made:
    shared = step.read("student_examples")
    prompts, outputs, traces = (step.read(name) for name in ("prompts", "target_outputs", "target_traces"))
    examples = students.oracle_examples(step.study, prompts, shared, outputs, traces)
    expected = shared.filter(pl.col("condition") != "surrogate_trace")["prompt_id"].unique()
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
        return Made(checkpoint_rows(made), training_gates(manifests), training_seconds(manifests))

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
            inapplicable=lambda target: students.not_applicable(condition, target),
            gates={name: f"no {what}" for name, what in TRAINING_GATES.items()} if trained else {},
            kinds=frozenset({"huggingface", "pytorch"}),
            sees_withheld=condition == "oracle",
            gpu=trained,
            make=make,
            intact=checkpoints_exist if trained else lambda _step, _frame: True,
            describe=loss_picture,
        )
    )
