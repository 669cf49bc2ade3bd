"""`tracepipe lineage`: from a number back to its rows, forward from a target, and removal."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tracepipe.cli.options import JsonOption
from tracepipe.home import Home
from tracepipe.lineage.entries import event_json, read_entries
from tracepipe.lineage.impact import Impact, impact_of_prompt, impact_of_target
from tracepipe.lineage.walk import Lineage, Node, Version
from tracepipe.report.tables import Grid
from tracepipe.spec import SpecError
from tracepipe.terminal import console, print_grid, print_tree

app = typer.Typer(no_args_is_help=True, help="From a number back to its rows, and forward from a target.")
_WIDTH = 100
_SEVERAL = 20

StudyOption = Annotated[str | None, typer.Option(help="only in this study, by its name")]
PartitionOption = Annotated[str | None, typer.Option("--target", help="only of this target")]


def _opened() -> Lineage:
    home = Home.up_to_date()
    home.catch_up()
    return Lineage(home.catalogue, home.responses)


@app.command()
def row(
    key: Annotated[str, typer.Argument(metavar="ID", help="request key, prompt, example, item or checkpoint id")],
    table: Annotated[str | None, typer.Option(help="the asset, where the id stands in several")] = None,
    study: StudyOption = None,
    target: PartitionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Walk from a row to all that it stands on, down to the request and the raw response."""
    with _opened() as lineage:
        holding = lineage.holding(key)
        wanted = {"asset": table, "study": study, "partition": target}
        fitting = [
            version
            for version in holding
            if all(value is None or getattr(version, name) == value for name, value in wanted.items())
        ]
        if not fitting:
            places = ", ".join(sorted({f"{version.asset} ({version.partition})" for version in holding}))
            raise SpecError(
                f"no row has the id '{key}'"
                + (
                    f" there; it stands in: {places}"
                    if holding
                    else "; after a change of files: tracepipe lineage rebuild"
                )
            )
        node = lineage.walk(key, fitting[0])
    if as_json:
        print(json.dumps(node.as_json(), default=str))
        return
    _print_walk(node, sorted({version.asset for version in holding} - {node.version.asset}))


def _print_walk(node: Node, others: list[str]) -> None:
    from rich.tree import Tree

    tree = Tree(_label(node))
    _grow(tree, node)
    print_tree(tree)
    missing = [f"{one.noun} {one.key}: {what}" for one in node.all() for what in one.missing]
    for line in missing:
        console.print(f"NOT FOUND: {line}", markup=False, highlight=False)
    if others:
        console.print(f"The id stands in {', '.join(others)} too: --table NAME", markup=False, highlight=False)


def _grow(tree: Any, node: Node) -> None:
    from rich.text import Text

    if node.repeated:
        return
    for line in _facts(node):
        tree.add(Text(line, style="dim"))
    for child in node.children:
        _grow(tree.add(_label(child)), child)


def _label(node: Node) -> Any:
    from rich.text import Text

    where = f" [{node.version.asset}, {node.version.partition}]"
    count = f", the first of {node.of:,}" if node.of > 1 else ""
    return Text.assemble(
        (node.noun, "bold"), " ", (node.key, "cyan"), where, count, " (above)" if node.repeated else ""
    )


def _facts(node: Node) -> list[str]:
    named = set(node.key.split())
    shown = {name: value for name, value in node.row.items() if value is not None and str(value) not in named}
    lines = [f"{name}: {_short(value)}" for name, value in shown.items()]
    if node.request is not None:
        lines.append(f"asked with: {json.dumps(node.request, ensure_ascii=False)}")
    if node.response is not None:
        about = node.response
        lines.append(f"response: {about['journal']}, byte {about['offset']}, {about['kind']} at {about['at']}")
    version = node.version
    code = f"code {version.code_version}, commit {(version.commit or 'unknown')[:12]}"
    return [*lines, f"made {version.created_at} by run {version.run_id[:8]}, {code}, version {version.version}"]


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}... ({len(text):,} characters)"


