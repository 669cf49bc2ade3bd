"""`tracepipe doctor, envs`: what is wrong with a home and its machine, and the environments of the stacks."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from tracepipe import environments
from tracepipe.cli.options import FAILED, JsonOption
from tracepipe.home import Home
from tracepipe.report.tables import Grid
from tracepipe.terminal import console, print_grid

app = typer.Typer(no_args_is_help=True, help="Environments of the stacks: train, vllm.")


def doctor(
    look: Annotated[bool, typer.Option("--look", help="change nothing")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find dead runs, leaked pool slots, half-written files, GPUs in use, missing tools; repair what is safe."""
    from tracepipe import definitions as place
    from tracepipe.doctor import examine_files, examine_machine

    home = Home.default()
    findings = list(place.examine_runs(home, repair=not look))
    findings += examine_files(home, repair=not look, idle=not place.run_under_way(home))
    findings += examine_machine(home)
    if as_json:
        print(json.dumps([asdict(one) for one in findings]))
    else:
        rows = tuple((one.subject, one.state, one.detail) for one in findings)
        print_grid(Grid(("looked at", "state", "what was found"), rows), f"{home.root}")
    if any(one.state in ("problem", "found") for one in findings):
        raise typer.Exit(FAILED)


@app.command("build")
def build(
    name: Annotated[str, typer.Argument(help="train or vllm")],
    python: Annotated[str, typer.Option(help="the Python it is made from")] = sys.executable,
) -> None:
    """Create an environment from its lock, for `compute: {kind: subprocess, interpreters: {...}}`."""
    home = Home.default()
    inside = environments.build(name, home.environments, lambda line: console.print(line, highlight=False), python)
    console.print(f"built {inside}", highlight=False)
    _check(name)


@app.command("check")
def check(name: Annotated[str | None, typer.Argument(help="all where none is named")] = None) -> None:
    """Compare built environments with their locks, and import the worker in each."""
    for one in [name] if name else environments.names():
        _check(one)


def _check(name: str) -> None:
    wrong = environments.check(name, Home.default().environments)
    for sentence in wrong:
        console.print(f"{name}: {sentence}", highlight=False)
    if wrong:
        raise typer.Exit(FAILED)
    console.print(f"{name}: as its lock says", highlight=False)
