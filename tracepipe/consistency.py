"""What an inverted trace shows of itself, without a real one beside it: does it argue for the answer it is attached to?

Paper, where it breaks, 3: 4 to 9 % of inverted traces argue for another answer, and nothing filters them.
"""

import re
from collections.abc import Iterator

import polars as pl

from tracepipe.facts import facts_kept
from tracepipe.gates import Gate, ids_preserved
from tracepipe.grading.extraction import Extracted, boxes, extract, last_box, stated
from tracepipe.grading.fair import TookTooLong, equivalent
from tracepipe.grading.hendrycks import same_string
from tracepipe.grading.numbers import exact
from tracepipe.loops import loops
from tracepipe.parallel import each
from tracepipe.records import TRACE_CONSISTENCY, from_rows

VERSION = "1"
_SECONDS, _MEMORY = 25.0, 2 * 2**30
_LAST_NUMBER = re.compile(r"(?:^|[\s=$({])(-?\d+(?:\.\d+)?)[\s.$)}*]*$")

Pair = tuple[str, str]


def trace_consistency(inverted: pl.DataFrame, outputs: pl.DataFrame) -> pl.DataFrame:
    """Check every inverted trace against what the target showed.

    Args:
        inverted: INVERTED_TRACES.
        outputs: TARGET_OUTPUTS.

    Returns:
        TRACE_CONSISTENCY, one row per inverted trace.
    """
    shown = inverted.join(outputs.select("prompt_id", "answer", "summary"), on="prompt_id", validate="1:1")
    rows = []
    for row in shown.iter_rows(named=True):
        trace, attached = row["inverted_trace"] or "", extract(row["answer"] or "")
        own = conclusion(trace)
        kept = facts_kept(row["summary"], trace) if row["summary"] else (None, None)
        rows.append(
            {
                "prompt_id": row["prompt_id"],
                "request_key": row["request_key"],
                "trace_answer": own.answer,
                "rule": own.rule,
                "attached_answer": attached.answer,
                "agrees": None,
                "looped": loops(trace),
                "contradicts_itself": contradicts_itself(trace),
                "summary_facts": kept[0],
                "facts_kept": kept[1],
            }
        )
    verdicts = agreements([(row["attached_answer"], row["trace_answer"]) for row in rows])
    return from_rows(
        [row | {"agrees": verdict} for row, verdict in zip(rows, verdicts, strict=True)], TRACE_CONSISTENCY
    )


def conclusion(trace: str) -> Extracted:
    """Read the answer a trace arrives at: boxed, stated, or the number it ends with (rule `ending`)."""
    found = last_box(trace) or stated(trace)
    if found:
        return found
    last = _LAST_NUMBER.search(trace[-100:])
    return Extracted(last[1], "ending") if last else Extracted(None, "none")


def contradicts_itself(text: str) -> bool:
    """Whether a text boxes two answers that are not the same string."""
    found = [box for box in boxes(text) if box is not None]
    return any(not same_string(found[-1], box) for box in found[:-1])


def agreements(pairs: list[tuple[str | None, str | None]]) -> Iterator[bool | None]:
    """Compare attached answers by meaning; where one is missing or no verdict is reached in time, there is none."""
    cheap = [_agree_at_sight(attached, own) for attached, own in pairs]
    hard = [
        (attached, own)
        for (attached, own), verdict in zip(pairs, cheap, strict=True)
        if verdict is None and attached is not None and own is not None
    ]
    found = each(_equivalent, hard, seconds=_SECONDS, memory_bytes=_MEMORY) if hard else iter(())
    for (attached, own), verdict in zip(pairs, cheap, strict=True):
        if verdict is None and attached is not None and own is not None:
            meant = next(found)
            yield meant if isinstance(meant, bool) else None
        else:
            yield verdict


def _agree_at_sight(attached: str | None, own: str | None) -> bool | None:
    if attached is None or own is None:
        return None
    if same_string(attached, own):
        return True
    values = exact(attached), exact(own)
    return None if None in values else values[0] == values[1]


def _equivalent(pair: Pair) -> bool | None:
    try:
        return equivalent(*pair, problem="")
    except TookTooLong:
        return None


def consistency_gates(inverted: pl.DataFrame, checked: pl.DataFrame) -> list[Gate]:
    """Every inverted trace was checked."""
    return [ids_preserved("every_trace_checked", inverted["prompt_id"], checked["prompt_id"])]


def rates(checked: pl.DataFrame) -> dict[str, float | int | None]:
    """Return shares in %: of the traces that state an answer those that agree, and so on."""
    shares = checked.select(
        pl.col("agrees").mean().alias("agree with their answer %"),
        pl.col("looped").mean().alias("looped %"),
        pl.col("contradicts_itself").mean().alias("contradict themselves %"),
        pl.col("facts_kept").mean().alias("summary facts kept %"),
    ).row(0, named=True)
    rounded = {name: None if share is None else round(100 * share, 2) for name, share in shares.items()}
    return {**rounded, "no verdict": checked["agrees"].null_count()}
