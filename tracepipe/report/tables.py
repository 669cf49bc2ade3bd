"""The comparison and fidelity tables as people read them; the same cells for terminal, Markdown and HTML."""

import re
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Grid:
    """A table of text: a header and rows as long as it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        return "\n".join("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines)


def escaped(cell: str) -> str:
    """Return Markdown of plain text: no link, picture, emphasis or tag that a model may have written comes alive."""
    plain = re.sub(r"([\\`*_\[\]|!])", r"\\\1", cell.replace("&", "&amp;").replace("<", "&lt;"))
    return plain.replace("\n", " ")


def comparison_grid(comparison: pl.DataFrame) -> Grid:
    """Lay out COMPARISON; no accuracy without interval, seed range, truncation, no-answer and loop rate.

    The exact rate stands there only where partial credit makes it another number than the accuracy.
    """
    header = ("benchmark", "condition", "accuracy %", "95 % interval", "seeds min-max", "truncated %", "no answer %")
    partial = comparison.filter((pl.col("exact_rate") - pl.col("accuracy")).abs() > 1e-9).height > 0
    rows = [
        (
            row["benchmark"],
            row["condition"],
            f"{row['accuracy']:.1f}",
            f"{row['low']:.1f} - {row['high']:.1f}",
            _seed_range(row["seeds"], row["seed_low"], row["seed_high"]),
            f"{row['truncation_rate']:.1f}",
            f"{row['no_answer_rate']:.1f}",
            f"{row['loop_rate']:.1f}",
            f"{row['fair_accuracy']:.1f} ({row['fair_low']:.1f} - {row['fair_high']:.1f})",
            *([f"{row['exact_rate']:.1f}"] if partial else []),
            f"{row['items']} x {row['samples']}",
            str(row["training_rows"]),
        )
        for row in comparison.iter_rows(named=True)
    ]
    more = ("loops %", "fair scorer %", *(["exact %"] if partial else []), "items x samples", "training rows")
    return Grid((*header, *more), tuple(rows))


def difference_grid(differences: pl.DataFrame) -> Grid:
    """Lay out DIFFERENCES; where Holm's adjusted p is not below 0.05, the pair is called not resolved."""
    header = ("benchmark", "condition", "against", "difference", "95 % interval", "p (Holm)", "verdict")
    rows = [
        (
            row["benchmark"],
            row["condition"],
            row["against"],
            f"{row['difference']:+.1f}",
            f"{row['low']:+.1f} to {row['high']:+.1f}",
            "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}",
            "resolved" if row["resolved"] else "not resolved",
            "-" if row["seed_low"] is None else f"{row['seed_low']:+.1f} to {row['seed_high']:+.1f}",
        )
        for row in differences.iter_rows(named=True)
    ]
    return Grid((*header, "over seeds"), tuple(rows))


def _seed_range(seeds: int, low: float, high: float) -> str:
    if seeds == 0:
        return "untrained"
    return f"{low:.1f} - {high:.1f} ({seeds})" if seeds > 1 else "one seed"


def fidelity_grid(means: pl.DataFrame) -> Grid:
    """Lay out mean fidelity: `exposure` and the columns of `mean_fidelity`; BLEU and F1 say how words were found."""
    words = "/".join(means["words"].unique().sort()) or "one_line"
    header = ("exposure", "inverter", "traces", "tokens (real)", "length recovery", f"BLEU ({words})")
    measures = ("bleu", "token_f1", "rouge1", "rouge2", "rougeL")
    rows = [
        (
            row["exposure"],
            row["inverter"],
            str(row["traces"]),
            f"{row['synthesized_tokens']:.1f} ({row['reference_tokens']:.1f})",
            f"{row['length_recovery']:.2f}",
            *(f"{row[measure]:.1f}" for measure in measures),
        )
        for row in means.iter_rows(named=True)
    ]
    return Grid((*header, f"token F1 ({words})", "ROUGE-1", "ROUGE-2", "ROUGE-L"), tuple(rows))


def preview_grid(frame: pl.DataFrame, rows: int = 5, width: int = 90) -> Grid:
    """Lay out the first rows of any table, long text cut."""
    cells = [tuple(_short(value, width) for value in row) for row in frame.head(rows).iter_rows()]
    return Grid(tuple(frame.columns), tuple(cells))


def _short(value: object, width: int) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= width else text[: width - 3] + "..."
