"""`tracepipe estimate, retry`: what a collection costs, and what to buy again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Annotated, Any

import polars as pl
import typer

from tracepipe.cli.options import FAILED, JsonOption, StudyName, TargetName
from tracepipe.cli.runs import run_study
from tracepipe.estimate import Estimate, Range
from tracepipe.home import Home
from tracepipe.journal import Sink
from tracepipe.records import OUTCOMES
from tracepipe.registry import find_target
from tracepipe.report.tables import Grid
from tracepipe.sizing import Assumptions, Sizing, price_tag, total_range
from tracepipe.spec import SpecError
from tracepipe.study import Study, load_study
from tracepipe.target import Target
from tracepipe.terminal import console, errors, print_grid, shown_progress

_COLLECTED = "key:target_outputs or key:dead_letters or key:target_attempts"


def estimate(
    study: StudyName,
    target: Annotated[str | None, typer.Option(help="name of a target: adds what it bills")] = None,
    probe: Annotated[int, typer.Option(min=0, help="ask so many rows first, which is paid and kept")] = 0,
    rough: Annotated[bool, typer.Option("--rough", help="read no prompts; every stage by stated assumptions")] = False,
    assume: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, replaces an assumption; repeatable")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a study costs: every stage by stated assumptions, and a target's collection by its own prompts."""
    from tracepipe import definitions as place

    loaded = load_study(place.find_study(study))
    found = find_target(place.targets_folder(), target)[0] if target else None
    assumed = _assumed(assume or [])
    if target is None or rough:
        print_sizing(loaded, found, assumed, as_json=as_json)
        return
    estimated = _estimate_collection(study, target, probe)
    print_sizing(loaded, found, assumed, as_json=as_json, beside=asdict(estimated))
    if not as_json:
        _print_estimate(estimated, target)


def _assumed(replaced: list[str]) -> Assumptions:
    names = {one.name for one in fields(Assumptions)}
    changes = dict[str, float]()
    for one in replaced:
        name, _, value = one.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            raise SpecError(f"--assume: '{one}' is not NAME=NUMBER") from None
        if name not in names:
            raise SpecError(f"--assume: there is no '{name}'; there are: {', '.join(sorted(names))}")
    return Assumptions(**changes)


