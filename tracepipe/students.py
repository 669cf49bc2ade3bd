"""Build every condition's training rows on the common row set, and fine-tune the students (paper section 3)."""

from collections.abc import Iterator, Sequence

import polars as pl

from tracepipe.checkpoints import Manifest
from tracepipe.conditions import UNTRAINED, Composition, Condition, Part
from tracepipe.gates import Gate, none_fail
from tracepipe.identity import digest, weights_id
from tracepipe.matching import matched
from tracepipe.records import CHECKPOINTS, EXAMPLES, conform, empty, from_rows
from tracepipe.row_set import Written, conditions_for, draw
from tracepipe.study import Study
from tracepipe.target import Target
from tracepipe.text import reasoned
from tracepipe.wording import expect_fields
from tracepipe.workbench import TrainingJob, Workbench

VERSION = "2"


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


def student_examples(
    study: Study,
    target: Target,
    prompts: pl.DataFrame,
    traces: pl.DataFrame,
    outputs: pl.DataFrame,
    rows: pl.DataFrame,
    written: Written,
) -> pl.DataFrame:
    """Build the training rows of every condition but the oracle.

    Args:
        study: The study.
        target: Whose outputs these are.
        prompts: PROMPTS.
        traces: SURROGATE_TRACES.
        outputs: TARGET_OUTPUTS.
        rows: ROW_SET.
        written: What was written for these rows.

    Returns:
        EXAMPLES.
    """
    expect_fields(study.student.wording, {"prompt"}, "student.wording.template")
    shared = _shared(outputs, rows)
    usable = traces.filter(outcome="ok")
    surrogate = draw(usable, min(shared.height, usable.height), study).select(
        "prompt_id", "request_key", "trace", "answer"
    )
    builder = _Builder(study, prompts.select("prompt_id", "prompt", "domain"), shared, surrogate, written)
    tables = [builder.examples(condition) for condition in _built(study, target)]
    return pl.concat([empty(EXAMPLES), *tables])


def _built(study: Study, target: Target) -> Iterator[Condition]:
    """The conditions whose rows stand in `student_examples`: all that train, but those on the target's own traces."""
    for condition in conditions_for(study, target):
        if condition not in UNTRAINED and study.composition(condition).parts[0].source != "oracle":
            yield condition