@app.command()
def asset(
    name: Annotated[str, typer.Argument(metavar="KEY", help="the asset, such as inverted_traces/summary")],
    study: StudyOption = None,
    target: PartitionOption = None,
    as_json: JsonOption = False,
) -> None:
    """List an asset's versions, and what the one in use was made from and by."""
    with _opened() as lineage:
        found = lineage.versions(
            "m.asset = ? AND coalesce(m.study = ?, true) AND coalesce(m.partition = ?, true)", [name, study, target]
        )
        if not found:
            known = lineage.connection.execute("SELECT DISTINCT asset FROM materializations ORDER BY 1").fetchall()
            raise SpecError(f"no version of '{name}'; the assets are: {', '.join(one for (one,) in known)}")
        number = [found[0].number]
        (made,) = lineage.ask("SELECT * FROM materializations WHERE materialization = ?", number)
        inputs = lineage.ask(
            "SELECT input AS asset, input_partition AS partition, input_version AS version FROM inputs "
            "WHERE materialization = ?",
            number,
        )
        gates = lineage.ask("SELECT gate, passed, summary FROM gates WHERE materialization = ?", number)
    if as_json:
        print(json.dumps({**made, "inputs": inputs, "gates": gates, "versions": len(found)}, default=str))
        return
    print_grid(Grid(("study", "target", "in use", "rows", "made", "version"), _versions(found)), f"versions of {name}")
    for key in ("config", "code_version", "commit", "run_id", "seconds", "cost_usd", "ran_on", "path"):
        console.print(f"{key:12} {made[key]}", markup=False, highlight=False)
    print_grid(Grid(("input", "target", "version"), tuple(tuple(one.values()) for one in inputs)), "made from")
    if gates:
        cells = tuple((one["gate"], "passed" if one["passed"] else "FAILED", one["summary"]) for one in gates)
        print_grid(Grid(("gate", "verdict", "counted"), cells), "gates")


def _versions(found: list[Version]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (one.study, one.partition, "yes" if one.current else "", str(one.rows), one.created_at, one.version)
        for one in found[:_SEVERAL]
    )


@app.command()
def model(
    key: Annotated[str, typer.Argument(metavar="ID", help="checkpoint id, or weights id of a given model")],
    as_json: JsonOption = False,
) -> None:
    """Show a checkpoint: what it was trained from and on, how, and what it wrote."""
    with _opened() as lineage:
        found = lineage.ask(
            "SELECT * FROM models WHERE checkpoint_id = ? OR weights = ? ORDER BY current DESC, given, study",
            [key, key],
        )
        if not found:
            raise SpecError(f"no model has the id '{key}'; list them with: tracepipe lineage sql 'FROM models'")
        has_calls = lineage.ask("SELECT 1 FROM duckdb_views() WHERE view_name = 'generations'")
        query = "SELECT asset, target, count(*) AS rows FROM generations WHERE model = ? GROUP BY ALL ORDER BY ALL"
        wrote = lineage.ask(query, [key]) if has_calls else []
    if as_json:
        print(json.dumps({"models": found, "wrote": wrote}, default=str))
        return
    folder = Home.up_to_date().checkpoints.path(key)
    for name, value in found[0].items():
        if value is not None:
            console.print(f"{name:16} {_short(value)}", markup=False, highlight=False)
    console.print(f"{'folder':16} {folder if folder.exists() else 'not here'}", markup=False, highlight=False)
    cells = tuple((one["asset"], one["target"], str(one["rows"])) for one in wrote)
    print_grid(Grid(("asset", "target", "rows"), cells), "wrote")


@app.command()
def impact(
    target: Annotated[str | None, typer.Option(help="a target with all its revisions, or name@date")] = None,
    prompt: Annotated[str | None, typer.Option(help="a prompt id")] = None,
    as_json: JsonOption = False,
) -> None:
    """List all that derives from a target or a prompt: rows, checkpoints, scores, with their sizes."""
    if (target is None) == (prompt is None):
        raise SpecError("give either --target NAME or --prompt ID")
    home = Home.up_to_date()
    entries = read_entries(*home.roots)
    found = (
        impact_of_target(entries, target, home.checkpoints)
        if target is not None
        else impact_of_prompt(entries, str(prompt), home.checkpoints)
    )
    if not found.versions:
        raise SpecError(f"nothing derives from '{target or prompt}' in {home.root}")
    if as_json:
        print(json.dumps(_impact_json(found)))
    else:
        _print_impact(found, f"derived from {target or prompt}", home)


def _impact_json(found: Impact) -> dict[str, Any]:
    versions = [
        {
            "study": one.entry.event.study,
            "asset": one.entry.event.asset,
            "partition": one.entry.event.partition,
            "version": one.entry.event.version,
            "current": one.entry.current,
            "rows": one.rows,
            "of": one.entry.event.rows,
            "bytes": one.entry.event.bytes,
        }
        for one in found.versions
    ]
    return {"versions": versions, "checkpoints": list(found.checkpoints), "scores": found.scores}


