"""What Dagster costs: the graph against the same tracepipe functions called by a plain script, in one run.

    python benchmarks/overhead.py [--study miniature] [--rounds 1]

Both start from an empty home and share nothing. Each writes every table to Parquet with its event; the
plain script has no instance, no run, no checks stored. Prints the ratio graph / script (target: at most 1.10).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tracepipe import (
    collection,
    comparison,
    compression,
    consistency,
    evaluation,
    fidelity,
    inversion,
    row_set,
    students,
    summary_style,
    surrogate,
)
from tracepipe import outputs as outputs_of
from tracepipe.checkpoints import checkpoint_rows, training_gates
from tracepipe.compute import PoolCompute
from tracepipe.conditions import UNTRAINED, Condition
from tracepipe.definitions import find_study, run_study, targets_folder
from tracepipe.home import Home
from tracepipe.identity import weights_id
from tracepipe.journal import Sink
from tracepipe.placement import Local
from tracepipe.prompts.build import build_items, build_prompts, contaminated_prompts
from tracepipe.prompts.splits import split_gates
from tracepipe.registry import find_target
from tracepipe.report.material import Material
from tracepipe.report.write import write_report
from tracepipe.roles import Exposure
from tracepipe.serving import reachable
from tracepipe.store import Making
from tracepipe.study import Study, load_study
from tracepipe.target import Target
from tracepipe.workbench import Workbench


class Script:
    """The experiment without Dagster."""

    def __init__(self, study: Study, target: Target, folder: Path, home: Home, compute: PoolCompute) -> None:
        self.study, self.target, self.folder, self.home = study, target, folder, home
        self.store = home.store(study.name)
        self.bench: Workbench = home.bench(self.store, compute, "script")
        self.tables: dict[str, pl.DataFrame] = {}

    def run(self) -> pl.DataFrame:
        """Run every stage in order and return the comparison."""
        study, bench = self.study, self.bench
        items = self.keep("benchmark_items", build_items(study))
        contaminated = self.keep("contaminated_prompts", contaminated_prompts(study, items))
        prompts = self.keep("prompts", build_prompts(study, contaminated).table)
        split_gates(prompts)
        traces = self.keep("surrogate_traces", surrogate.surrogate_traces(study, prompts, bench))
        summaries = compression.surrogate_summaries(study, prompts, traces, bench)
        self.keep("surrogate_summaries", summaries)
        examples = self.keep("inverter_examples", inversion.inverter_examples(study, prompts, traces, summaries, {}))
        bench.render_gates(study.inverter.model, examples, study.inverter.recipe.max_length)
        outputs, hidden = self.collect(prompts)
        self.keep("summary_style", summary_style.summary_style(outputs, traces, summaries, study.inverter.model))
        inverted = self.invert(prompts, outputs, hidden, examples)
        rows = self.student_examples(prompts, traces, outputs, hidden, inverted)
        scores, counts = self.evaluate(rows, items)
        compared = self.keep("comparison", comparison.compare(scores, study.conditions, counts))
        self.keep("differences", comparison.differences(scores, study.conditions))
        events = [event for name in self.tables if (event := self.store.current(name, "script"))]
        material = Material(study, self.target, self.tables, events)
        write_report(material, self.home.reports(study.name, self.target.name))
        return compared

    def keep(self, asset: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Store a table as the graph does."""
        making = Making(
            asset=asset,
            partition="script",
            stage="script",
            recipe_key="script",
            code_version="script",
            config_version="script",
            run_id="script",
            seconds=0.0,
        )
        self.store.write(frame, making)
        self.tables[asset] = frame
        return frame

    def collect(self, prompts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Ask the target, and read the hidden traces."""
        asked, name = prompts.filter(split="target"), self.target.name
        journal, trace_log = self.home.journal(name), self.home.trace_log(name)
        with reachable(self.target, self.folder, trace_log.path) as base_url:
            collection.collect(asked, self.target, base_url=base_url, journal=journal, trace_sink=Sink(trace_log))
        outputs = self.keep("target_outputs", outputs_of.read_outputs(asked, self.target, journal))
        return outputs, self.keep("target_traces", outputs_of.read_traces(outputs, trace_log))

    def invert(
        self, prompts: pl.DataFrame, outputs: pl.DataFrame, hidden: pl.DataFrame, examples: pl.DataFrame
    ) -> dict[Exposure, pl.DataFrame]:
        """Train both inverters, write traces, and compare them with the real ones."""
        study, bench, inverted = self.study, self.bench, {}
        for exposure in study.exposures:
            manifest = inversion.train_inverter(study, exposure, examples, bench)
            training_gates([manifest])
            self.keep(f"inverter/{exposure}", checkpoint_rows(f"inverter/{exposure}", [(study.seed, manifest)]))
            shown = inversion.shown_rows(exposure, prompts, outputs)
            folder, checkpoint = str(bench.checkpoints.path(manifest.checkpoint_id)), manifest.checkpoint_id
            inverted[exposure] = inversion.invert(study, exposure, folder, checkpoint, shown, bench)
            self.keep(f"inverted_traces/{exposure}", inverted[exposure])
            base = study.inverter.model
            zero_shot = inversion.invert(study, exposure, base, weights_id(base), shown, bench)
            self.keep(f"zero_shot_traces/{exposure}", zero_shot)
            self.keep(f"trace_consistency/{exposure}", consistency.trace_consistency(inverted[exposure], outputs))
            tokenizer, words = study.student.model, study.fidelity_words
            scores = fidelity.fidelity(inverted[exposure], hidden, "trained", tokenizer, words).vstack(
                fidelity.fidelity(zero_shot, hidden, "zero_shot", tokenizer, words)
            )
            self.keep(f"trace_fidelity/{exposure}", scores)
        return inverted

    def student_examples(
        self,
        prompts: pl.DataFrame,
        traces: pl.DataFrame,
        outputs: pl.DataFrame,
        hidden: pl.DataFrame,
        inverted: Mapping[Exposure, pl.DataFrame],
    ) -> pl.DataFrame:
        """Build the rows of every condition."""
        study, student = self.study, self.study.student
        written = row_set.Written(inverted, {}, {})
        rows = self.keep("row_set", row_set.row_set(study, self.target, traces, outputs, written))
        shared = students.student_examples(study, self.target, prompts, traces, outputs, rows, written)
        oracle = students.oracle_examples(study, prompts, rows, outputs, hidden)
        for name, frame in (("student_examples", shared), ("oracle_examples", oracle)):
            self.keep(name, frame)
            self.bench.render_gates(student.model, frame, student.recipe.max_length)
        return pl.concat([shared, oracle])

    def evaluate(self, rows: pl.DataFrame, items: pl.DataFrame) -> tuple[pl.DataFrame, dict[Condition, int]]:
        """Train and benchmark the students of every condition."""
        study, bench, tables, counts = self.study, self.bench, [], {}
        for condition in study.conditions:
            if condition in UNTRAINED:
                checkpoints = students.untrained(study)
            else:
                made = students.train_students(study, condition, rows, bench)
                training_gates([manifest for _, manifest in made])
                checkpoints = checkpoint_rows(f"student/{condition}", made)
            self.keep(f"student/{condition}", checkpoints)
            answers = evaluation.benchmark_answers(study, condition, checkpoints, items, bench)
            self.keep(f"benchmark_answers/{condition}", answers)
            tables.append(self.keep(f"benchmark_scores/{condition}", evaluation.benchmark_scores(answers, items)))
            counts[condition] = checkpoints["examples"][0]
        return pl.concat(tables), counts


def script_seconds(study: Study, target: Target, folder: Path, home: Home) -> tuple[float, pl.DataFrame]:
    """Run the plain script; returns wall seconds and the comparison."""
    started = time.perf_counter()
    if not isinstance(study.compute, Local):
        raise SystemExit("the study must run on this machine's own worker processes")
    compute = PoolCompute(study.compute.processes, study.compute.threads)
    try:
        comparison = Script(study, target, folder, home, compute).run()
    finally:
        compute.close()
    return time.perf_counter() - started, comparison


def graph_seconds(study: Study, target: Target, home: Home) -> tuple[float, pl.DataFrame]:
    """Run the graph; returns wall seconds and the comparison."""
    started = time.perf_counter()
    outcome = run_study(study, home, targets_folder(), target.name, None)
    if outcome.failures:
        raise SystemExit(f"the graph failed: {outcome.failures}")
    return time.perf_counter() - started, home.store(study.name).read("comparison", target.name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="the graph's wall time against a plain script")
    parser.add_argument("--study", default="miniature")
    parser.add_argument("--target", default="miniature")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    study = load_study(find_study(options.study))
    target, path = find_target(targets_folder(), options.target)
    script, graph, same = [], [], True
    for index in range(options.rounds):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            seconds, expected = script_seconds(study, target, path.parent, Home(Path(one)))
            script.append(seconds)
            seconds, found = graph_seconds(study, target, Home(Path(other)))
            graph.append(seconds)
            same = same and found.equals(expected)
        print(f"round {index + 1}: plain script {script[-1]:.1f} s, graph {graph[-1]:.1f} s, same table: {same}")
    ratio = min(graph) / min(script)
    print(f"graph / plain script = {ratio:.3f} (target: at most 1.10)")
    figures = {"benchmark": "overhead", "script_seconds": script, "graph_seconds": graph, "ratio": ratio}
    print(json.dumps(figures | {"same_table": same}))


if __name__ == "__main__":
    main()
