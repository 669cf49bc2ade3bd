"""The command `tracepipe`.

Exit codes: 0 done, 1 a step failed, 2 bad input, 3 stopped by a gate or by a target's terms.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tracepipe import __version__
from tracepipe.cli import audit, export, lineage, machine, money, runs, scores, targets
from tracepipe.cli.options import BAD_INPUT, SeedOption
from tracepipe.spec import SpecError
from tracepipe.terminal import console, errors, shown_progress

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
miniature_app = typer.Typer(no_args_is_help=True, help="The laptop-size world.")
app.add_typer(targets.app, name="targets")
app.add_typer(lineage.app, name="lineage")
app.add_typer(export.app, name="export")
app.add_typer(machine.app, name="envs")
app.add_typer(miniature_app, name="miniature")
for command in (
    runs.demo,
    runs.run,
    runs.show,
    runs.report,
    audit.audit,
    runs.ui,
    money.estimate,
    money.retry,
    scores.fidelity,
    scores.grade,
    scores.power,
    machine.doctor,
):
    app.command()(command)


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


@miniature_app.command("build")
def build_miniature(
    folder: Annotated[Path, typer.Argument(help="where the three model folders go")],
    seed: SeedOption = 0,
) -> None:
    """Train the miniature's base, target and surrogate anew (minutes on one core)."""
    from tracepipe.miniature.build import build

    with shown_progress():
        measured = build(folder, seed or 0)
    print(json.dumps(measured, indent=1))
