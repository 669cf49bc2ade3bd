"""What the target shows, and on a separate path what an open target hides."""

from assets.graph import Graph
from assets.metadata import counts
from assets.step import Made, Step, TableAsset
from tracepipe import collection
from tracepipe.records import TARGET_OUTPUTS, TARGET_TRACES
from tracepipe.serving import reachable
from tracepipe.target import Target, hides_traces

_TERMS_AND_TRANSPORT = {
    "training_use",
    "decided_by",
    "decided_on",
    "limits",
    "budget_usd",
    "api_key_env",
    "serve",
    "check_prompt",
}


def add_target(graph: Graph) -> None:
    """Add `target_outputs` and `target_traces`."""
    graph.add(
        TableAsset(
            name="target_outputs",
            stage="target",
            description="The target's answers and reasoning summaries, (x, y[, b]); one row per prompt with its cost.",
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
            # A request that failed was not answered: a later run asks it again.
            intact=lambda _, outputs: not outputs.filter(outcome="api_error").height,
            make=_target_outputs,
            describe=lambda frame: counts(frame, "outcome"),
        )
    )
    graph.add(
        TableAsset(
            name="target_traces",
            stage="withheld",
            description="An open target's hidden traces t, for the oracle condition and fidelity only.",
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


def _decides_outputs(target: Target) -> object:
    return target.model_dump(mode="json", exclude=_TERMS_AND_TRANSPORT)


def _target_outputs(step: Step) -> Made:
    prompts = step.read("prompts").filter(split="target")
    target, journal = step.target, step.journal
    with reachable(target, step.target_folder, step.trace_sink.path) as base_url:
        collection.collect(prompts, target, base_url=base_url, journal=journal, trace_sink=step.trace_sink)
    outputs = collection.read_outputs(prompts, target, journal)
    details = {"cost USD": outputs["cost_usd"].sum(), "reasoning tokens": outputs["reasoning_tokens"].sum()}
    return Made(outputs, collection.output_gates(prompts, outputs), details)


def _target_traces(step: Step) -> Made:
    outputs = step.read("target_outputs")
    traces = collection.read_traces(outputs, step.trace_log)
    return Made(traces, collection.trace_gates(outputs, traces))
