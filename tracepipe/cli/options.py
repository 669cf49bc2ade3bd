"""Exit codes, and the arguments that several commands share."""

from collections.abc import Iterable
from typing import Annotated

import typer

FAILED, BAD_INPUT, STOPPED = 1, 2, 3


def exit_code(kinds: Iterable[str]) -> int:
    """Return the exit code of a run with failures of these kinds: `gate`, `terms` or `error`."""
    return FAILED if "error" in kinds else STOPPED


StudyName = Annotated[str, typer.Argument(help="a study file, or the name of one in studies/")]
TargetName = Annotated[str, typer.Option("--target", help="name of a target, or name@date for a revision")]
SeedOption = Annotated[int | None, typer.Option(help="replaces the study's seed")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
