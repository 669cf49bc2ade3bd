"""Build every condition's training rows on one common row set, and fine-tune the students (paper section 3)."""

from collections.abc import Mapping

import polars as pl

from tracepipe.checkpoints import Manifest
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import digest, weights_id
from tracepipe.records import CHECKPOINTS, EXAMPLES, conform, empty, from_rows
from tracepipe.roles import Exposure
from tracepipe.study import INVERTED, UNTRAINED, Condition, Study
from tracepipe.target import Target, hides, hides_traces
from tracepipe.text import reasoned
from tracepipe.wording import expect_fields
from tracepipe.workbench import TrainingJob, Workbench

VERSION = "1"
_NEED_SUMMARY: frozenset[Condition] = frozenset({"summary_answer", "inverted_summary"})


class TermsForbid(RuntimeError):
    """The target's terms do not allow training on its outputs."""


def require_permission(target: Target) -> None:
    """Stop before the student stage unless the target's file says that training is permitted.

    Raises:
        TermsForbid: If it does not; says what was delivered and what would have to be decided.
    """
    if target.training_use == "permitted":
        return
    decided = f" (decided by {target.decided_by} on {target.decided_on})" if target.decided_by else ""
    raise TermsForbid(
        f"target '{target.name}' declares training_use: {target.training_use}{decided}, so no student is trained on "
        "its outputs. Collection, inversion and fidelity are delivered. If its terms do permit training, set "
        "training_use: permitted with decided_by and decided_on in its file"
    )


def not_applicable(condition: Condition, target: Target) -> str | None:
    """Why a condition has no student on a target, or None where it has."""
    if condition == "oracle":
        return hides_traces(target)
    return hides("summary", target) if condition in _NEED_SUMMARY else None


def conditions_for(study: Study, target: Target) -> list[Condition]:
    """Return the study's conditions that have students on this target."""
    return [condition for condition in study.conditions if not_applicable(condition, target) is None]


def common_rows(
    study: Study, target: Target, outputs: pl.DataFrame, inverted: Mapping[Exposure, pl.DataFrame]
) -> pl.DataFrame:
    """Return the target outputs usable in every condition that trains on them (paper: where it breaks, 6).

    Returns:
        `prompt_id, request_key, answer, summary`, sorted by prompt id.
    """
    conditions = conditions_for(study, target)
    outcomes = ["ok"] if set(conditions) & _NEED_SUMMARY else ["ok", "empty_summary"]
    usable = outputs.filter(pl.col("outcome").is_in(outcomes))
    for condition in conditions:
        if condition in INVERTED:
            finished = inverted[INVERTED[condition]].filter(outcome="ok")
            usable = usable.join(finished, on="prompt_id", how="semi")
    return usable.select("prompt_id", "request_key", "answer", "summary").sort("prompt_id")


def student_examples(
    study: Study,
    target: Target,
    prompts: pl.DataFrame,
    traces: pl.DataFrame,
    outputs: pl.DataFrame,
    inverted: Mapping[Exposure, pl.DataFrame],
) -> pl.DataFrame:
    """Build the training rows of every condition but the oracle.

    The conditions on the target's side share their rows by id. The surrogate answered other prompts,
    so `surrogate_trace` gets as many rows, drawn with the study's seed.

    Args:
        study: The study.
        target: Whose outputs these are.
        prompts: PROMPTS.
        traces: SURROGATE_TRACES.
        outputs: TARGET_OUTPUTS.
        inverted: INVERTED_TRACES of every exposure the target allows.

    Returns:
        EXAMPLES.
    """
    expect_fields(study.student.wording, {"prompt"}, "student.wording.template")
    shared = common_rows(study, target, outputs, inverted)
    surrogate = traces.filter(outcome="ok").sort("prompt_id")
    size = min(shared.height, surrogate.height) if "surrogate_trace" in study.conditions else shared.height
    shared = _draw(shared, size, study)
    tables = []
    for condition in conditions_for(study, target):
        if condition in INVERTED:
            written = inverted[INVERTED[condition]].select("prompt_id", "request_key", trace="inverted_trace")
            rows = shared.drop("request_key").join(written, on="prompt_id", validate="1:1")
            tables.append(_examples(study, prompts, condition, rows))
        elif condition == "surrogate_trace":
            tables.append(_examples(study, prompts, condition, _draw(surrogate, size, study)))
        elif condition in ("answer_only", "summary_answer"):
            tables.append(_examples(study, prompts, condition, shared))
    return pl.concat([empty(EXAMPLES), *tables])