def print_sizing(
    study: Study,
    target: Target | None,
    assumed: Assumptions,
    *,
    as_json: bool,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Print what every stage of a study takes, and on which assumptions; as JSON with what else is known `beside`."""
    stages = Sizing(study, target, assumed, study.hardware).stages()
    if as_json:
        print(json.dumps({**beside, "stages": [asdict(one) for one in stages], "assumptions": asdict(assumed)}))
        return
    rows = tuple(
        (one.stage, one.what, f"{one.usd:,.2f}", f"{one.gpu_hours:,.1f}", f"{one.disk_gib:,.2f}") for one in stages
    )
    print_grid(Grid(("stage", "what", "USD", "GPU-hours", "disk GiB"), rows), f"{study.name}: by assumption")
    hardware = study.hardware
    wall = stages[-1].gpu_hours / hardware.count
    whole = total_range(stages)
    for line in (
        f"price     {price_tag(stages, hardware)}; with throughput and lengths as uncertain as they are, "
        f"{whole.low:,.0f} to {whole.high:,.0f} USD",
        f"time      {wall:,.1f} h where all GPUs are always busy",
        f"assumed   {', '.join(assumed.in_words())}",
        f"hardware  {hardware.count} x {hardware.gpu} at {hardware.usd_per_hour:g} USD an hour each",
    ):
        console.print(line, highlight=False, markup=False)


def _estimate_collection(study: str, target: str, probe: int) -> Estimate:
    from tracepipe import definitions as place
    from tracepipe.collection import CollectionStopped, collect
    from tracepipe.estimate import estimate as estimate_collection
    from tracepipe.serving import ServingError, reachable

    prompts = _prompts(study)
    found, path = find_target(place.targets_folder(), target)
    home = Home.up_to_date()
    home.catch_up(found.name)
    journal, sink = home.journal(found.name), Sink(home.trace_log(found.name))
    if probe:
        try:
            with shown_progress(), home.collecting(found.name), reachable(found, path.parent, sink.path) as base_url:
                asked = found.model_copy(update={"probe": 0, "delivery": "live"})
                collect(prompts.head(probe), asked, base_url=base_url, journal=journal, trace_sink=sink)
        except (CollectionStopped, ServingError) as stop:
            errors.print(f"error: {stop}", markup=False, highlight=False)
            raise typer.Exit(FAILED) from None
    return estimate_collection(prompts, found, journal)


def _prompts(study: str) -> pl.DataFrame:
    from tracepipe import definitions as place
    from tracepipe.prompts.build import build_items, build_prompts, contaminated_prompts

    loaded = load_study(place.find_study(study))
    return build_prompts(loaded, contaminated_prompts(loaded, build_items(loaded))).table.filter(split="target")


def _print_estimate(estimated: Estimate, target: str) -> None:
    def row(name: str, values: Range, digits: int) -> tuple[str, ...]:
        return (name, *(f"{value:,.{digits}f}" for value in (values.low, values.likely, values.high)))

    rows = (
        row("input tokens", estimated.input_tokens, 0),
        row("output tokens", estimated.output_tokens, 0),
        row("USD live", estimated.live_usd, 2),
        row("USD by the Batch API", estimated.batch_usd, 2),
        row("hours live", estimated.hours, 2),
    )
    title = f"{target}: {estimated.rows} rows to ask, {estimated.collected} collected"
    print_grid(Grid(("", "low", "likely", "high"), rows), title)
    lines = (
        f"basis     {estimated.basis}",
        f"time      decided by {estimated.bound_by}; a batch ends within 24 hours",
        f"worst     {estimated.worst_usd:,.2f} USD could be billed at most; of the budget "
        f"{estimated.left_usd:,.2f} USD are left",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False)


def retry(
    study: StudyName,
    target: TargetName,
    outcome: Annotated[list[str] | None, typer.Option(help="buy rows of this outcome again; may be repeated")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before spending")] = False,
    as_json: JsonOption = False,
) -> None:
    """List a target's unusable rows by outcome; with --outcome, ask those again. What they brought is kept."""
    from tracepipe import definitions as place
    from tracepipe.collection import reopen
    from tracepipe.ledger import worst_case
    from tracepipe.outputs import read_outputs

    unknown = set(outcome or []) - set(OUTCOMES)
    if unknown:
        raise SpecError(f"--outcome: {', '.join(sorted(unknown))} is none; the outcomes are: {', '.join(OUTCOMES)}")
    prompts = _prompts(study)
    found, _ = find_target(place.targets_folder(), target)
    home = Home.up_to_date()
    home.catch_up(found.name)
    rows = read_outputs(prompts, found, home.journal(found.name)).join(prompts, on="prompt_id", validate="1:1")
    if not outcome:
        _print_dead(rows, target, as_json)
        return
    again = rows.filter(pl.col("outcome").is_in(outcome))
    worst = sum(worst_case(found, prompt, found.delivery) for prompt in again["prompt"])
    console.print(f"{again.height} rows, at most {worst:.4f} USD", highlight=False)
    if again.height and (yes or typer.confirm("ask them again?")):
        sink = Sink(home.trace_log(found.name))
        with home.collecting(found.name):
            reopen(found, home.journal(found.name), sink, again["request_key"].to_list())
        run_study(study, target, None, _COLLECTED, as_json)


def _print_dead(rows: pl.DataFrame, target: str, as_json: bool) -> None:
    dead = (
        rows.filter(pl.col("outcome") != "ok")
        .group_by("outcome")
        .agg(pl.len().alias("rows"), pl.col("cost_usd").sum(), pl.col("reason").mode().first())
        .sort("rows", descending=True)
    )
    if as_json:
        print(json.dumps(dead.to_dicts()))
        return
    cells = [(row[0], str(row[1]), f"{row[2]:.4f}", row[3] or "") for row in dead.iter_rows()]
    print_grid(Grid(("outcome", "rows", "paid USD", "most frequent reason"), tuple(cells)), f"{target}: unusable rows")
    if cells:
        console.print("buy them again with --outcome OUTCOME", highlight=False)
