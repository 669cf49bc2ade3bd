"""The code location: one study's assets, its job and its resources, put together.

The study is the one named by the environment variable TRACEPIPE_STUDY, a file or a name in `studies/`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets import build_assets
from assets.automation import new_targets_sensor, recollect_schedule, recollected
from resources import doctor
from resources.compute import ComputeResource
from resources.forget import forget, require_ended
from resources.home import HomeResource
from resources.launch import JOB, Outcome, instance, prepare_dagster_home, run_job
from resources.registry import RegistryResource
from tracepipe.doctor import Finding
from tracepipe.home import CHECKOUT, Home
from tracepipe.lineage.purge import Plan, purge
from tracepipe.placement import Local
from tracepipe.study import Study, load_study

RECOLLECT = "recollect"
_ASSETS_AT_ONCE = 4

__all__ = [
    "build_definitions",
    "defs",
    "examine_runs",
    "find_study",
    "prepare_dagster_home",
    "purge_target",
    "run_study",
    "run_under_way",
    "targets_folder",
]


def find_study(name: str) -> Path:
    """Return a study's file: a path to a YAML file, or a name in `studies/`."""
    return Path(name) if name.endswith((".yaml", ".yml")) else CHECKOUT / "studies" / f"{name}.yaml"


def targets_folder() -> Path:
    """Return the folder of target files: TRACEPIPE_TARGETS, or the project's `targets/`."""
    return Path(os.environ.get("TRACEPIPE_TARGETS") or CHECKOUT / "targets").resolve()


def build_definitions(study: Study, home: Home, targets: Path) -> dg.Definitions:
    """Return all that Dagster needs to know of a study."""
    again = "Collects a target and compares it with its previous revision."
    return dg.Definitions(
        assets=build_assets(study),
        jobs=[
            dg.define_asset_job(JOB, selection=dg.AssetSelection.all(), description=study.description),
            dg.define_asset_job(RECOLLECT, selection=recollected(), description=again),
        ],
        sensors=[new_targets_sensor(JOB)],
        schedules=[recollect_schedule(study, RECOLLECT)],
        executor=_executor(study),
        resources={
            "home": HomeResource(root=str(home.root), store=home.mirror.url if home.mirror else ""),
            "registry": RegistryResource(folder=str(targets)),
            "compute": ComputeResource(settings=study.compute.model_dump_json()),
        },
    )


def _executor(study: Study) -> dg.ExecutorDefinition:
    """Return how runs started from the UI go through their steps; `tracepipe run` goes through them one by one.

    The miniature's steps are short, and a process for each would cost more than the step. Where model steps run
    somewhere else, several assets wait for them side by side.
    """
    if isinstance(study.compute, Local):
        return dg.in_process_executor
    start = {"forkserver": {"preload_modules": ["tracepipe.definitions"]}}
    side_by_side: dg.ExecutorDefinition = dg.multiprocess_executor.configured(
        {"start_method": start, "max_concurrent": _ASSETS_AT_ONCE}, name="multiprocess"
    )
    return side_by_side


def run_study(study: Study, home: Home, targets: Path, target: str | None, selection: str | None) -> Outcome:
    """Run a study's job in this process; see `resources.launch.run_job`."""
    definitions = build_definitions(study, home, targets)
    with instance(home, study.name) as opened:
        return run_job(definitions, opened, target, selection)


def purge_target(home: Home, plan: Plan) -> Path:
    """Remove all that derives from a target; see `tracepipe.lineage.purge.purge`."""
    studies = _dagster_homes(home)
    for folder in studies:
        require_ended(folder)

    def forget_everywhere() -> None:
        for folder in studies:
            forget(folder, plan.covers, [(asset, of) for study, asset, of in plan.stale if study == folder.name])

    return purge(home, plan, forget_everywhere)


def examine_runs(home: Home, *, repair: bool) -> Iterator[Finding]:
    """Look at the runs and pools of every study; see `resources.doctor.examine_runs`."""
    for folder in _dagster_homes(home):
        yield from doctor.examine_runs(folder, repair=repair)


def run_under_way(home: Home) -> bool:
    """Whether a run of any study is under way."""
    return any(doctor.under_way(folder) for folder in _dagster_homes(home))


def _dagster_homes(home: Home) -> list[Path]:
    return sorted(folder for folder in home.root.glob("dagster/*") if folder.is_dir())


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the study named by the environment."""
    study = load_study(find_study(os.environ.get("TRACEPIPE_STUDY") or "miniature"))
    return build_definitions(study, Home.default(), targets_folder())