def _draw(rows: pl.DataFrame, size: int, study: Study) -> pl.DataFrame:
    """Draw so many rows, the same ones for the same ids and seed."""
    return rows.sample(size, seed=study.derived_seed("common rows"), shuffle=True).sort("prompt_id")


def oracle_examples(
    study: Study, prompts: pl.DataFrame, examples: pl.DataFrame, outputs: pl.DataFrame, traces: pl.DataFrame
) -> pl.DataFrame:
    """Build the oracle's rows: the shared rows with the target's own traces.

    Args:
        study: The study.
        prompts: PROMPTS.
        examples: EXAMPLES of the other conditions, which name the shared rows.
        outputs: TARGET_OUTPUTS.
        traces: TARGET_TRACES, from the withheld store.
    """
    shared = examples.filter(pl.col("condition") != "surrogate_trace").select("prompt_id").unique()
    rows = (
        outputs.select("prompt_id", "answer")
        .join(shared, on="prompt_id", how="semi")
        .join(traces, on="prompt_id", validate="1:1")
        .sort("prompt_id")
    )
    return _examples(study, prompts, "oracle", rows)


def _examples(study: Study, prompts: pl.DataFrame, condition: Condition, rows: pl.DataFrame) -> pl.DataFrame:
    """Write the completions of one condition: `rows` has what it needs of answer, summary and trace."""
    asked = rows.join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1", maintain_order="left")
    completions, traces, ids = [], [], []
    for row in asked.iter_rows(named=True):
        trace = None if condition in ("answer_only", "summary_answer") else row["trace"]
        traces.append(trace)
        completions.append(_completion(condition, row, trace))
        ids.append("e_" + digest(["student", condition, row["prompt_id"], row["request_key"]]))
    template = study.student.wording.template
    return conform(
        asked.select(
            pl.Series("example_id", ids, dtype=pl.String),
            "prompt_id",
            "request_key",
            pl.Series("prompt", [template.format(prompt=prompt) for prompt in asked["prompt"]], dtype=pl.String),
            pl.Series("trace", traces, dtype=pl.String),
            pl.Series("completion", completions, dtype=pl.String),
            condition=pl.lit(condition),
        ),
        EXAMPLES,
    )


def _completion(condition: Condition, row: Mapping[str, str], trace: str | None) -> str:
    if trace is not None:
        return reasoned(trace, row["answer"])
    return f"{row['summary']}\n\n{row['answer']}" if condition == "summary_answer" else row["answer"]


def example_gates(study: Study, target: Target, examples: pl.DataFrame) -> list[Gate]:
    """The conditions on the target's side hold the same prompts, and all conditions the same number of rows."""
    prompts: dict[Condition, set[str]] = {
        condition: set(examples.filter(condition=condition)["prompt_id"])
        for condition in conditions_for(study, target)
        if condition not in UNTRAINED and condition != "oracle"
    }
    shared: list[set[str]] = [ids for condition, ids in prompts.items() if condition != "surrogate_trace"]
    everywhere = shared[0].intersection(*shared) if shared else set[str]()
    differing = set[str]().union(*shared) - everywhere
    sizes = {len(ids) for ids in prompts.values()}
    uneven = [f"{condition}={len(ids)}" for condition, ids in prompts.items()] if len(sizes) > 1 or 0 in sizes else []
    return [
        none_fail("same_rows_in_every_condition", differing, "prompts stand in one condition and not in another"),
        none_fail("same_number_of_rows", uneven, "conditions differ in their number of rows, or have none"),
    ]


def train_students(
    study: Study, condition: Condition, examples: pl.DataFrame, bench: Workbench
) -> list[tuple[int | None, Manifest]]:
    """Fine-tune one student per seed; the `base` condition is the untrained model itself.

    Returns:
        Seed as named in the study, and the checkpoint's manifest.
    """
    jobs = [
        TrainingJob(
            label=f"train student/{condition} seed {seed}",
            role=f"student/{condition}",
            base=study.student.model,
            examples=examples.filter(condition=condition),
            recipe=study.student.recipe,
            seed=study.derived_seed("student", seed),
            thinking=study.student.thinking,
        )
        for seed in study.student.seeds
    ]
    return list(zip(study.student.seeds, bench.train(jobs), strict=True))


def untrained(study: Study) -> pl.DataFrame:
    """Return the CHECKPOINTS table of the student's base model as it is given."""
    weights = weights_id(study.student.model)
    blank = dict.fromkeys(("seed", "dataset_hash", "recipe_hash"))
    row = blank | {
        "checkpoint_id": weights,
        "role": "student/base",
        "base_weights": weights,
        "weights": weights,
        "examples": 0,
        "losses": [],
    }
    return from_rows([row], CHECKPOINTS)
