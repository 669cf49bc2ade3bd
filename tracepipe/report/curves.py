"""Curves: accuracy against what was exposed, and against the number of queries."""

from typing import TYPE_CHECKING, Any

import polars as pl

from tracepipe.audit import FULL, NONE
from tracepipe.report.plots import COLOURS, LINES, MARKERS, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def leakage_plot(leaks: pl.DataFrame) -> "Figure":
    """Draw accuracy and fidelity against tokens shown, with 95 % intervals (LEAKAGE of one benchmark)."""
    figure = figure_of(9, 4.4)
    accuracy, fidelity = figure.subplots(1, 2, width_ratios=(3, 2))
    placed = leaks.filter(pl.col("tokens").is_not_null()).sort("tokens", "accuracy")
    for index, row in enumerate(placed.iter_rows(named=True)):
        end = row["level"] in (NONE, FULL)
        style: dict[str, Any] = {
            "marker": "*" if end else MARKERS[index % len(MARKERS)],
            "color": "black" if end else COLOURS[index % (len(COLOURS) - 1)],
            "markersize": 10 if end else 6,
            "capsize": 2,
            "linestyle": "none",
        }
        errors = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
        accuracy.errorbar([row["tokens"]], [row["accuracy"]], errors, label=row["level"], **style)
        if row["fidelity"] is not None:
            errors = [[row["fidelity"] - row["fidelity_low"]], [row["fidelity_high"] - row["fidelity"]]]
            fidelity.errorbar([row["tokens"]], [row["fidelity"]], errors, **style)
    for index, row in enumerate(leaks.filter(pl.col("tokens").is_null()).iter_rows(named=True)):
        accuracy.axhline(row["accuracy"], color="0.5", linestyle=LINES[1 + index], linewidth=1, label=row["level"])
    for axes, name in ((accuracy, "students' accuracy, %"), (fidelity, "ROUGE-L to the real traces")):
        axes.set_xlabel("mean tokens shown beside the answer")
        axes.set_ylabel(name)
        axes.set_ylim(-2, 104)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def budget_plot(points: pl.DataFrame) -> "Figure":
    """Draw accuracy with its interval against queries: `swept, queries, accuracy, low, high` of one benchmark."""
    figure = figure_of(7, 3.6)
    axes = figure.subplots()
    for index, condition in enumerate(points["swept"].unique(maintain_order=True)):
        rows = points.filter(swept=condition).sort("queries")
        errors = [(rows["accuracy"] - rows["low"]).to_list(), (rows["high"] - rows["accuracy"]).to_list()]
        style: dict[str, Any] = {"marker": MARKERS[index % len(MARKERS)], "color": COLOURS[index % len(COLOURS)]}
        line = LINES[index % len(LINES)]
        axes.errorbar(
            rows["queries"].to_list(),
            rows["accuracy"].to_list(),
            errors,
            linestyle=line,
            capsize=2,
            label=condition,
            **style,
        )
    axes.set_xlabel("queries to the target")
    axes.set_ylabel("accuracy, %  (95 % interval over items)")
    axes.set_ylim(-2, 102)
    axes.set_xlim(left=0)
    axes.legend(loc="best")
    return figure
