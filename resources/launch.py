"""Run a study's job in this process, against the study's own Dagster instance."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from tracepipe.home import CHECKOUT, Home
from tracepipe.spec import SpecError

JOB = "target"
_PID_TAG = "tracepipe/pid"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Failure:
    """A failed step: its asset, the message for the user, and what stopped it (`gate`, `terms` or `error`)."""

    asset: str
    message: str
    kind: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the tables it made or found made, and the steps that failed."""

    run_id: str
    made: frozenset[str]
    failures: tuple[Failure, ...]


@contextmanager
def instance(home: Home, study: str) -> Iterator[dg.DagsterInstance]:
    """Open the study's Dagster instance; its folder uses the project's `dagster.yaml`."""
    folder = prepare_dagster_home(home, study)
    os.environ["DAGSTER_HOME"] = str(folder)
    with dg.DagsterInstance.from_config(str(folder)) as opened:
        yield opened


def prepare_dagster_home(home: Home, study: str) -> Path:
    """Create the study's DAGSTER_HOME and return it."""
    folder = home.dagster(study)
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "dagster.yaml"
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(CHECKOUT / "dagster.yaml")
    return folder


def run_job(
    definitions: dg.Definitions, opened: dg.DagsterInstance, target: str | None, selection: str | None
) -> Outcome:
    """Materialise a target's assets, and those of the study it needs.

    Args:
        definitions: The study's definitions.
        opened: The instance that keeps the run.
        target: Partition key; None where only unpartitioned assets are selected.
        selection: Dagster asset selection; None for all.

    Returns:
        The outcome; failures of steps are in it and are not raised.

    Raises:
        SpecError: If the selection names nothing, or assets of a target and no target is given.
    """
    chosen = None if selection is None else _selected(definitions, selection, target)
    end_abandoned_runs(opened)
    if target:
        opened.add_dynamic_partitions(JOB, [target])
    job = definitions.resolve_job_def(JOB)
    result = job.execute_in_process(
        instance=opened,
        partition_key=target,
        asset_selection=chosen,
        run_config=_QUIET,
        tags={_PID_TAG: _process_tag(os.getpid())},
        raise_on_error=False,
    )
    failures = tuple(_failure(event, result) for event in result.get_step_failure_events())
    failures += tuple(_after_the_run(event) for event in result.all_events if _failed_afterwards(event))
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}
    return Outcome(result.run_id, frozenset(made), failures)


def _selected(definitions: dg.Definitions, selection: str, target: str | None) -> list[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    known = ", ".join(sorted(key.to_user_string() for key in graph.get_all_asset_keys()))
    try:
        chosen = sorted(dg.AssetSelection.from_string(selection).resolve(graph))
    except dg.DagsterError as error:
        raise SpecError(f"--select: {error}; the assets are: {known}") from None
    if not chosen:
        raise SpecError(f"--select: '{selection}' selects nothing; the assets are: {known}")
    of_a_target = [key.to_user_string() for key in chosen if graph.get(key).is_partitioned]
    if of_a_target and target is None:
        raise SpecError(f"--select: {', '.join(of_a_target)} belong to a target; give --target NAME")
    return chosen


def _failed_afterwards(event: dg.DagsterEvent) -> bool:
    """Whether giving back a resource failed, such as rebuilding the catalogue; Dagster calls the run a success."""
    return event.is_engine_event and event.engine_event_data.error is not None


def _after_the_run(event: dg.DagsterEvent) -> Failure:
    error = event.engine_event_data.error
    return Failure("after the run", f"{event.message} {error.message.strip() if error else ''}", "error")


def _failure(event: dg.DagsterEvent, result: dg.ExecuteInProcessResult) -> Failure:
    asset = (event.step_key or "").replace("__", "/")
    data = event.step_failure_data
    if data.user_failure_data is not None:
        stop = data.user_failure_data.metadata.get("stop")
        kind = "terms" if stop is not None and stop.value == "TermsForbid" else "error"
        return Failure(asset, data.user_failure_data.description or "", kind)
    failed = [
        f"{check.check_name}: {check.description}"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.asset_key.to_user_string() == asset
    ]
    if failed:
        return Failure(asset, "; ".join(failed), "gate")
    error = (data.error.cause or data.error) if data.error else None
    return Failure(asset, error.message.strip() if error else "failed", "error")


def end_abandoned_runs(opened: dg.DagsterInstance) -> int:
    """Fail the runs whose process was killed, and free the pool slots they still hold.

    Returns:
        The number of runs ended.
    """
    running = opened.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]))
    abandoned = [run for run in running if _PID_TAG in run.tags and not _alive(run.tags[_PID_TAG])]
    for run in abandoned:
        opened.report_run_failed(run, "The process of this run was killed; run again to go on where it stopped.")
        opened.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return len(abandoned)


def _process_tag(pid: int) -> str:
    """Identify a process by id and start time, since ids are given again."""
    return f"{pid}:{_started(pid)}"


def _alive(tag: str) -> bool:
    pid = int(tag.partition(":")[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _process_tag(pid) == tag


def _started(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else "unknown"
