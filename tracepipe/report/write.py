"""Write a target's report: one HTML file that needs no network, and Markdown."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader, select_autoescape

from tracepipe.prompts.build import protocols
from tracepipe.records import FILES, from_rows
from tracepipe.report.plots import accuracy_plot, difference_plot
from tracepipe.report.tables import Grid, comparison_grid, difference_grid, fidelity_grid
from tracepipe.store import Event, write_atomically
from tracepipe.study import MiniaturePrompts, Study
from tracepipe.target import Target

VERSION = "2"
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


def scorers(study: Study) -> list[str]:
    """Say for every benchmark how its accuracy is scored, and how the fairer scorer differs."""
    found = zip(study.benchmarks, protocols(study), strict=True)
    lines = [f"{benchmark.name}: {protocol.official}; fair scorer: {protocol.fair}" for benchmark, protocol in found]
    own = study.student.sampling
    asked = f"temperature {own.temperature:g}, {own.max_new_tokens} new tokens at most (paper: 0.7 and 32,768)"
    left_out = f"prompts too close to a benchmark were left out by: {', '.join(study.decontamination.rules)}"
    return [*lines, f"students answered at {asked}", left_out]


@dataclass(frozen=True)
class Results:
    """The tables of a report: COMPARISON, DIFFERENCES, and `exposure` with the columns of `mean_fidelity`."""

    comparison: pl.DataFrame
    differences: pl.DataFrame
    fidelity: pl.DataFrame


def write_report(study: Study, target: Target, results: Results, events: Sequence[Event], folder: Path) -> pl.DataFrame:
    """Write `report.html` and `report.md`.

    Args:
        study: The study.
        target: The target reported on.
        results: The tables; fidelity is empty for a closed target.
        events: The lineage events of all tables behind the report, whose gates are listed.
        folder: Where the files go.

    Returns:
        FILES.
    """
    notes = cautions(study, results.comparison)
    grids = {
        "comparison": comparison_grid(results.comparison),
        "differences": difference_grid(results.differences),
        "fidelity": fidelity_grid(results.fidelity),
        "gates": _gates_grid(events),
    }
    pictures = {"accuracy": accuracy_plot(results.comparison), "differences": difference_plot(results.differences)}
    environment = Environment(loader=PackageLoader("tracepipe", "report"), autoescape=select_autoescape(["jinja"]))
    html = environment.get_template("report.html.jinja").render(
        study=study,
        target=target,
        cautions=notes,
        scorers=scorers(study),
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        **grids,
    )
    markdown = "\n\n".join(
        [
            f"# {study.name}: {target.name}",
            *(f"> {note}" for note in notes),
            grids["comparison"].markdown(),
            *(f"- {line}" for line in scorers(study)),
            *(grids[name].markdown() for name in ("differences", "fidelity", "gates")),
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
