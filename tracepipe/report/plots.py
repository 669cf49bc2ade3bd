"""Small plots in colours that stay apart for colour-blind readers (Okabe-Ito), and in print by lines and markers."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_HATCHES = ("", "//", "..", "xx")
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", ":", "-.")


def accuracy_plot(comparison: pl.DataFrame) -> "Figure":
    """Draw accuracy with its 95 % interval, and each condition's spread over seeds, per benchmark (COMPARISON)."""
    benchmarks = comparison["benchmark"].unique(maintain_order=True).to_list()
    conditions = comparison["condition"].unique(maintain_order=True).to_list()
    figure = figure_of(8, 0.55 * len(conditions) + 1.2)
    axes = figure.subplots()
    height = 0.8 / len(benchmarks)
    for index, benchmark in enumerate(benchmarks):
        rows = comparison.filter(benchmark=benchmark)
        places = [conditions.index(condition) + index * height for condition in rows["condition"]]
        accuracy = rows["accuracy"].to_list()
        errors = [(rows["accuracy"] - rows["low"]).to_list(), (rows["high"] - rows["accuracy"]).to_list()]
        colour, hatch = COLOURS[index % len(COLOURS)], _HATCHES[index % len(_HATCHES)]
        axes.barh(
            places,
            accuracy,
            height,
            xerr=errors,
            label=benchmark,
            capsize=2,
            edgecolor="white",
            color=colour,
            hatch=hatch,
        )
        axes.hlines(places, rows["seed_low"].to_list(), rows["seed_high"].to_list(), color="black", linewidth=3)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(conditions))], conditions)
    axes.invert_yaxis()
    axes.set_xlim(0, 102)
    axes.set_xlabel("accuracy, %  (thin: 95 % interval over items; thick: range over training seeds)")
    axes.legend(loc="upper right")
    return figure


def difference_plot(differences: pl.DataFrame) -> "Figure":
    """Draw every pair's difference with its 95 % interval, hollow and grey where it is not resolved (DIFFERENCES)."""
    benchmarks = differences["benchmark"].unique(maintain_order=True).to_list()
    pairs = differences.select(pl.format("{} - {}", "condition", "against")).to_series()
    names = pairs.unique(maintain_order=True).to_list()
    figure = figure_of(8, 0.28 * max(len(names), 3) + 1.4)
    axes = figure.subplots()
    step = 0.8 / max(len(benchmarks), 1)
    for row, name in zip(differences.iter_rows(named=True), pairs, strict=True):
        index = benchmarks.index(row["benchmark"])
        place = names.index(name) + index * step
        colour = COLOURS[index % len(COLOURS)] if row["resolved"] else "0.6"
        axes.hlines(place, row["low"], row["high"], color=colour)
        face = colour if row["resolved"] else "white"
        axes.plot(row["difference"], place, MARKERS[index % len(MARKERS)], color=colour, markerfacecolor=face)
    for index, benchmark in enumerate(benchmarks):
        axes.plot([], [], MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)], label=benchmark)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks([place + 0.4 - step / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("percentage points, 95 % interval  (hollow: not resolved)")
    if benchmarks:
        axes.legend(loc="best")
    return figure


def truncation_plot(comparison: pl.DataFrame) -> "Figure":
    """Draw accuracy against the share of responses cut off: a colour per condition, a marker per benchmark."""
    figure = figure_of(8, 3.6)
    axes = figure.subplots()
    conditions = comparison["condition"].unique(maintain_order=True).to_list()
    benchmarks = comparison["benchmark"].unique(maintain_order=True).to_list()
    for row in comparison.iter_rows(named=True):
        colour = COLOURS[conditions.index(row["condition"]) % len(COLOURS)]
        marker = MARKERS[benchmarks.index(row["benchmark"]) % len(MARKERS)]
        label = f"{row['condition']}, {row['benchmark']}"
        axes.plot(row["truncation_rate"], row["accuracy"], marker, color=colour, label=label, alpha=0.8)
    axes.set_xlabel("responses cut off at the token cap, %")
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(-0.5, max(10.0, 1.1 * max(comparison["truncation_rate"].to_list(), default=0.0)))
    axes.set_ylim(-2, 102)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
    return figure


def history_plot(history: pl.DataFrame) -> "Figure":
    """Draw accuracy with its interval by target and revision, one line per condition.

    Args:
        history: `target, condition, accuracy, low, high` of one benchmark.
    """
    targets = history["target"].unique(maintain_order=True).to_list()
    figure = figure_of(8, 3.6)
    axes = figure.subplots()
    for index, condition in enumerate(history["condition"].unique(maintain_order=True)):
        rows = history.filter(condition=condition)
        places = [targets.index(target) + index * 0.04 for target in rows["target"]]
        errors = [(rows["accuracy"] - rows["low"]).to_list(), (rows["high"] - rows["accuracy"]).to_list()]
        style: dict[str, Any] = {
            "marker": MARKERS[index % len(MARKERS)],
            "color": COLOURS[index % len(COLOURS)],
            "capsize": 2,
        }
        axes.errorbar(places, rows["accuracy"].to_list(), errors, linestyle=LINES[index % 4], label=condition, **style)
    axes.set_xticks(range(len(targets)), targets)
    axes.set_ylim(0, 102)
    axes.set_ylabel("accuracy, %")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def loss_plot(losses: Mapping[str, Sequence[float]]) -> "Figure":
    """Draw training loss curves, given as label -> one value per logging interval."""
    figure = figure_of(6, 3)
    axes = figure.subplots()
    for index, (label, values) in enumerate(losses.items()):
        style: dict[str, Any] = {"linestyle": LINES[index % 4], "color": COLOURS[index % len(COLOURS)]}
        axes.plot(range(1, len(values) + 1), values, label=label, **style)
    axes.set_xlabel("logging interval")
    axes.set_ylabel("training loss")
    axes.set_yscale("log")
    axes.legend()
    return figure


def length_plot(lengths: Mapping[str, Sequence[int]]) -> "Figure":
    """Draw length distributions as shares of the rows, given as label -> tokens."""
    figure = figure_of(6, 3)
    axes = figure.subplots()
    longest = max((max(values) for values in lengths.values() if values), default=1)
    bins = [longest * edge / 30 for edge in range(31)]
    for index, (label, values) in enumerate(lengths.items()):
        style: dict[str, Any] = {"linestyle": LINES[index % 4], "color": COLOURS[index % len(COLOURS)]}
        weights = [100 / len(values)] * len(values)
        axes.hist(values, bins=bins, weights=weights, histtype="step", label=label, **style)
    axes.set_xlabel("tokens")
    axes.set_ylabel("rows, %")
    axes.legend()
    return figure


def figure_of(width: float, height: float) -> "Figure":
    """Return an empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(figure: "Figure") -> bytes:
    """Return a plot as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def svg(figure: "Figure") -> bytes:
    """Return a plot as SVG with its letters as paths; the same plot gives the same bytes."""
    from matplotlib import rc_context

    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "tracepipe"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
