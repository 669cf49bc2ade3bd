"""How summaries are written, and whether the compressor's are written like the target's (paper, table 1).

An inverter is trained on the compressor's summaries and given the target's: where they differ in length or manner, it
meets texts that it has never seen, and nothing fails aloud.
"""

import re

import polars as pl

from tracepipe.fidelity import count_tokens
from tracepipe.gates import Gate, none_fail
from tracepipe.problems import SummaryStyle
from tracepipe.records import SUMMARY_STYLE, from_rows

VERSION = "1"
_BOLD_HEADER = re.compile(r"^\s*\*\*[^*\n]+\*\*:?\s*$", re.MULTILINE)
_FIRST_PERSON = re.compile(r"\b(?:I|I'm|I'll|I've|I'd|[Mm]y|[Mm]e|[Ww]e|[Ww]e're|[Ww]e'll|[Oo]ur|[Ll]et's|[Ll]et me)\b")
_LATEX = re.compile(r"\$[^$\n]+\$|\\\(|\\\[|\\(?:frac|sqrt|begin|boxed|cdot|times|sum|int)\b")
_SHARES = ("bold_header", "first_person", "latex")


def summary_style(
    outputs: pl.DataFrame, traces: pl.DataFrame, summaries: pl.DataFrame, tokenizer_folder: str
) -> pl.DataFrame:
    """Describe the summaries of both sides.

    Args:
        outputs: TARGET_OUTPUTS; rows with a summary are described.
        traces: SURROGATE_TRACES, for the compression.
        summaries: SURROGATE_SUMMARIES; usable ones are described.
        tokenizer_folder: Folder or hub id of the tokenizer that lengths are counted with.

    Returns:
        SUMMARY_STYLE, the target's row and the compressor's.
    """
    shown = outputs.filter(pl.col("summary").is_not_null())
    written = summaries.filter(outcome="ok").join(traces.select("prompt_id", "trace"), on="prompt_id", validate="1:1")
    traced = sum(count_tokens(written["trace"].to_list(), tokenizer_folder))
    rows = [
        {"side": "target"} | _describe(shown["summary"], int(shown["reasoning_tokens"].sum()), tokenizer_folder),
        {"side": "compressor"} | _describe(written["summary"], traced, tokenizer_folder),
    ]
    return from_rows(rows, SUMMARY_STYLE)


def _describe(summaries: pl.Series, trace_tokens: int, tokenizer_folder: str) -> dict[str, object]:
    texts = summaries.to_list()
    lengths = pl.Series(count_tokens(texts, tokenizer_folder), dtype=pl.Int64)
    return {
        "summaries": len(texts),
        "median_tokens": lengths.median() if texts else None,
        "bold_header": _share(_BOLD_HEADER, texts),
        "first_person": _share(_FIRST_PERSON, texts),
        "latex": _share(_LATEX, texts),
        "compression": trace_tokens / lengths.sum() if trace_tokens and lengths.sum() else None,
    }


def _share(pattern: re.Pattern[str], texts: list[str]) -> float | None:
    return 100 * sum(pattern.search(text) is not None for text in texts) / len(texts) if texts else None


def style_gates(style: pl.DataFrame, allowed: SummaryStyle) -> list[Gate]:
    """The compressor writes as long as the target, and in the same manner, within what the study allows."""
    sides = {row["side"]: row for row in style.iter_rows(named=True)}
    target, compressor = sides["target"], sides["compressor"]
    both = [name for name in style.columns if target[name] is not None and compressor[name] is not None]
    apart = [
        f"{name} {target[name]:.1f} against {compressor[name]:.1f}"
        for name in ("median_tokens", "compression")
        if name in both and not 1 / allowed.factor <= compressor[name] / max(target[name], 1e-9) <= allowed.factor
    ]
    apart += [
        f"{name} {target[name]:.1f} against {compressor[name]:.1f} %"
        for name in _SHARES
        if name in both and abs(target[name] - compressor[name]) > allowed.points
    ]
    silent = [f"no summaries on the side of the {side}" for side, row in sides.items() if not row["summaries"]]
    summary = (
        "measures in which the compressor's summaries differ from the target's "
        f"(allowed: a factor of {allowed.factor:g}, {allowed.points:g} points; study key summary_style)"
    )
    return [none_fail("written_like_the_targets", apart + silent, summary)]
