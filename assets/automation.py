"""What starts runs by itself: a sensor for new target files, a schedule for new revisions. Both spend money.

They ship stopped, and are switched on in the UI.
"""

from collections.abc import Iterator

import dagster as dg

from assets.graph import TARGETS
from resources.registry import RegistryResource
from tracepipe.study import Study

_COLLECTED = ("dead_letters", "target_attempts", "target_changes")
_SECONDS = 30


def recollected() -> dg.AssetSelection:
    """Return what a new revision needs; nothing of it is inverted or trained on."""
    return dg.AssetSelection.assets(*_COLLECTED).upstream()


def new_targets_sensor(job: str) -> dg.SensorDefinition:
    """Return the sensor: each new file in the targets folder becomes a partition, and a run of the job."""

    @dg.sensor(
        name="new_targets",
        job_name=job,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Runs the whole experiment once for each new target file. Spends money.",
    )
    def new_targets(context: dg.SensorEvaluationContext, registry: RegistryResource) -> dg.SensorResult:
        found, problems = registry.survey()
        known = set(context.instance.get_dynamic_partitions(_name()))
        fresh = [name for name in found if name not in known]
        skipped = "; ".join(problems.values()) or "no new target files"
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=name, partition_key=name) for name in fresh],
            dynamic_partitions_requests=[TARGETS.build_add_request(fresh)] if fresh else [],
            skip_reason=None if fresh else dg.SkipReason(skipped),
        )

    return new_targets


def recollect_schedule(study: Study, job: str) -> dg.ScheduleDefinition:
    """Return the schedule: each known target becomes a new revision, dated by the day of the tick."""

    @dg.schedule(
        name="recollect",
        cron_schedule=study.recollect,
        job_name=job,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        execution_timezone="UTC",
        description="Collects all known targets anew and compares them with before. Spends money.",
    )
    def recollect(context: dg.ScheduleEvaluationContext, registry: RegistryResource) -> Iterator[dg.RunRequest]:
        found, _ = registry.survey()
        known = set(context.instance.get_dynamic_partitions(_name()))
        day = context.scheduled_execution_time.date().isoformat()
        for name in found:
            if name in known:
                key = f"{name}@{day}"
                context.instance.add_dynamic_partitions(_name(), [key])
                yield dg.RunRequest(run_key=key, partition_key=key)

    return recollect


def _name() -> str:
    return str(TARGETS.name)
