"""The command `tracepipe`.

Exit codes: 0 done, 1 a step failed, 2 bad input, 3 stopped by a gate or by a target's terms.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tracepipe import __version__
from tracepipe.home import CHECKOUT, Home
from tracepipe.report.tables import Grid
from tracepipe.spec import SpecError
from tracepipe.store import UNPARTITIONED
from tracepipe.study import Study, load_study
from tracepipe.target import find_target, load_target, load_targets
from tracepipe.terminal import console, errors, print_grid, shown_progress

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
targets_app = typer.Typer(no_args_is_help=True, help="The known targets.")
miniature_app = typer.Typer(no_args_is_help=True, help="The laptop-size world.")
app.add_typer(targets_app, name="targets")
app.add_typer(miniature_app, name="miniature")

FAILED, BAD_INPUT, STOPPED = 1, 2, 3

StudyName = Annotated[str, typer.Argument(help="a study file, or the name of one in studies/")]
SeedOption = Annotated[int | None, typer.Option(help="replaces the study's seed")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


def main() -> None:
    """Run the command line; bad input ends with exit code 2 and a message that says what to do."""
    try:
        app()
    except SpecError as error:
        errors.print(f"error: {error}", markup=False, highlight=False)
        sys.exit(BAD_INPUT)


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__, highlight=False)


@app.command()
def demo(seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Run the whole experiment in the miniature world and print its table."""
    _run("miniature", "miniature", seed, None, as_json)


@app.command()
def run(
    study: StudyName,
    target: Annotated[str | None, typer.Option(help="name of a target file's target")] = None,
    select: Annotated[str | None, typer.Option(help="only these assets, in Dagster's selection syntax")] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Materialise a study's assets for one target; what is already there is reused."""
    _run(study, target, seed, select, as_json)


def _run(name: str, target: str | None, seed: int | None, select: str | None, as_json: bool) -> None:
    from tracepipe import definitions as place

    study = load_study(place.find_study(name), seed=seed)
    if target is None and select is None:
        raise SpecError(f"give --target NAME; there are: {', '.join(load_targets(place.targets_folder())) or 'none'}")
    if target is not None:
        find_target(place.targets_folder(), target)
    home = Home.default()
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
        raise typer.Exit(FAILED if any(failure.kind == "error" for failure in outcome.failures) else STOPPED)


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


@app.command()
def show(
    study: StudyName,
    target: Annotated[str | None, typer.Option(help="only this target")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the comparison table of every target that was run."""
    from tracepipe import definitions as place

    loaded, home = load_study(place.find_study(study)), Home.default()
    names = [target] if target else home.store(loaded.name).partitions("comparison")
    if not names:
        raise SpecError(
            f"study '{loaded.name}' has no comparison yet under {home.root}; run: tracepipe run {study} --target NAME"
        )
    for name in names:
        _print_results(loaded, home, name, as_json)


def _print_results(study: Study, home: Home, target: str, as_json: bool, made: frozenset[str] | None = None) -> None:
    """Print what is there; after a run, only what that run stood behind, so that no older table passes for its own."""
    from tracepipe.report.results import read_results
    from tracepipe.report.write import cautions

    results = read_results(study, home.store(study.name), target, made)
    if as_json:
        print(json.dumps({"study": study.name, "target": target, **{one.name: one.rows.to_dicts() for one in results}}))
        return
    for one in results:
        print_grid(one.grid, f"{one.name}: {study.name} / {target} ({one.origin})")
        for caution in cautions(study, one.rows) if one.name == "comparison" else []:
            console.print(f"note: {caution}", highlight=False)


@app.command()
def ui(study: StudyName = "miniature") -> None:
    """Open the Dagster UI on a study; needs no run before it."""
    from tracepipe import definitions as place
    from tracepipe.definitions import prepare_dagster_home

    path = place.find_study(study)
    loaded, home = load_study(path), Home.default()
    os.environ |= {
        "DAGSTER_HOME": str(prepare_dagster_home(home, loaded.name)),
        "TRACEPIPE_HOME": str(home.root),
        "TRACEPIPE_STUDY": str(path.resolve()),
    }
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-w", str(CHECKOUT / "workspace.yaml")]
    os.execv(command[0], command)


@targets_app.command("list")
def list_targets(as_json: JsonOption = False) -> None:
    """List the targets of the targets folder."""
    from tracepipe import definitions as place

    found = [load_target(path) for path in load_targets(place.targets_folder()).values()]
    if as_json:
        print(json.dumps([target.model_dump(mode="json") for target in found]))
        return
    rows = [
        (
            target.name,
            target.model,
            target.api,
            target.exposes,
            "open" if target.open else "closed",
            target.training_use,
        )
        for target in found
    ]
    print_grid(Grid(("name", "model", "api", "exposes", "traces", "training use"), tuple(rows)), "targets")


@targets_app.command("check")
def check_target(name: Annotated[str, typer.Argument(help="name of a target, or a target file")]) -> None:
    """Check a target's file and ask it one question."""
    from tracepipe import definitions as place
    from tracepipe.collection import ask_once

    path = Path(name)
    target, path = (load_target(path), path) if path.suffix == ".yaml" else find_target(place.targets_folder(), name)
    console.print(f"{path}: fits", highlight=False)
    reading = ask_once(target, path.resolve().parent)
    shown = "answer and summary" if reading.summary else "answer" if reading.answer else "nothing"
    console.print(
        f"{target.name}: outcome {reading.outcome}, shows {shown}, {reading.output_tokens} tokens written",
        highlight=False,
    )
    if reading.outcome != "ok" or (target.exposes == "summary" and not reading.summary):
        raise typer.Exit(1)


@miniature_app.command("build")
def build_miniature(
    folder: Annotated[Path, typer.Argument(help="where the three model folders go")],
    seed: Annotated[int, typer.Option(help="of weights and texts")] = 0,
) -> None:
    """Train the miniature's base, target and surrogate anew (minutes on one core)."""
    from tracepipe.miniature.build import build

    with shown_progress():
        measured = build(folder, seed)
    print(json.dumps(measured, indent=1))
