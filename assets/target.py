"""What the target shows, what was spent on it, and on a separate path what an open target hides."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from assets.graph import Graph
from assets.metadata import counts, grid_metadata
from assets.step import Beside, Made, Step, TableAsset
from tracepipe import collection, outputs, revisions, summary_style
from tracepipe.records import (
    DEAD_LETTERS,
    SUMMARY_STYLE,
    TARGET_ATTEMPTS,
    TARGET_CHANGES,
    TARGET_OUTPUTS,
    TARGET_TRACES,
    empty,
)
from tracepipe.report.tables import preview_grid
from tracepipe.serving import reachable
from tracepipe.target import Target, hides, hides_traces

_TERMS_AND_TRANSPORT = {
    "training_use",
    "decided_by",
    "decided_on",
    "limits",
    "budget_usd",
    "price",
    "probe",
    "delivery",
    "api_key_env",
    "serve",
    "check_prompt",
}


_SPENT = ("cost_usd", "possible_usd")


def add_target(graph: Graph) -> None:
    """Add `target_outputs`, its accounts, and `target_traces`."""
    _add_outputs(graph)
    _add_accounts(graph)
    _add_changes(graph)
    if graph.study.of_summaries:
        _add_style(graph)
    _add_traces(graph)


def _decides_outputs(target: Target) -> object:
    return target.model_dump(mode="json", exclude=_TERMS_AND_TRANSPORT)


def _add_outputs(graph: Graph) -> None:
    graph.add(
        TableAsset(
            name="target_outputs",
            stage="target",
            description="The target's answers and reasoning summaries, (x, y[, b]); one row per prompt with its cost "
            "(paper section 3).",
            table=TARGET_OUTPUTS,
            version=collection.VERSION,
            reads=("prompts",),
            target_config=_decides_outputs,
            gates={
                "one_row_per_prompt": "every prompt asked has exactly one row",
                "most_rows_usable": "at least half of the rows have an answer",
                "no_trace_column": "no column holds a hidden trace",
            },
            kinds=frozenset({"openai", "polars", "parquet"}),
            freshness=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=graph.study.fresh_days)),
            rereads=True,
            make=_target_outputs,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )


def _target_outputs(step: Step) -> Made:
    prompts = step.read("prompts").filter(split="target")
    target, journal = step.target, step.journal
    if collection.waits(prompts, target, journal):
        with step.collecting(), reachable(target, step.target_folder, step.trace_sink.path) as base_url:
            collection.collect(prompts, target, base_url=base_url, journal=journal, trace_sink=step.trace_sink)
    rows = outputs.read_outputs(prompts, target, journal)
    probe = collection.probe_of(rows.head(target.probe))
    details = {
        "reasoning tokens": rows["reasoning_tokens"].sum(),
        "rows with a summary": rows["summary"].count(),
        "probe": str(probe) if probe.rows else None,
    }
    return Made(rows, outputs.output_gates(prompts, rows), details, cost_usd=float(rows["cost_usd"].sum()))


def _add_accounts(graph: Graph) -> None:
    graph.add(
        TableAsset(
            name="dead_letters",
            stage="target",
            description="Rows that are not ok, with the reason and where the raw response lies; `tracepipe retry` "
            "buys them again.",
            table=DEAD_LETTERS,
            version=collection.VERSION,
            reads=("prompts", "target_outputs"),
            rereads=True,
            make=lambda step: Made(
                outputs.dead_letters(step.read("prompts"), step.read("target_outputs"), step.journal)
            ),
            describe=lambda frame: counts(frame, "outcome"),
        )
    )
    graph.add(
        TableAsset(
            name="target_attempts",
            stage="target",
            description="Every request that was sent for these rows, what came of it, and what it cost.",
            table=TARGET_ATTEMPTS,
            version=collection.VERSION,
            reads=("target_outputs",),
            rereads=True,
            make=_target_attempts,
            describe=lambda frame: counts(frame, "result"),
        )
    )


def _target_attempts(step: Step) -> Made:
    attempts = outputs.read_attempts(step.read("target_outputs"), step.journal)
    return Made(attempts, details={f"{name} of all attempts": attempts[name].sum() for name in _SPENT})


def _add_changes(graph: Graph) -> None:
    def make(step: Step) -> Made:
        for earlier, before in step.read_beside().items():
            changed = revisions.changes(earlier, before, step.read("target_outputs"))
            return Made(changed, details={"against": earlier})
        return Made(empty(TARGET_CHANGES), details={"against": "nothing: this is the first revision"})

    graph.add(
        TableAsset(
            name="target_changes",
            stage="target",
            description="What changed since the target's previous revision, over the prompts that both answered.",
            table=TARGET_CHANGES,
            version=revisions.VERSION,
            reads=("target_outputs",),
            beside=Beside("target_outputs", _previous),
            make=make,
            describe=lambda frame: {"changes": grid_metadata(preview_grid(frame))},
        )
    )


def _previous(partition: str, known: Sequence[str]) -> Sequence[str]:
    earlier = revisions.previous(partition, known)
    return [] if earlier is None else [earlier]


def _add_style(graph: Graph) -> None:
    study = graph.study

    def make(step: Step) -> Made:
        shown, traces, summaries = (step.read(name) for name in step.asset.reads)
        style = summary_style.summary_style(shown, traces, summaries, study.inverter.model)
        return Made(style, summary_style.style_gates(style, study.summary_style))

    graph.add(
        TableAsset(
            name="summary_style",
            stage="target",
            description="How the target's and the compressor's summaries are written: length, manner, compression "
            "(paper, table 1).",
            table=SUMMARY_STYLE,
            version=summary_style.VERSION,
            config={
                "allowed": study.summary_style.model_dump(mode="json"),
                "tokenizer": study.inverter.identity()["weights"],
            },
            given=(study.inverter,),
            reads=("target_outputs", "surrogate_traces", "surrogate_summaries"),
            inapplicable=lambda target: hides("summary", target),
            gates={"written_like_the_targets": "the compressor's summaries are written like the target's"},
            make=make,
            describe=lambda frame: {"style": grid_metadata(preview_grid(frame))},
        )
    )


def _add_traces(graph: Graph) -> None:
    graph.add(
        TableAsset(
            name="target_traces",
            stage="withheld",
            description="An open target's hidden traces t, for the oracle and fidelity only (paper section 3).",
            table=TARGET_TRACES,
            version=collection.VERSION,
            reads=("target_outputs",),
            target_config=lambda target: target.open,
            inapplicable=hides_traces,
            gates={
                "every_answer_has_its_trace": "every usable answer has its logged trace",
                "traces_stay_hidden": "no answer or summary shows its whole trace",
            },
            withheld=True,
            sees_withheld=True,
            make=_target_traces,
        )
    )


def _target_traces(step: Step) -> Made:
    rows = step.read("target_outputs")
    traces = outputs.read_traces(rows, step.trace_log)
    return Made(traces, outputs.trace_gates(rows, traces))
