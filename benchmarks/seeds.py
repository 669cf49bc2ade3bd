"""Run a study on fresh seeds, and print every condition against its baseline with intervals over the seeds.

A study's own intervals are over benchmark items; they say nothing of what another draw of prompts, samples, inverters
and students would have brought. Here every seed is a whole experiment, and differences are paired by seed.

    python benchmarks/seeds.py miniature_selection --seeds 201 202 203 204 205

The baseline of a condition is the longest other condition that its name begins with, such as `inverted_answer` of
`inverted_answer_selected`; else the first that was named with --baseline.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tracepipe.conditions import Condition
from tracepipe.definitions import find_study, run_study, targets_folder
from tracepipe.home import Home
from tracepipe.row_set import losses
from tracepipe.statistics import interval_of_mean
from tracepipe.study import load_study

_RATES = ("truncation_rate", "no_answer_rate", "loop_rate")


def run_seeds(study: str, target: str, seeds: Sequence[int], home: Home) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run the study once per seed.

    Returns:
        COMPARISON with `seed_of_study`, and the rows lost: `seed_of_study, lost_to, rows`.
    """
    compared, lost = [], []
    for seed in seeds:
        started = time.monotonic()
        loaded = load_study(find_study(study), seed=seed)
        outcome = run_study(loaded, home, targets_folder(), target, None)
        if outcome.failures:
            raise SystemExit(f"seed {seed} failed: {outcome.failures}")
        store, mark = home.store(loaded.name), pl.lit(seed).alias("seed_of_study")
        compared.append(store.read("comparison", target).with_columns(mark))
        rows = store.read("row_set", target)
        lost.append(losses(rows).with_columns(mark))
        print(f"seed {seed}: {time.monotonic() - started:.0f} s, {rows['used'].sum()} common rows", flush=True)
    return pl.concat(compared), pl.concat(lost)


def baseline_of(condition: Condition, conditions: Sequence[Condition], otherwise: Condition) -> Condition:
    """Return what a condition is held against."""
    shorter = [one for one in conditions if condition.startswith(f"{one}_")]
    return max(shorter, key=len, default=otherwise)


def against_baselines(compared: pl.DataFrame, otherwise: Condition) -> list[dict[str, object]]:
    """Return a row per benchmark and condition: mean accuracy over seeds, and the paired difference, with intervals."""
    rows: list[dict[str, object]] = []
    for (benchmark,), cell in compared.group_by("benchmark", maintain_order=True):
        conditions = cell["condition"].unique(maintain_order=True).to_list()
        by_seed = {name: cell.filter(condition=name).sort("seed_of_study") for name in conditions}
        for name in conditions:
            baseline = baseline_of(name, conditions, otherwise)
            own, its = by_seed[name]["accuracy"].to_numpy(), by_seed[baseline]["accuracy"].to_numpy()
            mean, difference = interval_of_mean(own), interval_of_mean(own - its)
            rows.append(
                {
                    "benchmark": benchmark,
                    "condition": name,
                    "accuracy": mean.mean,
                    "low": mean.low,
                    "high": mean.high,
                    "seeds": [round(float(value), 1) for value in own],
                    **{rate: by_seed[name][rate].mean() for rate in _RATES},
                    "baseline": baseline,
                    "difference": difference.mean,
                    "difference_low": difference.low,
                    "difference_high": difference.high,
                    "ratio": mean.mean / float(its.mean()) if its.mean() else None,
                }
            )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="a study over fresh seeds")
    parser.add_argument("study")
    parser.add_argument("--target", default="miniature")
    parser.add_argument("--seeds", type=int, nargs="+", default=[201, 202, 203, 204, 205])
    parser.add_argument("--baseline", help="of conditions whose name begins with no other; default: the study's first")
    parser.add_argument("--home", type=Path, help="keeps what is made; default: a folder that is removed")
    options = parser.parse_args()
    if len(options.seeds) < 2:
        raise SystemExit("an interval over seeds needs two seeds at least")
    with tempfile.TemporaryDirectory() as scratch:
        compared, lost = run_seeds(options.study, options.target, options.seeds, Home(options.home or Path(scratch)))
    rows = against_baselines(compared, options.baseline or compared["condition"][0])
    for row in rows:
        mean = f"{row['accuracy']:5.1f} % ({row['low']:5.1f} - {row['high']:5.1f})"
        rates = f"cut off {row['truncation_rate']:.1f} %, no answer {row['no_answer_rate']:.1f} %"
        paired = f"{row['difference']:+5.1f} ({row['difference_low']:+5.1f} to {row['difference_high']:+5.1f})"
        about = f"{row['benchmark']}  {row['condition']:28s} {mean}, {rates}"
        print(f"{about}; against {row['baseline']}: {paired}; seeds {row['seeds']}")
    for reason, count in lost.group_by("lost_to").agg(pl.col("rows").sum()).sort("rows", descending=True).iter_rows():
        print(f"lost to {reason}: {count} rows over all seeds")
    print(json.dumps({"benchmark": "seeds", "study": options.study, "seeds": options.seeds, "conditions": rows}))


if __name__ == "__main__":
    main()
