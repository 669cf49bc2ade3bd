"""Prompts and benchmark items."""

from assets.graph import Graph
from assets.metadata import counts
from assets.step import Made, Step, TableAsset
from tracepipe.grading.sandbox import require
from tracepipe.prompts import build as prompts
from tracepipe.prompts.decontamination import decontamination_gate
from tracepipe.prompts.splits import split_gates
from tracepipe.records import BENCHMARK_ITEMS, CONTAMINATED_PROMPTS, PROMPTS, REJECTED_PROMPTS


def add_prompts(graph: Graph) -> None:
    """Add `benchmark_items`, `contaminated_prompts`, `prompts` and `rejected_prompts`."""
    study = graph.study
    drawn = {
        "source": study.prompts.source.identity(),
        "splits": study.prompts.splits.model_dump() if study.prompts.splits else None,
        "benchmarks": [benchmark.identity() for benchmark in study.benchmarks],
        "seed": study.derived_seed("miniature"),
    }
    graph.add(
        TableAsset(
            name="benchmark_items",
            stage="prompts",
            partitioned=False,
            description="The problems students are measured on, with their gold answers.",
            table=BENCHMARK_ITEMS,
            version=prompts.VERSION,
            config=drawn,
            make=_benchmark_items,
            describe=lambda frame: counts(frame, "benchmark"),
        )
    )
    cleaned = drawn | {"decontamination": study.decontamination.model_dump(mode="json")}
    graph.add(
        TableAsset(
            name="contaminated_prompts",
            stage="prompts",
            partitioned=False,
            description="The prompts left out because they are too close to a benchmark item, each with item and rule.",
            table=CONTAMINATED_PROMPTS,
            version=prompts.VERSION,
            config=cleaned,
            reads=("benchmark_items",),
            make=lambda step: Made(prompts.contaminated_prompts(step.study, step.read("benchmark_items"))),
            describe=lambda frame: {**counts(frame, "rule"), **counts(frame, "benchmark")},
        )
    )
    graph.add(
        TableAsset(
            name="prompts",
            stage="prompts",
            partitioned=False,
            description="Two disjoint sets of prompts, one for the surrogate and one for the target (paper section 3).",
            table=PROMPTS,
            version=prompts.VERSION,
            config=cleaned | {"split seed": study.derived_seed("splits")},
            reads=("benchmark_items", "contaminated_prompts"),
            gates={
                "splits_disjoint": "no prompt is asked of both the surrogate and the target",
                "prompts_distinct": "no prompt stands twice",
                "benchmarks_held_out": "no prompt is too close to a benchmark item, by the rules of the study",
            },
            make=_prompts,
            describe=lambda frame: counts(frame, "split"),
        )
    )

    graph.add(
        TableAsset(
            name="rejected_prompts",
            stage="prompts",
            partitioned=False,
            description="The rows of the prompt source that could not be used, each with its line and its reason.",
            table=REJECTED_PROMPTS,
            version=prompts.VERSION,
            config=drawn,
            make=lambda step: Made(prompts.rejected_prompts(step.study)),
            describe=lambda frame: counts(frame, "reason"),
        )
    )


def _benchmark_items(step: Step) -> Made:
    if any(protocol.runs_code for protocol in prompts.protocols(step.study)):
        require()  # before any money or GPU time is spent on students whose code could not be graded
    return Made(prompts.build_items(step.study))


def _prompts(step: Step) -> Made:
    items = step.read("benchmark_items")
    dealt = prompts.build_prompts(step.study, step.read("contaminated_prompts"))
    details = {
        "read": dealt.read,
        "duplicates": dealt.duplicates,
        "held out for benchmarks": dealt.held_out,
        "unused": dealt.unused,
        "bad rows": len(dealt.bad),
    }
    held_out = decontamination_gate(dealt.table, items, step.study.decontamination)
    return Made(dealt.table, [*split_gates(dealt.table), held_out], details)
