"""Graded answers in the log format of inspect (UK AI Security Institute), for its viewer; needs the extra `inspect`."""

from pathlib import Path
from typing import Any

import polars as pl

from tracepipe.spec import SpecError
from tracepipe.statistics import interval_over_items, item_means
from tracepipe.store import UNPARTITIONED, Store
from tracepipe.study import Study

_SCORERS = {
    "official": ("score", "extracted", "outcome", "rule"),
    "fair": ("fair_score", "fair_extracted", "fair_outcome", "fair_rule"),
}


def export_logs(study: Study, store: Store, target: str, folder: Path) -> list[Path]:
    """Write one log per benchmark, condition and training seed.

    Args:
        study: The study.
        store: Its open tables.
        target: The partition.
        folder: Where the logs go.

    Raises:
        SpecError: If inspect is not installed, or nothing was graded yet.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError:
        raise SpecError("the package inspect-ai is not installed; run: pip install -e '.[inspect]'") from None
    items = {row["item_id"]: row for row in _read(store, "benchmark_items", UNPARTITIONED).iter_rows(named=True)}
    written = []
    for condition in study.conditions:
        event = store.current(f"benchmark_scores/{condition}", target)
        if event is None or not event.rows:
            continue
        answers = _read(store, f"benchmark_answers/{condition}", target).select(
            "request_key", "checkpoint_id", "response"
        )
        scores = _read(store, f"benchmark_scores/{condition}", target)
        graded = scores.join(answers, on="request_key", validate="1:1", maintain_order="left")
        for (benchmark, seed), rows in graded.group_by("benchmark", "seed", maintain_order=True):
            log = _log(f"{benchmark}/{condition}", event.created_at, rows, items)
            path = folder / f"{study.name}_{target}_{benchmark}_{condition}_{'base' if seed is None else seed}.eval"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_eval_log(log, str(path))
            written.append(path)
    if not written:
        raise SpecError(f"study '{study.name}' has no graded answers of target '{target}'; run the study first")
    return written


def _read(store: Store, name: str, partition: str) -> pl.DataFrame:
    if store.current(name, partition) is None:
        raise SpecError(f"'{name}' ({partition}) is not materialised; run the study first")
    return store.read(name, partition)


def _log(task: str, created: str, rows: pl.DataFrame, items: dict[str, dict[str, Any]]) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalResults, EvalSpec

    first = items[rows["item_id"][0]]
    spec = EvalSpec(
        created=created,
        task=task,
        dataset=EvalDataset(name=first["benchmark"], location=first["source"], samples=rows["item_id"].n_unique()),
        model=f"tracepipe/{rows['checkpoint_id'][0]}",
        config=EvalConfig(epochs=rows["sample"].n_unique()),
        metadata={"licence": first["licence"], "condition": rows["condition"][0], "seed": rows["seed"][0]},
    )
    results = EvalResults(
        total_samples=rows.height,
        completed_samples=rows.height,
        scores=[_result(name, columns[0], rows) for name, columns in _SCORERS.items()],
    )
    samples = [_sample(row, items[row["item_id"]]) for row in rows.iter_rows(named=True)]
    return EvalLog(status="success", eval=spec, results=results, samples=samples)


def _result(name: str, column: str, rows: pl.DataFrame) -> Any:
    from inspect_ai.log import EvalMetric, EvalScore

    interval = interval_over_items(*item_means(rows.select("cluster", item="item_id", score=column)))
    values = {
        "mean": interval.mean,
        "low_95": interval.low,
        "high_95": interval.high,
        "truncation_rate": rows.select(pl.col("truncated").mean()).item(),
        "no_answer_rate": rows.select((pl.col("outcome") == "no_answer").mean()).item(),
    }
    metrics = {key: EvalMetric(name=key, value=value) for key, value in values.items()}
    return EvalScore(name=name, scorer=name, metrics=metrics)


def _sample(row: dict[str, Any], item: dict[str, Any]) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    scores = {
        name: Score(value=row[score], answer=row[extracted], explanation=f"{row[outcome]}, read by rule '{row[rule]}'")
        for name, (score, extracted, outcome, rule) in _SCORERS.items()
    }
    stop = "max_tokens" if row["truncated"] else "stop"
    return EvalSample(
        id=row["item_id"],
        epoch=row["sample"] + 1,
        input=item["prompt"],
        target=row["gold"],
        output=ModelOutput.from_content(row["checkpoint_id"], row["response"], stop_reason=stop),
        scores=scores,
        metadata={"request_key": row["request_key"], "looped": row["looped"]},
    )
