"""The sections beyond the paper: rows, selection, lengths matched, query budgets, and levels of exposure."""

from collections.abc import Callable
from typing import Any

import polars as pl

from tracepipe.audit import FULL, NONE
from tracepipe.conditions import budget_of
from tracepipe.fidelity import count_tokens
from tracepipe.report.curves import budget_plot, leakage_plot
from tracepipe.report.material import Material
from tracepipe.report.plots import svg
from tracepipe.report.section import Figure, Section
from tracepipe.report.tables import Grid
from tracepipe.roles import Exposure
from tracepipe.row_set import losses
from tracepipe.selection.choose import changes, rejected
from tracepipe.selection.spec import RULES
from tracepipe.study import Study


def rows_section(material: Material) -> Section | None:
    """Say how many rows all conditions share, and what took the others."""
    rows = material.table("row_set")
    if rows is None:
        return None
    used = int(rows["used"].sum())
    text = (
        f"{used} of the target's {rows.height} rows stand in every condition that can be compared, the same by id. A "
        "row that one condition cannot use is used by none; it is counted at the first thing that took it."
    )
    lost = tuple((why, str(count)) for why, count in losses(rows).iter_rows())
    return Section("rows", "Common rows", text, (), [Grid(("lost to", "rows"), lost)] if lost else ())


def selection_section(material: Material) -> Section | None:
    """Say what each rule rejected, and what each selection changed."""
    grids, points = [], []
    for exposure in material.study.exposures:
        drawn, chosen = material.table(f"trace_draws/{exposure}"), material.table(f"selected_traces/{exposure}")
        if drawn is None or chosen is None:
            continue
        for row in rejected(drawn).iter_rows(named=True):
            share = 100 * row["rejected"] / row["draws"]
            points.append(
                f"{exposure}: rule {row['rule']} rejects {row['rejected']:,} of {row['draws']:,} draws ({share:.1f} %)"
                f", {row['alone']:,} of them alone"
            )
        gains = _gains(material, exposure)
        cells = [
            (*_changed(material.study, exposure, row), gains.get(row["selection"], "-"))
            for row in changes(drawn, chosen).iter_rows(named=True)
        ]
        header = ("exposure", "selection", "rows kept", *(f"lost to {rule}" for rule in RULES))
        grids.append(
            Grid((*header, "another draw", "draws a row", "mean tokens", "points over the first draw"), tuple(cells))
        )
    if not grids:
        return None
    text = (
        "Every row's trace was drawn several times, and each draw held against rules that see only what the target "
        "shows. Rows are counted at the rule that left them without a draw. The last column is the difference in "
        "accuracy to the students of the first draws, with its 95 % interval over items, on each benchmark."
    )
    return Section("selection", "Selection of inverted traces", text, points, grids)


def _changed(study: Study, exposure: Exposure, row: dict[str, Any]) -> tuple[str, ...]:
    rules = study.known_selections[row["selection"]].rules
    return (
        exposure,
        row["selection"],
        f"{row['kept']} of {row['rows']}",
        *(str(row[rule]) if rule in rules else "off" for rule in RULES),
        str(row["changed"]),
        f"{row['mean_draws']:.1f}",
        "-" if row["tokens"] is None else f"{row['tokens_first']:.1f} to {row['tokens']:.1f}",
    )


def _gains(material: Material, exposure: Exposure) -> dict[str, str]:
    """Say for every selection what it brought over the first draw, benchmark by benchmark."""
    differences = material.table("differences")
    if differences is None:
        return {}
    plain, found = f"inverted_{exposure}", dict[str, list[str]]()
    for row in differences.iter_rows(named=True):
        if plain not in (row["condition"], row["against"]):
            continue
        ends = (row["difference"], row["low"], row["high"])
        turned = row["condition"] == plain  # the study names the selection first
        gain, low, high = (-ends[0], -ends[2], -ends[1]) if turned else ends
        selection = (row["against"] if turned else row["condition"]).removeprefix(f"{plain}_")
        verdict = "" if row["resolved"] else ", not resolved"
        found.setdefault(selection, []).append(f"{row['benchmark']}: {gain:+.1f} ({low:+.1f} to {high:+.1f}{verdict})")
    return {selection: "; ".join(lines) for selection, lines in found.items()}


def matched_section(material: Material) -> Section | None:
    """Show conditions at matched length, with how long their traces are."""
    study, comparison, examples = material.study, material.table("comparison"), material.table("student_examples")
    names = [name for name in study.trained_conditions if study.composition(name).length_of]
    if comparison is None or examples is None or not names:
        return None
    rows = []
    for name in names:
        traces = examples.filter(condition=name)["trace"].drop_nulls().to_list()
        mean = sum(count_tokens(traces, study.student.model)) / max(len(traces), 1)
        for row in comparison.filter(condition=name).iter_rows(named=True):
            rows.append(
                (
                    row["benchmark"],
                    name,
                    study.composition(name).length_of or "",
                    str(len(traces)),
                    f"{mean:.1f}",
                    *_accuracy(row),
                )
            )
    header = ("benchmark", "condition", "as long as", "rows", "mean tokens", *_ACCURACY)
    text = (
        "Each of these conditions keeps only rows whose traces have a partner of the same length in the other, so that "
        "a longer trace cannot be why one of them is better. They hold fewer rows than the others."
    )
    return Section("matched", "Accuracy at matched length", text, (), [Grid(header, tuple(rows))])


