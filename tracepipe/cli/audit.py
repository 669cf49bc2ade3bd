"""`tracepipe audit`: what each way of showing a model's reasoning gives away."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tracepipe.audit import audited
from tracepipe.cli.money import print_sizing
from tracepipe.cli.options import JsonOption, SeedOption, StudyName, TargetName, exit_code
from tracepipe.files import write_atomically
from tracepipe.home import Home
from tracepipe.registry import find_target
from tracepipe.sizing import Assumptions
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study
from tracepipe.terminal import console, errors, print_grid, shown_progress

_SUMMARISE = (
    "Below is the private reasoning of a language model on a problem. Summarise it for the user who asked.\n\n"
    "Problem:\n{prompt}\n\nReasoning:\n{trace}"
)


def audit(
    study: StudyName,
    target: TargetName,
    summariser: Annotated[
        str | None, typer.Option(help="your own summariser of traces, module:function; one level more")
    ] = None,
    endpoint: Annotated[
        Path | None, typer.Option(help="your own summariser behind an address: a target file; one level more")
    ] = None,
    wording: Annotated[
        Path | None, typer.Option(help="what the endpoint is asked: a text with {trace}, and {prompt} if it likes")
    ] = None,
    rough: Annotated[bool, typer.Option("--rough", help="only say what it takes, by stated assumptions")] = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train inverters and students per level of exposure, and say in one page what each level costs.

    A study without levels of its own is audited on the standard ladder.
    """
    from tracepipe import definitions as place

    found, _ = find_target(place.targets_folder(), target)
    given = load_study(place.find_study(study), seed=seed)
    loaded = audited(given, _own(summariser, endpoint, wording))
    if rough:
        print_sizing(loaded, found, Assumptions(), as_json=as_json)
        return
    home = Home.up_to_date()
    with shown_progress():
        outcome = place.run_study(loaded, home, place.targets_folder(), target, "+key:audit")
    if "leakage" in outcome.made:
        _print_leakage(loaded, home, target, as_json)
    for failure in outcome.failures:
        errors.print(f"{failure.kind}: {failure.asset}: {failure.message}", markup=False, highlight=False)
    if not as_json:
        name = study if loaded == given else str(_written_down(loaded, home))
        console.print(f"page     {home.reports(loaded.name, target) / 'audit.html'}", highlight=False)
        console.print(f"study    {name}   (look into it with: tracepipe ui {name})", highlight=False)
    if outcome.failures:
        raise typer.Exit(exit_code(failure.kind for failure in outcome.failures))


def _own(summariser: str | None, endpoint: Path | None, wording: Path | None) -> dict[str, Any] | None:
    if summariser and endpoint:
        raise SpecError("--summariser and --endpoint: give one of them")
    if wording and not endpoint:
        raise SpecError("--wording: is what an --endpoint is asked; give one")
    if summariser:
        about = f"our own summariser {summariser}"
        return {"kind": "function", "function": summariser, "of": "trace", "describe": about}
    if endpoint:
        template = _SUMMARISE if wording is None else _text_of(wording)
        about = f"our own summariser of {endpoint.name}"
        own = {"kind": "endpoint", "file": str(endpoint.resolve()), "wording": {"template": template}}
        return own | {"describe": about}
    return None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None


def _written_down(study: Study, home: Home) -> Path:
    """Write a study that was put together here to a file, so that it can be run and looked at like any other."""
    path = home.root / "studies" / f"{study.name}.yaml"
    write_atomically(path, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False).encode())
    return path


def _print_leakage(study: Study, home: Home, target: str, as_json: bool) -> None:
    from tracepipe.report.beyond import leakage_grid, policy_costs
    from tracepipe.report.limits import cautions

    store = home.store(study.name)
    leaks = store.read("leakage", target)
    if as_json:
        print(json.dumps({"study": study.name, "target": target, "leakage": leaks.to_dicts()}))
        return
    print_grid(leakage_grid(leaks), f"leakage: {study.name} / {target}")
    for line in policy_costs(leaks):
        console.print(f"- {line}", highlight=False, markup=False)
    for caution in cautions(study, store.read("comparison", target)):
        console.print(f"note: {caution}", highlight=False)