def _print_impact(found: Impact, title: str, home: Home) -> None:
    grouped: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for one in found.versions:
        event = one.entry.event
        grouped[event.study, event.asset, event.partition].append(one)
    rows = [
        (
            *key,
            str(len(members)),
            f"{sum(one.rows for one in members):,}",
            f"{sum(one.entry.event.rows for one in members):,}",
            f"{sum(one.entry.event.bytes for one in members):,}",
        )
        for key, members in grouped.items()
    ]
    print_grid(Grid(("study", "asset", "target", "versions", "rows", "of", "bytes of files"), tuple(rows)), title)
    size = _size(home.checkpoints.path(one) for one in found.checkpoints)
    lines = (
        f"checkpoints {len(found.checkpoints)}, {size:,} bytes"
        + (f"; {len(found.shared)} of them stand in other tables too" if found.shared else ""),
        f"scores      {found.scores:,} in tables in use",
    )
    for line in lines:
        console.print(line, highlight=False)


def _size(places: Iterable[Path]) -> int:
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    return sum(file.stat().st_size for file in files if file.is_file())


@app.command()
def purge(
    target: Annotated[str, typer.Option(help="the target, with all its revisions, in all studies")],
    yes: Annotated[bool, typer.Option("--yes", help="remove it; without this, only say what would go")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove all that derives from a target, for good: tables, checkpoints, responses, traces, reports, runs."""
    from tracepipe import definitions as place
    from tracepipe.lineage.purge import plan_purge

    home = Home.up_to_date()
    if home.mirror is not None:
        home.mirror.pull_all()
        home.catch_up(target)
    plan = plan_purge(home, target)
    if plan.empty:
        raise SpecError(f"nothing derives from '{target}' in {home.root}")
    places = [*plan.folders, *plan.files, *(home.checkpoints.path(one) for one in (*plan.checkpoints, *plan.orphans))]
    size = _size(places)
    tombstone = place.purge_target(home, plan) if yes else None
    if as_json:
        removed = _impact_json(plan.impact) | {"places": [str(one) for one in places], "bytes": size}
        print(json.dumps(removed | {"tombstone": None if tombstone is None else str(tombstone)}))
        return
    if tombstone is None:
        _print_impact(plan.impact, f"would be removed: {target}", home)
        for one in places:
            console.print(f"  {one}", highlight=False, markup=False)
        console.print(f"{len(places)} folders and files, {size:,} bytes; --yes removes them", highlight=False)
        return
    for line in (
        f"removed {len(places)} folders and files, {size:,} bytes; tombstone: {tombstone}",
        *(f"to be made anew by the next run: {asset} ({of}, study {study})" for study, asset, of in plan.stale),
        "What was billed stays on the books. What you exported elsewhere is yours to remove.",
    ):
        console.print(line, highlight=False)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="one SELECT; the tables are in docs/lineage.md")],
    as_json: JsonOption = False,
) -> None:
    """Ask the catalogue in SQL; nothing can be changed."""
    import duckdb

    with _opened() as lineage:
        try:
            statements = lineage.connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise SpecError("give one SELECT; the catalogue is only read")
            found = lineage.ask(statements[0])
        except duckdb.Error as error:
            raise SpecError(f"the query fails: {error}") from None
    if as_json:
        print(json.dumps(found, default=str))
        return
    cells = tuple(tuple("" if cell is None else _short(cell) for cell in row.values()) for row in found)
    print_grid(Grid(tuple(found[0]) if found else (), cells), f"{len(found)} rows")


@app.command()
def export(
    to: Annotated[Path, typer.Argument(help="file to write, one JSON object a line")],
    form: Annotated[Literal["openlineage", "json"], typer.Option("--format", help="of the lines")] = "openlineage",
) -> None:
    """Write all lineage events, one a line."""
    from tracepipe.lineage.openlineage import run_events

    entries = read_entries(*Home.up_to_date().roots)
    lines = run_events(entries) if form == "openlineage" else (json.dumps(event_json(one)) for one in entries)
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w", encoding="utf-8") as stream:
        for line in lines:
            stream.write(line + "\n")
    console.print(f"{len(entries)} events in {to}", highlight=False)


@app.command()
def rebuild() -> None:
    """Write the catalogue anew from the files."""
    home = Home.up_to_date()
    console.print(f"{home.rebuild_catalogue()} events in {home.catalogue}", highlight=False)
