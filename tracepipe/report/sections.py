"""The sections of a report, in the order in which they stand: each one idea, for HTML and Markdown alike."""

from collections.abc import Sequence
from math import isnan

import polars as pl

from tracepipe.consistency import rates
from tracepipe.fidelity import count_tokens, mean_fidelity
from tracepipe.prompts.build import protocols
from tracepipe.records import STAGES
from tracepipe.report.beyond import (
    budget_section,
    leakage_section,
    matched_section,
    rows_section,
    selection_section,
)
from tracepipe.report.limits import limits
from tracepipe.report.material import Material
from tracepipe.report.paper import papers_numbers
from tracepipe.report.plots import accuracy_plot, difference_plot, history_plot, length_plot, svg, truncation_plot
from tracepipe.report.section import Figure, Section
from tracepipe.report.tables import Grid, comparison_grid, difference_grid, fidelity_grid, preview_grid
from tracepipe.store import Event
from tracepipe.study import Study

_LENGTHS_OF = 500


def sections(material: Material) -> list[Section]:
    """Write every section for which there is material; the last one says what the report does not show."""
    written = [
        _accuracy(material),
        _differences(material),
        leakage_section(material),
        budget_section(material),
        _truncation(material),
        rows_section(material),
        selection_section(material),
        _lengths(material),
        matched_section(material),
        _fidelity(material),
        _style(material),
        _paper(material),
        _targets(material),
        _cost(material),
        _gates(material.events),
        Section("limits", "What this does not show", points=limits(material)),
    ]
    return [section for section in written if section is not None]


def audit_sections(material: Material) -> list[Section]:
    """Write the page of an audit: what each policy costs, on how many rows, and what it does not show."""
    written = [
        leakage_section(material),
        rows_section(material),
        Section("limits", "What this does not show", points=limits(material)),
    ]
    return [section for section in written if section is not None]


def _accuracy(material: Material) -> Section | None:
    comparison = material.table("comparison")
    if comparison is None:
        return None
    plot = svg(accuracy_plot(comparison))
    figure = Figure(plot, "Accuracy of every condition with its 95 % interval", "accuracy", comparison)
    return Section("accuracy", "Accuracy", "", scorers(material.study), [comparison_grid(comparison)], [figure])


def scorers(study: Study) -> list[str]:
    """Say for every benchmark how its accuracy is scored, and how the fairer scorer differs."""
    found = zip(study.benchmarks, protocols(study), strict=True)
    lines = [f"{benchmark.name}: {protocol.official}; fair scorer: {protocol.fair}" for benchmark, protocol in found]
    own = study.student.sampling
    asked = f"temperature {own.temperature:g}, {own.max_new_tokens} new tokens at most (paper: 0.7 and 32,768)"
    left_out = f"prompts too close to a benchmark were left out by: {', '.join(study.decontamination.rules)}"
    return [*lines, f"students answered at {asked}", left_out]


def _differences(material: Material) -> Section | None:
    differences = material.table("differences")
    if differences is None:
        return None
    text = (
        "Every pair of conditions on the same items, in percentage points. Verdicts hold for these students on such "
        "items; what another training seed would change stands in the last column."
    )
    figure = Figure(svg(difference_plot(differences)), "Differences with intervals", "differences", differences)
    return Section("differences", "Differences", text, (), [difference_grid(differences)], [figure])


def _truncation(material: Material) -> Section | None:
    comparison = material.table("comparison")
    if comparison is None:
        return None
    data = comparison.select("benchmark", "condition", "accuracy", "low", "high", "truncation_rate", "no_answer_rate")
    text = (
        "A response that is cut off has no answer. Where accuracy falls as truncation rises, a condition may be worse "
        "at ending and not at reasoning."
    )
    correlation = data.select(pl.corr("truncation_rate", "accuracy")).item()
    known = correlation is not None and not isnan(correlation)
    points = (
        [f"Correlation of accuracy with truncation over {data.height} cells: r = {correlation:.2f}."] if known else []
    )
    figure = Figure(svg(truncation_plot(comparison)), "Accuracy against truncation", "truncation", data)
    return Section("truncation", "Accuracy against truncation", text, points, (), [figure])


def _lengths(material: Material) -> Section | None:
    traces = {"surrogate": ("surrogate_traces", "trace"), "real": ("target_traces", "trace")}
    for exposure in material.study.exposures:
        traces[f"inverted ({exposure})"] = (f"inverted_traces/{exposure}", "inverted_trace")
    lengths = {}
    for label, (name, column) in traces.items():
        table = material.table(name)
        if table is not None:
            texts = table.sort("prompt_id")[column].drop_nulls().head(_LENGTHS_OF).to_list()
            lengths[label] = count_tokens(texts, material.study.student.model)
    if not lengths:
        return None
    rows = [{"traces": label, "tokens": length} for label, values in lengths.items() for length in values]
    data = pl.DataFrame(rows, schema={"traces": pl.String, "tokens": pl.Int64})
    summary = data.group_by("traces", maintain_order=True).agg(
        rows=pl.len(),
        mean=pl.col("tokens").mean(),
        median=pl.col("tokens").median(),
        p90=pl.col("tokens").quantile(0.9),
        longest=pl.col("tokens").max(),
    )
    text = (
        f"In the student's tokens, of at most {_LENGTHS_OF} rows each, the first by id. Longer traces than the real "
        "ones are a confound: a student may gain from length alone."
    )
    figure = Figure(svg(length_plot(lengths)), "Lengths of traces", "lengths", data)
    return Section("lengths", "Length of traces", text, (), [preview_grid(summary, rows=10)], [figure])


