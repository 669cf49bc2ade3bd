"""`tracepipe export`: logs, tables and checkpoints with what must be known of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tracepipe.cli.options import StudyName, TargetName
from tracepipe.home import Home
from tracepipe.store import Store
from tracepipe.study import Study, load_study
from tracepipe.target import Target
from tracepipe.terminal import console

app = typer.Typer(no_args_is_help=True, help="Write what was made where others can use it, with cards.")

OwnerOption = Annotated[
    str | None, typer.Option("--target", help="whose; without it, what belongs to the study: prompts, inverters ...")
]
ToOption = Annotated[Path, typer.Option("--to", help="a folder that is empty or not there")]
PushOption = Annotated[
    str | None, typer.Option(help="also send it to this repository of the hub, private; the key is in HF_TOKEN")
]


@app.command()
def logs(
    study: StudyName, target: TargetName, folder: Annotated[Path, typer.Option("--to", help="folder for the logs")]
) -> None:
    """Write graded answers as logs that `inspect view` opens, one per benchmark, condition and training seed."""
    from tracepipe.export.logs import export_logs

    loaded, _, stores = _place(study, None)
    written = export_logs(loaded, stores[0], target, folder)
    console.print(f"{len(written)} logs in {folder}; open them with: inspect view --log-dir {folder}", highlight=False)


@app.command()
def dataset(
    study: StudyName,
    asset: Annotated[str, typer.Argument(help="the table, such as inverted_traces/summary")],
    folder: ToOption,
    target: OwnerOption = None,
    push: PushOption = None,
) -> None:
    """Write a table as Parquet, with a card and its lineage."""
    from tracepipe.export.package import export_dataset

    loaded, owner, stores = _place(study, target)
    event = export_dataset(loaded, owner, stores, asset, folder)
    console.print(f"{event.rows} rows, card and lineage in {folder}", highlight=False)
    _publish(folder, push, "dataset", owner)


@app.command()
def model(
    study: StudyName,
    checkpoint: Annotated[str, typer.Argument(help="checkpoint id")],
    folder: ToOption,
    target: OwnerOption = None,
    push: PushOption = None,
) -> None:
    """Write a checkpoint as safetensors, with a card and its lineage."""
    from tracepipe.export.package import export_model

    loaded, owner, stores = _place(study, target)
    event = export_model(loaded, owner, stores, Home.up_to_date().checkpoints, checkpoint, folder)
    console.print(f"{event.asset} {checkpoint}, card and lineage in {folder}", highlight=False)
    _publish(folder, push, "model", owner)


def _publish(folder: Path, repository: str | None, kind: Literal["dataset", "model"], owner: Target | None) -> None:
    from tracepipe.export.package import push

    if repository:
        console.print(f"sent to {push(folder, repository, kind, owner)}", highlight=False)


def _place(study: str, target: str | None) -> tuple[Study, Target | None, tuple[Store, Store]]:
    from tracepipe import definitions as place
    from tracepipe.registry import find_target

    loaded, home = load_study(place.find_study(study)), Home.up_to_date()
    owner = find_target(place.targets_folder(), target)[0] if target else None
    return loaded, owner, (home.store(loaded.name), home.withheld(loaded.name))
