"""`tracepipe demo, run, show, report, ui`: run a study and look at it."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tracepipe.cli.options import JsonOption, SeedOption, StudyName, TargetName, exit_code
from tracepipe.home import CHECKOUT, Home
from tracepipe.registry import find_target, load_targets
from tracepipe.report.tables import Grid
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED
from tracepipe.study import Study, load_study
from tracepipe.terminal import console, errors, print_grid, shown_progress


def demo(seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Run the whole experiment in the miniature world and print its table."""
    run_study("miniature", "miniature", seed, None, as_json)


def run(
    study: StudyName,
    target: Annotated[str | None, typer.Option(help="name of a target file's target")] = None,
    select: Annotated[str | None, typer.Option(help="only these assets, in Dagster's selection syntax")] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Materialise a study's assets for one target; what is already there is reused."""
    run_study(study, target, seed, select, as_json)


def run_study(name: str, target: str | None, seed: int | None, select: str | None, as_json: bool) -> None:
    """Run a study's job and print what it made.

    Raises:
        typer.Exit: With code 1 if a step failed, 3 if a gate or the target's terms stopped it.
    """
    from tracepipe import definitions as place

    study = load_study(place.find_study(name), seed=seed)
    if target is None and select is None:
        raise SpecError(f"give --target NAME; there are: {', '.join(load_targets(place.targets_folder())) or 'none'}")
    if target is not None:
        find_target(place.targets_folder(), target)
    home = Home.up_to_date()
    with shown_progress():
        outcome = place.run_study(study, home, place.targets_folder(), target, select)
    if select:
        _print_made(study, home, target, as_json, outcome.made)
    elif target is not None:
        _print_results(study, home, target, as_json, outcome.made)
    for failure in outcome.failures:
        errors.print(f"{failure.kind}: {failure.asset}: {failure.message}", markup=False, highlight=False)
    if not as_json:
        _print_places(study, home, target, name)
    if outcome.failures:
        raise typer.Exit(exit_code(failure.kind for failure in outcome.failures))


def _print_made(study: Study, home: Home, target: str | None, as_json: bool, made: frozenset[str]) -> None:
    """Print what a selection made: each table with its rows and the figures kept with it."""
    stores = (home.store(study.name), home.withheld(study.name))
    places = [(store, asset, part) for asset in sorted(made) for store in stores for part in (target, UNPARTITIONED)]
    events = [event for store, asset, part in places if part and (event := store.current(asset, part))]
    if as_json:
        print(json.dumps([{"asset": event.asset, "rows": event.rows, **event.details} for event in events]))
        return
    rows = [
        (event.asset, str(event.rows), ", ".join(f"{key} {value}" for key, value in event.details.items()))
        for event in events
    ]
    print_grid(Grid(("table", "rows", "details"), tuple(rows)), f"made: {study.name}")


def _print_places(study: Study, home: Home, target: str | None, name: str) -> None:
    report = home.reports(study.name, target or "") / "report.html"
    if target and report.exists():
        console.print(f"report   {report}", highlight=False)
    console.print(f"lineage  {home.catalogue}", highlight=False)
    console.print(f"tables   {home.store(study.name).root}", highlight=False)
    console.print(f"UI       tracepipe ui {name}   (or: {_dagster_dev(study, home, name)})", highlight=False)


def _dagster_dev(study: Study, home: Home, name: str) -> str:
    variables = {"DAGSTER_HOME": home.dagster(study.name), "TRACEPIPE_HOME": home.root, "TRACEPIPE_STUDY": name}
    return " ".join(f"{key}={value}" for key, value in variables.items()) + " dagster dev -w workspace.yaml"


def show(
    study: StudyName,
    target: Annotated[str | None, typer.Option(help="only this target")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the comparison table of every target that was run."""
    from tracepipe import definitions as place

    loaded, home = load_study(place.find_study(study)), Home.up_to_date()
    names = [target] if target else home.store(loaded.name).partitions("comparison")
    if not names:
        raise SpecError(
            f"study '{loaded.name}' has no comparison yet under {home.root}; run: tracepipe run {study} --target NAME"
        )
    for name in names:
        _print_results(loaded, home, name, as_json)


def _print_results(study: Study, home: Home, target: str, as_json: bool, made: frozenset[str] | None = None) -> None:
    """Print what is there; after a run, only what that run stood behind, so that no older table passes for its own."""
    from tracepipe.report.limits import cautions
    from tracepipe.report.results import read_results

    results = read_results(study, home.store(study.name), target, made)
    if as_json:
        print(json.dumps({"study": study.name, "target": target, **{one.name: one.rows.to_dicts() for one in results}}))
        return
    for one in results:
        print_grid(one.grid, f"{one.name}: {study.name} / {target} ({one.origin})")
        for caution in cautions(study, one.rows) if one.name == "comparison" else []:
            console.print(f"note: {caution}", highlight=False)


def report(study: StudyName, target: TargetName) -> None:
    """Write a target's report from what there is, also where its terms stop before students."""
    from tracepipe import definitions as place
    from tracepipe.report.material import material_of
    from tracepipe.report.write import write_report

    loaded, home = load_study(place.find_study(study)), Home.up_to_date()
    found, _ = find_target(place.targets_folder(), target)
    material = material_of(loaded, found, (home.store(loaded.name), home.withheld(loaded.name)))
    for path in write_report(material, home.reports(loaded.name, found.partition))["path"]:
        console.print(path, highlight=False)


def ui(study: StudyName = "miniature") -> None:
    """Open the Dagster UI on a study; needs no run before it."""
    from tracepipe import definitions as place
    from tracepipe.definitions import prepare_dagster_home

    path = place.find_study(study)
    loaded, home = load_study(path), Home.up_to_date()
    os.environ |= {
        "DAGSTER_HOME": str(prepare_dagster_home(home, loaded.name)),
        "TRACEPIPE_HOME": str(home.root),
        "TRACEPIPE_STUDY": str(path.resolve()),
    }
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", str(CHECKOUT / "workspace.yaml")]
    os.execv(command[0], command)