def _fidelity(material: Material) -> Section | None:
    points, means = [], []
    for exposure in material.study.exposures:
        scores = material.table(f"trace_fidelity/{exposure}")
        if scores is not None:
            means.append(mean_fidelity(scores).with_columns(exposure=pl.lit(exposure)))
        checked = material.table(f"trace_consistency/{exposure}")
        if checked is not None:
            found = ", ".join(f"{name} {value}" for name, value in rates(checked).items())
            points.append(f"{exposure}: {found}")
    if not means and not points:
        return None
    text = "Inverted traces against the target's real ones, x100. Zero-shot is the inverter's base without training."
    if not means:
        text = "The target is closed: its real traces are not known, so there is nothing to compare with."
    return Section(
        "fidelity", "Fidelity and consistency", text, points, [fidelity_grid(pl.concat(means))] if means else ()
    )


def _style(material: Material) -> Section | None:
    style = material.table("summary_style")
    if style is None:
        return None
    text = (
        "How the target's summaries are written, and the compressor's that the inverter learnt from: median length in "
        "the inverter's tokens, shares in %. The further apart, the less the inverter knows what it is given."
    )
    return Section("style", "Style of summaries", text, (), [preview_grid(style)])


def _paper(material: Material) -> Section | None:
    comparison = material.table("comparison")
    if comparison is None:
        return None
    kinds = {benchmark.name: benchmark.kind for benchmark in material.study.benchmarks}
    ours = comparison.with_columns(kind=pl.col("benchmark").replace_strict(kinds))
    both = ours.join(
        papers_numbers(material.study, material.target),
        left_on=["kind", "condition"],
        right_on=["benchmark", "condition"],
    )
    if not both.height:
        text = (
            "The paper did not study this student, target and surrogate on these benchmarks: nothing to compare with."
        )
        return Section("paper", "Beside the paper", text)
    header = (
        "benchmark",
        "condition",
        "paper %",
        "ours %",
        "95 % interval",
        "truncated %",
        "no answer %",
        "ours - paper",
    )
    rows = [
        (
            row["benchmark"],
            row["condition"],
            f"{row['paper']:.1f}",
            f"{row['accuracy']:.1f}",
            f"{row['low']:.1f} - {row['high']:.1f}",
            f"{row['truncation_rate']:.1f}",
            f"{row['no_answer_rate']:.1f}",
            f"{row['accuracy'] - row['paper']:+.1f}",
        )
        for row in both.iter_rows(named=True)
    ]
    text = "arXiv 2603.07267 v2, tables 3 and 4, by the official scorer. The paper gives no interval."
    return Section("paper", "Beside the paper", text, (), [Grid(header, tuple(rows))])


def _targets(material: Material) -> Section | None:
    """Put every target and revision of the study side by side, in the order of their names and dates."""
    own = material.table("comparison")
    tables = dict(material.others) | ({} if own is None else {material.target.partition: own})
    if len(tables) < 2:
        return None
    data = pl.concat([table.with_columns(target=pl.lit(name)) for name, table in sorted(tables.items())])
    header = ("benchmark", "condition", "target", "accuracy %", "95 % interval", "truncated %", "no answer %")
    rows = [
        (
            row["benchmark"],
            row["condition"],
            row["target"],
            f"{row['accuracy']:.1f}",
            f"{row['low']:.1f} - {row['high']:.1f}",
            f"{row['truncation_rate']:.1f}",
            f"{row['no_answer_rate']:.1f}",
        )
        for row in data.sort("benchmark", "condition", "target", maintain_order=True).iter_rows(named=True)
    ]
    figures = [
        Figure(svg(history_plot(cell)), f"Accuracy by target on {benchmark}", f"targets-{benchmark}", cell)
        for (benchmark,), cell in data.group_by("benchmark", maintain_order=True)
    ]
    text = "The same study on other targets and revisions, whose students were trained on other rows."
    return Section("targets", "Targets and revisions", text, (), [Grid(header, tuple(rows))], figures)


def _cost(material: Material) -> Section:
    events = pl.DataFrame(
        [
            {"stage": event.stage, "rows": event.rows, "bytes": event.bytes, "s": event.seconds, "usd": event.cost_usd}
            for event in sorted(material.events, key=lambda event: STAGES.index(event.stage))
        ]
    )
    stages = events.group_by("stage", maintain_order=True).agg(
        pl.len().alias("tables"), pl.col("rows", "bytes", "s", "usd").sum()
    )
    header = ("stage", "tables", "rows", "MB", "minutes", "USD billed")
    rows = [
        (stage, str(tables), f"{rows:,}", f"{size / 1e6:.1f}", f"{seconds / 60:.1f}", f"{usd:.4f}")
        for stage, tables, rows, size, seconds, usd in stages.iter_rows()
    ]
    total = events.select(pl.col("rows", "bytes", "s", "usd").sum()).row(0)
    sums = (
        "all",
        str(events.height),
        f"{total[0]:,}",
        f"{total[1] / 1e6:.1f}",
        f"{total[2] / 60:.1f}",
        f"{total[3]:.4f}",
    )
    text = (
        "What made the versions behind this report: time until the rows were there, and what the provider billed for "
        "them. Local compute has no price here."
    )
    return Section("cost", "Cost and time", text, (), [Grid(header, (*rows, sums))])


def _gates(events: Sequence[Event]) -> Section:
    rows = [
        (event.asset, gate.name, "passed" if gate.passed else "FAILED", gate.message)
        for event in sorted(events, key=lambda event: event.asset)
        for gate in event.gates
    ]
    rows.sort(key=lambda row: row[2])  # FAILED before passed
    failed = sum(verdict == "FAILED" for _, _, verdict, _ in rows)
    text = f"{len(rows)} gates, {failed} failed. What lies behind a failed gate was not made."
    return Section("gates", "Gates", text, (), [Grid(("table", "gate", "verdict", "counted"), tuple(rows))])