def _shared(outputs: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return `prompt_id, request_key, answer, summary, query` of the rows in use."""
    used = rows.filter("used").select("prompt_id", "query")
    return (
        outputs.select("prompt_id", "request_key", "answer", "summary")
        .join(used, on="prompt_id", validate="1:1")
        .sort("prompt_id")
    )


class _Builder:
    """Puts the rows of conditions together.

    Attributes:
        _prompts: `prompt_id, prompt, domain`.
        _shared: See `_shared`.
        _surrogate: `prompt_id, request_key, trace, answer`, as many rows as there are shared ones, or all there are.
    """

    def __init__(
        self, study: Study, prompts: pl.DataFrame, shared: pl.DataFrame, surrogate: pl.DataFrame, written: Written
    ) -> None:
        self._study = study
        self._prompts = prompts
        self._shared = shared
        self._surrogate = surrogate
        self._written = written

    def examples(self, condition: Condition) -> pl.DataFrame:
        composition = self._study.composition(condition)
        begun, parts = 0.0, list[pl.DataFrame]()
        for number, part in enumerate(composition.parts):
            rows = self._rows(part, composition, begun).with_columns(
                phase=pl.lit(number if composition.order == "curriculum" else 0)
            )
            begun += part.share * part.of_target
            parts.append(rows)
        rows = pl.concat(parts)
        if composition.length_of is not None:
            rows = self._at_length_of(composition, rows, composition.length_of)
        return examples_of(self._study, self._prompts, condition, rows, composition.gated)

    def _rows(self, part: Part, composition: Composition, begun: float) -> pl.DataFrame:
        """Return `prompt_id, request_key, answer, summary, trace` of one part, sorted by prompt id.

        Parts on the target's side take one stretch after the other of the rows in an order of their own, so that
        they share none as long as their shares add up to one.
        """
        if not part.of_target:
            return _stretch(self._surrogate, part.share, 0.0).with_columns(summary=pl.lit(None, dtype=pl.String))
        rows = self._shared
        if composition.queries is not None:
            rows = rows.filter(pl.col("query") < composition.queries)
        rows = _stretch(rows.drop("query"), part.share, begun)
        if part.exposure is None:
            trace = pl.lit(None, dtype=pl.String)
            shown = rows.with_columns(trace=trace)
            return _columns(shown if part.source == "summary" else shown.with_columns(summary=trace))
        traced = rows.drop("request_key", "summary").join(self._written.traces(part), on="prompt_id", validate="1:1")
        return _columns(traced.with_columns(summary=pl.lit(None, dtype=pl.String)))

    def _at_length_of(self, composition: Composition, rows: pl.DataFrame, other: Condition) -> pl.DataFrame:
        beside = self._study.composition(other)
        others = self._rows(beside.parts[0], beside, 0.0)
        tolerance = min(composition.tolerance, beside.tolerance)
        kept = matched(rows, others, self._study.student.model, tolerance)
        return rows.join(kept, on="prompt_id", how="semi")


def _columns(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("prompt_id", "request_key", "trace", "answer", "summary").sort("prompt_id")


def _stretch(rows: pl.DataFrame, share: float, begun: float) -> pl.DataFrame:
    """Take a share of the rows from a place on, in the order of a hash of their ids, and sort them by id."""
    if share >= 1:
        return rows.sort("prompt_id")
    order = [digest(["share", key]) for key in rows["prompt_id"]]
    dealt = rows.with_columns(pl.Series("order", order, dtype=pl.String)).sort("order").drop("order")
    places = [place % rows.height for place in range(round(begun * rows.height), round((begun + share) * rows.height))]
    return dealt[places].sort("prompt_id")


def oracle_examples(
    study: Study, prompts: pl.DataFrame, rows: pl.DataFrame, outputs: pl.DataFrame, traces: pl.DataFrame
) -> pl.DataFrame:
    """Build the oracle's rows: the shared rows with the target's own traces.

    Args:
        study: The study.
        prompts: PROMPTS.
        rows: ROW_SET.
        outputs: TARGET_OUTPUTS.
        traces: TARGET_TRACES, from the withheld store.
    """
    shared = _shared(outputs, rows).drop("request_key", "query", "summary")
    with_traces = shared.join(traces, on="prompt_id", validate="1:1").sort("prompt_id")
    given = with_traces.with_columns(summary=pl.lit(None, dtype=pl.String), phase=pl.lit(0))
    return examples_of(study, prompts.select("prompt_id", "prompt", "domain"), "oracle", given, ())


def examples_of(
    study: Study, prompts: pl.DataFrame, condition: Condition, rows: pl.DataFrame, gated: Sequence[str]
) -> pl.DataFrame:
    """Write the completions of one condition.

    Args:
        study: The study.
        prompts: `prompt_id, prompt, domain`.
        condition: Its name.
        rows: `prompt_id, request_key, trace, answer, summary, phase`; no trace: the answer, behind the summary if any.
        gated: Domains whose prompts get the bare answer.
    """
    asked = rows.join(prompts, on="prompt_id", validate="m:1", maintain_order="left").with_columns(
        trace=pl.when(pl.col("domain").is_in(list(gated)).fill_null(value=False)).then(None).otherwise("trace")
    )
    rowwise = asked.to_dicts()
    ids = ["e_" + digest(["student", condition, row["prompt_id"], row["request_key"]]) for row in rowwise]
    template = study.student.wording.template
    return conform(
        asked.select(
            pl.Series("example_id", ids, dtype=pl.String),
            "prompt_id",
            "request_key",
            "trace",
            "phase",
            pl.Series("prompt", [template.format(prompt=row["prompt"]) for row in rowwise], dtype=pl.String),
            pl.Series("completion", [_completion(**row) for row in rowwise], dtype=pl.String),
            condition=pl.lit(condition),
        ),
        EXAMPLES,
    )


def _completion(trace: str | None, answer: str, summary: str | None, **_: object) -> str:
    if trace is not None:
        return reasoned(trace, answer)
    return answer if summary is None else f"{summary}\n\n{answer}"


def example_gates(study: Study, target: Target, rows: pl.DataFrame, examples: pl.DataFrame) -> list[Gate]:
    """Conditions on all common rows hold just these, every other one none but these, and none is empty."""
    used, own = set(rows.filter("used")["prompt_id"]), set(rows["prompt_id"])
    differing, uneven, idle = set[str](), list[str](), list[str]()
    for condition in _built(study, target):
        prompts, composition = examples.filter(condition=condition)["prompt_id"], study.composition(condition)
        of_target = set(prompts) & own
        on_target = any(part.of_target for part in composition.parts)
        differing |= (of_target ^ used) if on_target and composition.whole else (of_target - used)
        expected = {len(used)} if composition.whole and len(composition.parts) == 1 else set[int]()
        if not prompts.len() or (expected and prompts.len() not in expected):
            uneven.append(f"{condition}={prompts.len()}")
        other = composition.length_of
        if composition.gated and not _answers_bare(examples.filter(condition=condition)):
            idle.append(f"{condition} ({', '.join(composition.gated)})")
        if other is not None and prompts.len() != examples.filter(condition=other).height:
            uneven.append(f"{condition}={prompts.len()}, {other}={examples.filter(condition=other).height}")
    return [
        none_fail("same_rows_in_every_condition", differing, "prompts stand in one condition and not in another"),
        none_fail("same_number_of_rows", uneven, "conditions differ in their number of rows, or have none"),
        none_fail(
            "gated_domains_there", idle, "gated conditions hold no prompt of their domains, and so are not gated"
        ),
    ]


def _answers_bare(examples: pl.DataFrame) -> bool:
    return examples["trace"].null_count() > 0


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
