"""Rebuild the lineage catalogue of a large home, and walk from a score to its request.

    python -m benchmarks.catalogue [--calls 10000000] [--targets 193] [--home FOLDER]

Makes a home of consistent tables: per target its outputs, inverted traces of two exposures, examples, students, answers
and scores of seven conditions, 26 versions. `--calls` counts rows that are model calls; scores and examples come on
top. Prints seconds and memory beside a baseline measured in the same run: reading the same keys once, without
indexing them. The last line is one JSON object.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tracepipe.home import Home
from tracepipe.lineage.entries import read_entries
from tracepipe.lineage.links import FAMILIES, family_of
from tracepipe.lineage.walk import Lineage
from tracepipe.records import (
    BENCHMARK_ANSWERS,
    BENCHMARK_ITEMS,
    BENCHMARK_SCORES,
    CHECKPOINTS,
    COMPARISON,
    EXAMPLES,
    INVERTED_TRACES,
    PROMPTS,
    SURROGATE_SUMMARIES,
    SURROGATE_TRACES,
    TARGET_OUTPUTS,
    Table,
)
from tracepipe.store import UNPARTITIONED, Event, Making, Store

CONDITIONS = (
    "base",
    "answer_only",
    "summary_answer",
    "surrogate_trace",
    "inverted_answer",
    "inverted_summary",
    "oracle",
)
EXPOSURES = {"inverted_summary": "summary", "inverted_answer": "answer"}
STUDY = "large"


def frame(table: Table, rows: int, **columns: object) -> pl.DataFrame:
    """Return a table with the given columns, and the rest filled with one short value of its type."""
    fill = {pl.String(): "text", pl.Int64(): 1, pl.Float64(): 1.0, pl.Boolean(): False, pl.List(pl.Float64()): [1.0]}
    given = {name: value if isinstance(value, pl.Series) else pl.lit(value) for name, value in columns.items()}
    rest = {name: pl.lit(fill[column.dtype], dtype=column.dtype) for name, column in table.items()}
    made = pl.DataFrame({"n": range(rows)}).with_columns(**(rest | given)).select(list(table))
    return made.cast({name: column.dtype for name, column in table.items()})


def keys(prefix: str, generator: random.Random, count: int) -> pl.Series:
    """Return so many ids as TracePipe makes them."""
    return pl.Series([f"{prefix}_{generator.getrandbits(96):024x}" for _ in range(count)])


class Builder:
    """Writes the tables of a large home."""

    def __init__(self, home: Home, rows: int) -> None:
        self.store: Store = home.store(STUDY)
        self.rows = rows
        self.generator = random.Random(0)
        self.versions = 0

    def write(self, table: pl.DataFrame, asset: str, partition: str, reads: Sequence[Event], **config: object) -> Event:
        """Write a table that was made from others."""
        self.versions += 1
        making = Making(
            asset=asset,
            partition=partition,
            stage="benchmark",
            recipe_key=f"{self.versions:024x}",
            code_version="1",
            config_version="1",
            run_id="run",
            seconds=1.0,
            inputs=tuple(event.as_input for event in reads),
            config={"study": config, "target": {"model": "m"}},
        )
        return self.store.write(table, making)

    def study(self) -> None:
        """Write the tables of the study."""
        count, fresh = self.rows, self.keys
        asked, trained, items = fresh("p"), fresh("p"), fresh("p")
        prompts = pl.concat([frame(PROMPTS, count, prompt_id=asked), frame(PROMPTS, count, prompt_id=trained)])
        self.prompts, self.items = asked, pl.Series([f"bench/{key}" for key in items])
        self.prompt_event = self.write(prompts, "prompts", UNPARTITIONED, [])
        table = frame(BENCHMARK_ITEMS, count, item_id=self.items, prompt_id=items, benchmark="bench")
        self.item_event = self.write(table, "benchmark_items", UNPARTITIONED, [])
        self.surrogate_keys = fresh("r")
        table = frame(SURROGATE_TRACES, count, prompt_id=trained, request_key=self.surrogate_keys, outcome="ok")
        self.surrogate = self.write(table, "surrogate_traces", UNPARTITIONED, [self.prompt_event])
        table = frame(SURROGATE_SUMMARIES, count, prompt_id=trained, request_key=fresh("r"))
        summaries = self.write(table, "surrogate_summaries", UNPARTITIONED, [self.surrogate])
        examples = [
            frame(
                EXAMPLES, count, prompt_id=trained, request_key=self.surrogate_keys, example_id=fresh("e"), condition=of
            )
            for of in EXPOSURES.values()
        ]
        reads = [self.prompt_event, self.surrogate, summaries]
        made = self.write(pl.concat(examples), "inverter_examples", UNPARTITIONED, reads)
        self.trained = trained
        self.inverters, self.inverter_ids = {}, {}
        for exposure in EXPOSURES.values():
            self.inverter_ids[exposure] = self.keys("c", 1)
            table = frame(CHECKPOINTS, 1, checkpoint_id=self.inverter_ids[exposure], role=f"inverter/{exposure}")
            self.inverters[exposure] = self.write(table, f"inverter/{exposure}", UNPARTITIONED, [made])

    def keys(self, prefix: str, count: int | None = None) -> pl.Series:
        """Return fresh ids."""
        return keys(prefix, self.generator, self.rows if count is None else count)

    def target(self, name: str) -> None:
        """Write the tables of one target."""
        count, requests = self.rows, {"answer": self.keys("r")}
        table = frame(TARGET_OUTPUTS, count, prompt_id=self.prompts, request_key=requests["answer"], offset=None)
        outputs = self.write(table, "target_outputs", name, [self.prompt_event])
        inverted = {}
        for condition, exposure in EXPOSURES.items():
            requests[condition] = self.keys("r")
            columns = {"prompt_id": self.prompts, "request_key": requests[condition]}
            table = frame(INVERTED_TRACES, count, checkpoint_id=self.inverter_ids[exposure][0], **columns)
            reads = [self.prompt_event, outputs, self.inverters[exposure]]
            inverted[condition] = self.write(table, f"inverted_traces/{exposure}", name, reads)
        requests["surrogate_trace"] = self.surrogate_keys
        parts = []
        for condition in CONDITIONS[1:]:
            columns = {
                "request_key": requests.get(condition, requests["answer"]),
                "prompt_id": self.trained if condition == "surrogate_trace" else self.prompts,
            }
            parts.append(frame(EXAMPLES, count, example_id=self.keys("e"), condition=condition, **columns))
        reads = [self.prompt_event, self.surrogate, outputs, *inverted.values()]
        examples = self.write(pl.concat(parts), "student_examples", name, reads)
        scores = [self.condition(name, condition, examples) for condition in CONDITIONS]
        self.write(frame(COMPARISON, 1, condition="oracle", benchmark="bench"), "comparison", name, scores)

    def condition(self, name: str, condition: str, examples: Event) -> Event:
        """Write student, answers and scores of a condition."""
        checkpoint, requests = self.keys("c", 1), self.keys("r")
        data = {} if condition != "base" else {"dataset_hash": None}
        table = frame(CHECKPOINTS, 1, checkpoint_id=checkpoint, role=f"student/{condition}", **data)
        student = self.write(table, f"student/{condition}", name, [examples])
        shared = {"request_key": requests, "item_id": self.items, "benchmark": "bench", "condition": condition}
        table = frame(BENCHMARK_ANSWERS, self.rows, checkpoint_id=checkpoint[0], **shared)
        answers = self.write(table, f"benchmark_answers/{condition}", name, [student, self.item_event])
        table = frame(BENCHMARK_SCORES, self.rows, **shared)
        return self.write(table, f"benchmark_scores/{condition}", name, [answers, self.item_event])


def rebuild_apart(home: Home) -> tuple[float, float]:
    """Rebuild in a process of its own; returns seconds and its peak memory, MiB."""
    program = (
        "import sys, time, resource; from pathlib import Path; from tracepipe.home import Home\n"
        "start = time.perf_counter(); Home(Path(sys.argv[1])).rebuild_catalogue()\n"
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    command = [sys.executable, "-c", program, str(home.root)]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def read_keys_once(home: Home) -> float:
    """Return the seconds it takes to read the keys that the catalogue indexes, and no more."""
    start = time.perf_counter()
    by_family: dict[str, list[Path]] = {}
    for entry in read_entries(*home.roots):
        by_family.setdefault(family_of(entry.event.asset), []).append(entry.path)
    for family, paths in by_family.items():
        key = FAMILIES[family].key[0]
        pl.scan_parquet(paths, glob=False).select(pl.col(key).str.len_bytes().sum()).collect()
    return time.perf_counter() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--targets", type=int, default=193)
    parser.add_argument("--home", type=Path, help="keep the home here; one that is there is used as it is")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(arguments.home or Path(scratch))
        if not home.roots[0].exists():
            build(home, -(-arguments.calls // (10 * arguments.targets)), arguments.targets)
        report(home)


def build(home: Home, rows: int, targets: int) -> None:
    """Write the home."""
    start = time.perf_counter()
    builder = Builder(home, rows)
    builder.study()
    for number in range(targets):
        builder.target(f"target-{number}")
    print(f"built {builder.versions:,} versions in {time.perf_counter() - start:.0f} s", flush=True)


def report(home: Home) -> None:
    """Measure, print, and end with JSON."""
    baseline = read_keys_once(home)
    seconds, memory = rebuild_apart(home)
    again, _ = rebuild_apart(home)
    with Lineage(home.catalogue, home.responses) as lineage:
        ((events,),) = lineage.connection.execute("SELECT count(*) FROM materializations").fetchall()
        ((rows,),) = lineage.connection.execute("SELECT sum(rows) FROM materializations").fetchall()
        ((calls,),) = lineage.connection.execute("SELECT count(*) FROM generations").fetchall()
        drawn = lineage.connection.execute(
            "SELECT request_key FROM scores USING SAMPLE reservoir(20 ROWS) REPEATABLE (0)"
        ).fetchall()
    walks, nodes = [], []
    for (key,) in drawn:
        start = time.perf_counter()
        with Lineage(home.catalogue, home.responses) as lineage:
            node = lineage.walk(key, lineage.holding(key)[0])
        walks.append(time.perf_counter() - start)
        nodes.append(sum(1 for _ in node.all()))
        missing = [what for one in node.all() for what in one.missing]
        if missing:
            raise SystemExit(f"{key}: {missing}")
    command = [sys.executable, "-m", "tracepipe", "lineage", "row", drawn[0][0]]
    start = time.perf_counter()
    subprocess.run(command, env=os.environ | {"TRACEPIPE_HOME": str(home.root)}, check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "rows": rows,
        "calls": calls,
        "events": events,
        "rebuild_s": round(seconds, 2),
        "rebuild_again_s": round(again, 2),
        "rebuild_peak_mib": round(memory),
        "catalogue_mib": round(home.catalogue.stat().st_size / 2**20),
        "keys_read_once_s": round(baseline, 2),
        "ratio": round(seconds / baseline, 2),
        "walk_s_max": round(max(walks), 3),
        "walk_nodes": max(nodes),
        "row_command_s": round(whole, 2),
        "walking_peak_mib": round(peak),
    }
    print(f"rebuild: {seconds:.1f} s, {seconds / baseline:.1f} times reading the keys once ({baseline:.1f} s)")
    print(f"a score walked in {max(walks):.3f} s at most; the whole command in {whole:.2f} s")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
