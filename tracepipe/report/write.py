"""Write a target's report: one HTML file that needs no network, and Markdown."""

import base64
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader, select_autoescape

from tracepipe.records import FILES, from_rows
from tracepipe.report.plots import accuracy_plot
from tracepipe.report.tables import Grid, comparison_grid, fidelity_grid
from tracepipe.store import Event, write_atomically
from tracepipe.study import MiniaturePrompts, Study
from tracepipe.target import Target

VERSION = "1"
MINIATURE_CAUTION = (
    "This is the miniature world. It shows that the pipeline works from end to end; it is no evidence for the "
    "paper, since the world was built so that inversion has something to invert."
)


def cautions(study: Study, comparison: pl.DataFrame) -> list[str]:
    """Return what a reader must know before reading the table."""
    found = [MINIATURE_CAUTION] if isinstance(study.prompts.source, MiniaturePrompts) else []
    if comparison.filter(seeds=1).height:
        found.append("One training seed supports no claim about a method: the spread over seeds is not known.")
    cut = comparison.filter(pl.col("truncation_rate") > 5)
    if cut.height:
        cells = ", ".join(f"{row['condition']} on {row['benchmark']}" for row in cut.iter_rows(named=True))
        found.append(f"More than 5 % of the responses were cut off at the token cap, which lowers accuracy: {cells}.")
    return found


def write_report(
    study: Study, target: Target, comparison: pl.DataFrame, means: pl.DataFrame, events: Sequence[Event], folder: Path
) -> pl.DataFrame:
    """Write `report.html` and `report.md`.

    Args:
        study: The study.
        target: The target reported on.
        comparison: COMPARISON.
        means: `exposure` and the columns of `mean_fidelity`; empty for a closed target.
        events: The lineage events of all tables behind the report, whose gates are listed.
        folder: Where the files go.

    Returns:
        FILES.
    """
    gates = _gates_grid(events)
    notes = cautions(study, comparison)
    environment = Environment(loader=PackageLoader("tracepipe", "report"), autoescape=select_autoescape(["jinja"]))
    html = environment.get_template("report.html.jinja").render(
        study=study,
        target=target,
        cautions=notes,
        comparison=comparison_grid(comparison),
        accuracy_plot=base64.b64encode(accuracy_plot(comparison)).decode(),
        fidelity=fidelity_grid(means),
        gates=gates,
    )
    markdown = "\n\n".join(
        [
            f"# {study.name}: {target.name}",
            *(f"> {note}" for note in notes),
            comparison_grid(comparison).markdown(),
            fidelity_grid(means).markdown(),
            gates.markdown(),
        ]
    )
    written = {"html": (folder / "report.html", html), "markdown": (folder / "report.md", markdown + "\n")}
    for path, text in written.values():
        write_atomically(path, text.encode())
    return from_rows(
        [{"path": str(path), "format": kind, "bytes": path.stat().st_size} for kind, (path, _) in written.items()],
        FILES,
    )


def _gates_grid(events: Sequence[Event]) -> Grid:
    rows = [
        (event.asset, gate.name, "passed" if gate.passed else "FAILED", gate.message)
        for event in sorted(events, key=lambda event: event.asset)
        for gate in event.gates
    ]
    return Grid(("table", "gate", "verdict", "counted"), tuple(rows))
