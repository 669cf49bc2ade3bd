"""Runs whose process is gone, and the pool slots that they still hold: Dagster's local launcher keeps both for ever."""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil

from resources.launch import end_abandoned_runs
from tracepipe.doctor import Finding

_STARTED = re.compile(r"Started process for (?:run|resuming job) \(pid: (\d+)\)")
_LOOK_AT = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]


def examine_runs(folder: Path, *, repair: bool) -> Iterator[Finding]:
    """Look at a study's runs and pools; with `repair`, fail dead runs and free what they and ended runs hold.

    Args:
        folder: The study's DAGSTER_HOME.
        repair: Whether to do it.
    """
    study = folder.name
    with dg.DagsterInstance.from_config(str(folder)) as opened:
        ended = end_abandoned_runs(opened) if repair else 0
        dead = [run for run in opened.get_runs(dg.RunsFilter(statuses=_LOOK_AT)) if _is_dead(opened, run)]
        if repair:
            for run in dead:
                opened.report_run_failed(run, "The process of this run is gone; found by tracepipe doctor.")
                opened.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        found = len(dead) + ended
        yield Finding(f"runs of {study}", _state(found, repair), f"{found} whose process is gone")
        leaked = sorted(_leaked(opened))
        if repair:
            for _, run_id in leaked:
                opened.event_log_storage.free_concurrency_slots_for_run(run_id)
        pools = ", ".join(f"{pool} (run {run_id[:8]})" for pool, run_id in leaked)
        yield Finding(f"pools of {study}", _state(len(leaked), repair), pools or "no slot is held by an ended run")


def under_way(folder: Path) -> bool:
    """Whether a run of a study is under way."""
    with dg.DagsterInstance.from_config(str(folder)) as opened:
        return any(not _is_dead(opened, run) for run in opened.get_runs(dg.RunsFilter(statuses=_LOOK_AT)))


def _state(count: int, repair: bool) -> str:
    return "fine" if not count else "repaired" if repair else "found"


def _is_dead(opened: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that said it runs this is gone; one that never said so is left alone."""
    for record in opened.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        match = _STARTED.search(record.event_log_entry.user_message or record.event_log_entry.message)
        if match:
            return not _lives(int(match[1]), record.timestamp)
    return False


def _lives(pid: int, since: float) -> bool:
    """Whether a process is the one that was running then: ids are given again."""
    try:
        return bool(psutil.Process(pid).create_time() <= since + 1)
    except psutil.NoSuchProcess:
        return False


def _leaked(opened: dg.DagsterInstance) -> set[tuple[str, str]]:
    """Return pool and run of every slot that is held by a run that has ended or is unknown."""
    storage, found = opened.event_log_storage, set[tuple[str, str]]()
    for pool in storage.get_concurrency_keys():
        info = storage.get_concurrency_info(pool)
        for run_id in {*info.active_run_ids, *info.pending_run_ids}:
            run = opened.get_run_by_id(run_id)
            if run is None or run.is_finished:
                found.add((pool, run_id))
    return found
