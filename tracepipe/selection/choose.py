"""Apply rules to draws, take one survivor per row, and say what became of the others."""

from collections.abc import Mapping

import polars as pl

from tracepipe.gates import Gate, ids_preserved
from tracepipe.records import SELECTED_TRACES, conform, empty
from tracepipe.selection.spec import RULES, Choice

VERSION = "1"

_BEST: dict[str, pl.Expr] = {
    "first": pl.lit(0.0),
    "likelihood": pl.col("likelihood"),
    "plausibility": pl.col("plausibility"),
    "consistency": pl.col("consistency"),
    "length": -(pl.col("tokens").log() - pl.col("predicted_tokens").log()).abs(),
}
"""What is greatest for the draw that is taken; the earlier draw where two are equal."""


def selected_traces(draws: pl.DataFrame, choices: Mapping[str, Choice]) -> pl.DataFrame:
    """Choose among the draws of every row, once per selection.

    Args:
        draws: TRACE_DRAWS.
        choices: Name to selection.

    Returns:
        SELECTED_TRACES, one row per row and selection.
    """
    return pl.concat([empty(SELECTED_TRACES), *(_selected(draws, name, choice) for name, choice in choices.items())])


def _selected(draws: pl.DataFrame, name: str, choice: Choice) -> pl.DataFrame:
    rows = draws.group_by("prompt_id").agg(draws=pl.len().cast(pl.Int64))
    left, lost = draws, pl.DataFrame(schema={"prompt_id": pl.String, "lost_to": pl.String})
    for rule in RULES:
        if rule in choice.rules:
            passed = _plausible(left, choice.plausible_share) if rule == "plausible" else left.filter(pl.col(rule))
            gone = left.join(passed, on="prompt_id", how="anti").select("prompt_id", lost_to=pl.lit(rule)).unique()
            left, lost = passed, pl.concat([lost, gone])
    taken = (
        left.with_columns(best=_BEST[choice.choose])
        .sort("best", "draw", descending=[True, False], nulls_last=True)
        .group_by("prompt_id", maintain_order=True)
        .agg(
            survivors=pl.len().cast(pl.Int64),
            **{column: pl.col(column).first() for column in ("request_key", "draw", "inverted_trace")},
        )
    )
    joined = rows.join(taken, on="prompt_id", how="left", validate="1:1").join(lost, on="prompt_id", how="left")
    return conform(
        joined.with_columns(selection=pl.lit(name), survivors=pl.col("survivors").fill_null(0)).sort("prompt_id"),
        SELECTED_TRACES,
    )


def _plausible(draws: pl.DataFrame, share: float) -> pl.DataFrame:
    """Keep the rows whose likeliest draw is among the best, and of these the draws that are as likely."""
    best = draws.group_by("prompt_id").agg(pl.col("plausibility").max())["plausibility"]
    least = best.quantile(1 - share, interpolation="higher")
    return draws.filter(pl.col("plausibility") >= least)


def selection_gates(draws: pl.DataFrame, choices: Mapping[str, Choice], selected: pl.DataFrame) -> list[Gate]:
    """Every row has one verdict per selection: a trace, or the rule that took it."""
    ids = draws["prompt_id"].unique().sort()
    expected = [f"{name} {prompt}" for name in choices for prompt in ids]
    decided = selected.filter(pl.col("request_key").is_null() != pl.col("lost_to").is_null())
    found = decided.select(pl.concat_str("selection", pl.lit(" "), "prompt_id")).to_series()
    return [ids_preserved("one_verdict_per_row", pl.Series(expected, dtype=pl.String), found)]


def changes(draws: pl.DataFrame, selected: pl.DataFrame) -> pl.DataFrame:
    """Say what each selection changed against taking the first draw.

    Returns:
        `selection, rows, kept, <rule>..., changed, mean_draws, tokens_first, tokens`: rows there were and rows kept;
        rows lost to each rule; rows kept whose trace is not the first draw; draws per row; mean length, in the
        inverter's tokens, of the first draws of the rows kept and of what was taken.
    """
    lengths = draws.select("request_key", "tokens")
    first = draws.filter(draw=0).select("prompt_id", tokens_first="tokens")
    taken = selected.join(lengths, on="request_key", how="left").join(first, on="prompt_id", how="left")
    kept = pl.col("request_key").is_not_null()
    return taken.group_by("selection", maintain_order=True).agg(
        rows=pl.len(),
        kept=kept.sum(),
        **{rule: (pl.col("lost_to") == rule).sum() for rule in RULES},
        changed=(pl.col("draw") > 0).sum(),
        mean_draws=pl.col("draws").mean(),
        tokens_first=pl.col("tokens_first").filter(kept).mean(),
        tokens=pl.col("tokens").mean(),
    )


def rejected(draws: pl.DataFrame) -> pl.DataFrame:
    """Return per rule that looks at one draw alone: `rule, draws, rejected, alone`; alone is by no other rule."""
    rules = [rule for rule in RULES if rule != "plausible"]
    rows = [
        {
            "rule": rule,
            "draws": draws.height,
            "rejected": draws.filter(~pl.col(rule)).height,
            "alone": draws.filter(~pl.col(rule), *(pl.col(other) for other in rules if other != rule)).height,
        }
        for rule in rules
    ]
    return pl.DataFrame(rows)
