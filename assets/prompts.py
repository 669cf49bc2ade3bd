"""Prompts and benchmark items."""

from assets.graph import Graph
from assets.metadata import counts
from assets.step import Made, Step, TableAsset
from tracepipe.prompts import build as prompts
from tracepipe.prompts.splits import split_gates
from tracepipe.records import BENCHMARK_ITEMS, PROMPTS, REJECTED_PROMPTS


def add_prompts(graph: Graph) -> None:
    """Add `benchmark_items`, `prompts` and `rejected_prompts`."""
    study = graph.study
    benchmarks = [benchmark.identity() for benchmark in study.benchmarks]
    splits = study.prompts.splits.model_dump() if study.prompts.splits else None
    drawn = [study.prompts.source.identity(), splits, benchmarks, study.derived_seed("miniature")]
    graph.add(
        TableAsset(
            name="benchmark_items",
            stage="prompts",
            partitioned=False,
            description="The problems students are measured on, with their gold answers.",
            table=BENCHMARK_ITEMS,
            version=prompts.VERSION,
            config=drawn,
            make=lambda step: Made(prompts.build_items(step.study)),
            describe=lambda frame: counts(frame, "benchmark"),
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
            config=[drawn, study.derived_seed("splits")],
            reads=("benchmark_items",),
            gates={
                "splits_disjoint": "no prompt is asked of both the surrogate and the target",
                "prompts_distinct": "no prompt stands twice",
                "benchmarks_held_out": "no prompt is a benchmark item",
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


def _prompts(step: Step) -> Made:
    items = step.read("benchmark_items")
    dealt = prompts.build_prompts(step.study, items)
    details = {
        "read": dealt.read,
        "duplicates": dealt.duplicates,
        "held out for benchmarks": dealt.held_out,
        "unused": dealt.unused,
        "bad rows": len(dealt.bad),
    }
    return Made(dealt.table, split_gates(dealt.table, items), details)
