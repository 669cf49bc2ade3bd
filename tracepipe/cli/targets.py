"""`tracepipe targets`: the known targets, one file each."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from tracepipe.cli.options import FAILED, JsonOption
from tracepipe.home import Home
from tracepipe.journal import Sink
from tracepipe.registry import add_target, find_target, load_target, load_targets, name_for
from tracepipe.report.tables import Grid
from tracepipe.terminal import console, errors, print_grid, shown_progress

app = typer.Typer(no_args_is_help=True, help="The known targets.")


@app.command("list")
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
            target.delivery,
            target.exposes,
            "open" if target.open else "closed",
            f"{target.budget_usd:g}",
            target.training_use,
        )
        for target in found
    ]
    header = ("name", "model", "api", "delivery", "exposes", "traces", "budget USD", "training use")
    print_grid(Grid(header, tuple(rows)), "targets")


@app.command("add")
def add(
    model: Annotated[str, typer.Argument(help="the model's name as the endpoint knows it")],
    base_url: Annotated[str, typer.Option(help="address of the API, such as https://api.example.com/v1")],
    budget: Annotated[float, typer.Option(help="USD for all that is ever asked of it")],
    price: Annotated[tuple[float, float], typer.Option(help="USD per million input and output tokens")],
    api: Annotated[Literal["responses", "chat"], typer.Option(help="the API it speaks")] = "responses",
    key_env: Annotated[str | None, typer.Option(help="environment variable that holds the key")] = None,
    exposes: Annotated[Literal["summary", "answer"], typer.Option(help="what it shows")] = "answer",
    effort: Annotated[str | None, typer.Option(help="reasoning effort")] = None,
    open_: Annotated[bool, typer.Option("--open", help="its traces can be had")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="collect through the Batch API")] = False,
    name: Annotated[str | None, typer.Option(help="default: made from the model's name")] = None,
) -> None:
    """Write a target file. Its terms are taken as unknown until you say in it what they allow."""
    from tracepipe import definitions as place

    reasoning = {"effort": effort} if effort else {}
    if exposes == "summary" and api == "responses":
        reasoning["summary"] = "auto"
    content = {
        "name": name or name_for(model),
        "model": model,
        "api": api,
        "delivery": "batch" if batch else "live",
        "base_url": base_url,
        **({"api_key_env": key_env} if key_env else {}),
        **({"reasoning": reasoning} if reasoning else {}),
        **({"chat_reasoning": "summary"} if exposes == "summary" and api == "chat" else {}),
        "exposes": exposes,
        "open": open_,
        "price": {"input": price[0], "output": price[1]},
        "budget_usd": budget,
        "training_use": "unknown",
    }
    path = add_target(place.targets_folder(), content)
    console.print(f"written: {path}", highlight=False)
    console.print(f"next:    tracepipe targets check {content['name']}", highlight=False)


@app.command("check")
def check_target(name: Annotated[str, typer.Argument(help="name of a target, or a target file")]) -> None:
    """Check a target's file and ask it one question; the question is paid, recorded, and counts against its budget."""
    from tracepipe import definitions as place
    from tracepipe.collection import CollectionStopped, check
    from tracepipe.serving import ServingError

    path = Path(name)
    target, path = (load_target(path), path) if path.suffix == ".yaml" else find_target(place.targets_folder(), name)
    console.print(f"{path}: fits", highlight=False)
    home = Home.up_to_date()
    try:
        with shown_progress(), home.collecting(target.name):
            (row,) = check(
                target, path.resolve().parent, home.journal(target.name), Sink(home.trace_log(target.name))
            ).iter_rows(named=True)
    except (CollectionStopped, ServingError) as stop:
        errors.print(f"error: {stop}", markup=False, highlight=False)
        raise typer.Exit(FAILED) from None
    shown = "answer and summary" if row["summary"] else "answer" if row["answer"] else "nothing"
    cost = "unknown" if row["cost_usd"] is None else f"{row['cost_usd']:.6f}"
    console.print(
        f"{target.name}: outcome {row['outcome']}, shows {shown}, {row['output_tokens']} tokens written "
        f"({row['reasoning_tokens']} of them hidden reasoning), {cost} USD"
        + (f"; {row['reason']}" if row["reason"] else ""),
        highlight=False,
        markup=False,
    )
    if row["outcome"] != "ok":
        raise typer.Exit(FAILED)