def budget_section(material: Material) -> Section | None:
    """Draw accuracy against the number of queries."""
    comparison = material.table("comparison")
    if comparison is None:
        return None
    points = [
        row | {"swept": budget[0], "queries": budget[1]}
        for row in comparison.iter_rows(named=True)
        if (budget := budget_of(row["condition"])) is not None
    ]
    if not points:
        return None
    data = pl.DataFrame(points, infer_schema_length=None)
    header = ("benchmark", "condition", "queries", "training rows", *_ACCURACY)
    cells = [
        (row["benchmark"], row["swept"], str(row["queries"]), str(row["training_rows"]), *_accuracy(row))
        for row in data.sort("benchmark", "swept", "queries").iter_rows(named=True)
    ]
    figures = _figures(data, budget_plot, "Accuracy by query budget", "budgets")
    text = (
        "Students of what the first so many queries brought, each budget within the next; rows that were lost count as "
        "queries. The inverter is trained on the surrogate and is the same at every budget."
    )
    return Section("budgets", "Query budgets", text, (), [Grid(header, tuple(cells))], figures)


def leakage_section(material: Material) -> Section | None:
    """Draw the leakage curve, and say of every level what it shows and what came of it."""
    leaks = material.table("leakage")
    if leaks is None:
        return None
    figures = _figures(leaks, leakage_plot, "Leakage curve", "leakage")
    text = (
        "What is shown beside the answer, on average over the common rows, and the students of what an inverter makes "
        "of it. Recovered is how far they come from answers alone (0) to the full trace (100). Intervals are over "
        "benchmark items."
    )
    return Section("leakage", "Leakage by exposure", text, policy_costs(leaks), [leakage_grid(leaks)], figures)


def leakage_grid(leaks: pl.DataFrame) -> Grid:
    """Lay out LEAKAGE."""
    header = ("benchmark", "level", "tokens", "facts", "ROUGE-L (95 %)", *_ACCURACY, "recovered %", "what is shown")
    cells = [
        (
            row["benchmark"],
            row["level"],
            _number(row["tokens"]),
            _number(row["facts"]),
            "-" if row["fidelity"] is None else _interval(row["fidelity"], row["fidelity_low"], row["fidelity_high"]),
            *_accuracy(row),
            _number(row["recovered"]),
            row["describe"],
        )
        for row in leaks.iter_rows(named=True)
    ]
    return Grid(header, tuple(cells))


def policy_costs(leaks: pl.DataFrame) -> list[str]:
    """Say in one sentence per level of the first benchmark what showing it costs, the cheapest first (LEAKAGE)."""
    cell = leaks.filter(benchmark=leaks["benchmark"][0])
    lower = cell.filter(level=NONE)
    levels = cell.filter(pl.col("tokens").is_not_null(), ~pl.col("level").is_in([NONE, FULL])).sort("accuracy")
    found = []
    for row in levels.iter_rows(named=True):
        cut, silent = f"cut off {row['truncation_rate']:.1f} %", f"no answer {row['no_answer_rate']:.1f} %"
        gained = f"{row['accuracy']:.1f} % ({row['low']:.1f} - {row['high']:.1f}; {cut}, {silent})"
        above = ""
        if lower.height:
            apart = "above" if row["low"] > lower["high"][0] else "not clearly above"
            above = f", {apart} the {lower['accuracy'][0]:.1f} % of answers alone"
        found.append(
            f"{row['level']} ({row['describe']}): {row['tokens']:.1f} tokens and {row['facts']:.1f} facts a row; "
            f"students reach {gained} on {row['benchmark']}{above}"
        )
    return found


_ACCURACY = ("accuracy %", "95 % interval", "seeds min-max", "truncated %", "no answer %", "loops %")


def _accuracy(row: dict[str, float]) -> tuple[str, ...]:
    """No accuracy stands without what qualifies it."""
    return (
        f"{row['accuracy']:.1f}",
        f"{row['low']:.1f} - {row['high']:.1f}",
        f"{row['seed_low']:.1f} - {row['seed_high']:.1f}",
        *(f"{row[rate]:.1f}" for rate in ("truncation_rate", "no_answer_rate", "loop_rate")),
    )


def _figures(data: pl.DataFrame, plot: Callable[[pl.DataFrame], Any], what: str, name: str) -> list[Figure]:
    """Draw one plot per benchmark."""
    cells = data.group_by("benchmark", maintain_order=True)
    return [
        Figure(svg(plot(cell)), f"{what} on {benchmark}", f"{name}-{benchmark}", cell) for (benchmark,), cell in cells
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.1f} ({low:.1f} - {high:.1f})"
