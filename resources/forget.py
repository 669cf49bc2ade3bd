"""Take a target's runs out of Dagster: its databases hold previews of rows, failing rows and pictures of them."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from resources.launch import JOB, end_abandoned_runs
from tracepipe.spec import SpecError

_PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def require_ended(folder: Path) -> None:
    """Check that no run is under way in a study's DAGSTER_HOME.

    Raises:
        SpecError: If one is.
    """
    with dg.DagsterInstance.from_config(str(folder)) as opened:
        end_abandoned_runs(opened)
        for run in opened.get_runs():
            if not run.is_finished:
                raise SpecError(
                    f"run {run.run_id} of study '{folder.name}' is under way, and a purge also clears places that all "
                    "runs share; stop it, or wait until it has ended"
                )


def forget(folder: Path, belongs: Callable[[str], bool], stale: Sequence[tuple[str, str]]) -> None:
    """Remove runs, their events and logs, and partition keys of a target from a study's DAGSTER_HOME.

    A run of a target also made or found the study's own tables: these have no materialisation in the UI until the next
    run shows them again. Their files stay.

    Args:
        folder: The DAGSTER_HOME.
        belongs: Whether a partition key is the target's.
        stale: Asset and partition of other targets that showed it: these count as never made.
    """
    with dg.DagsterInstance.from_config(str(folder)) as opened:
        runs = _runs(opened, belongs)
        for run in runs:
            opened.delete_run(run.run_id)
        for key in opened.get_dynamic_partitions(JOB):
            if belongs(key):
                opened.delete_dynamic_partition(JOB, key)
    history, ids = folder / "history" / "runs", [run.run_id for run in runs]
    for run_id in ids:
        logs = folder / "storage" / run_id
        if logs.exists():
            shutil.rmtree(logs)
        for path in history.glob(f"{run_id}.db*"):
            path.unlink()
    _clean(history / "index.db", ids, stale)
    for path in (folder / "history" / "runs.db", history / "index.db"):
        _vacuum(path)


def _runs(opened: dg.DagsterInstance, belongs: Callable[[str], bool]) -> list[dg.DagsterRun]:
    return [run for run in opened.get_runs() if any(belongs(run.tags.get(tag, "")) for tag in _PARTITION_TAGS)]


def _clean(index: Path, run_ids: Sequence[str], stale: Sequence[tuple[str, str]]) -> None:
    """Remove what Dagster keeps of a run beside its events; its SQLite storage has no call for it."""
    if not index.exists():
        return
    with contextlib.closing(sqlite3.connect(index)) as connection, connection:
        for run_id in run_ids:
            connection.execute("DELETE FROM asset_check_executions WHERE run_id = ?", (run_id,))
            connection.execute(
                "UPDATE asset_keys SET last_materialization = NULL, last_materialization_timestamp = NULL, "
                "cached_status_data = NULL WHERE instr(last_materialization, ?) > 0",
                (run_id,),
            )
            connection.execute("UPDATE asset_keys SET last_run_id = NULL WHERE last_run_id = ?", (run_id,))
        for asset, partition in stale:
            key = dg.AssetKey(asset.split("/")).to_string()
            made = "SELECT id FROM event_logs WHERE asset_key = ? AND partition = ?"
            connection.execute(f"DELETE FROM asset_event_tags WHERE event_id IN ({made})", (key, partition))  # noqa: S608
            connection.execute("DELETE FROM event_logs WHERE asset_key = ? AND partition = ?", (key, partition))
            connection.execute("UPDATE asset_keys SET cached_status_data = NULL WHERE asset_key = ?", (key,))


def _vacuum(database: Path) -> None:
    """Write the database anew: deleted rows stand in its free pages until then."""
    if database.exists():
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
