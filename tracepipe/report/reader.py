"""Example rows side by side: what was asked, what the target showed, what the inverter wrote, what was real."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import polars as pl

from tracepipe.report.material import Material
from tracepipe.roles import Exposure

LONGEST = 20_000
"""Characters of a text that are shown."""

_EACH = 2


@dataclass(frozen=True)
class Passage:
    """One text: its pieces, each with whether it agrees with the text it is compared with, and how much was cut."""

    title: str
    pieces: tuple[tuple[str, bool], ...]
    cut: int


@dataclass(frozen=True)
class Example:
    """One row of the reader."""

    exposure: Exposure
    prompt_id: str
    request_key: str
    why: str
    passages: tuple[Passage, ...]


def examples(material: Material) -> list[Example]:
    """Choose rows of every exposure and lay them out.

    Where the target is open, these are the rows whose traces come closest to the real ones, those in the middle, and
    the furthest, and words that both traces have in the same order are marked. Otherwise they are the first ones by
    id, and the words of the inverted trace that stand in what the target showed are marked.
    """
    found = []
    for exposure in material.study.exposures:
        inverted, outputs = material.table(f"inverted_traces/{exposure}"), material.table("target_outputs")
        prompts = material.table("prompts")
        if inverted is None or outputs is None or prompts is None:
            continue
        shown = outputs.select("prompt_id", "answer", "summary")
        exposed = material.table(f"target_exposures/{exposure}")
        if exposed is not None:
            shown = shown.drop("summary").join(exposed.select("prompt_id", "summary"), on="prompt_id", validate="1:1")
        rows = inverted.select("prompt_id", "request_key", "inverted_trace", "outcome").join(
            shown, on="prompt_id", validate="1:1"
        )
        rows = rows.join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1").sort("prompt_id")
        traces = material.table("target_traces")
        if traces is not None:
            rows = rows.join(traces.select("prompt_id", real="trace"), on="prompt_id", how="left", validate="1:1")
        for why, key in _chosen(material, exposure, rows):
            (row,) = rows.filter(prompt_id=key).iter_rows(named=True)
            found.append(Example(exposure, key, row["request_key"], why, _passages(exposure, row)))
    return found


def _chosen(material: Material, exposure: Exposure, rows: pl.DataFrame) -> list[tuple[str, str]]:
    """Return why, and which prompt."""
    picked: list[tuple[str, str]] = []
    fidelity = material.table(f"trace_fidelity/{exposure}")
    if fidelity is None:
        picked += [("by id", key) for key in rows["prompt_id"].head(3 * _EACH)]
    else:
        ranked = fidelity.filter(inverter="trained").sort("rougeL", "prompt_id")["prompt_id"].to_list()
        middle = len(ranked) // 2
        picked += [("closest to the real trace", key) for key in ranked[-_EACH:]]
        picked += [("in the middle", key) for key in ranked[middle : middle + _EACH]]
        picked += [("furthest from the real trace", key) for key in ranked[:_EACH]]
    checked = material.table(f"trace_consistency/{exposure}")
    if checked is not None:
        apart = checked.filter(agrees=False).sort("prompt_id")["prompt_id"].to_list()
        picked += [("argues for another answer", key) for key in apart[:_EACH]]
    cut = rows.filter(outcome="truncated")["prompt_id"].to_list()
    picked += [("cut off at the token cap", key) for key in cut[:1]]
    first_reason = {key: why for why, key in reversed(picked)}
    return [(why, key) for key, why in reversed(first_reason.items())]


def _passages(exposure: Exposure, row: dict[str, str | None]) -> tuple[Passage, ...]:
    summary = None if exposure == "answer" else row["summary"]
    shown = [("prompt", row["prompt"]), ("answer shown", row["answer"]), ("summary shown", summary)]
    plain = [_passage(title, text, ()) for title, text in shown if text is not None]
    inverted, real = row["inverted_trace"] or "", row.get("real")
    if real is None:
        known = set(" ".join(text for _, text in shown[1:] if text).split())
        marked = [word in known for word in inverted.split()]
        return (*plain, _passage("inverted trace", inverted, marked))
    ours, theirs = agreement(inverted[:LONGEST].split(), real[:LONGEST].split())
    return (*plain, _passage("inverted trace", inverted, ours), _passage("real trace", real, theirs))


def agreement(left: Sequence[str], right: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Return for the words of two texts whether they belong to their longest common subsequence."""
    from rapidfuzz.distance import LCSseq

    numbers: dict[str, int] = {}
    ours, theirs = ([numbers.setdefault(word, len(numbers)) for word in words] for words in (left, right))
    marked = [False] * len(ours), [False] * len(theirs)
    for step in LCSseq.opcodes(ours, theirs):
        if step.tag == "equal":
            marked[0][step.src_start : step.src_end] = [True] * (step.src_end - step.src_start)
            marked[1][step.dest_start : step.dest_end] = [True] * (step.dest_end - step.dest_start)
    return marked


def _passage(title: str, text: str, marked: Sequence[bool]) -> Passage:
    """Join words of the same verdict into pieces, each with the white space behind it."""
    words = re.findall(r"\s*\S+\s*", text[:LONGEST]) or [text[:LONGEST]]
    verdicts = [*marked[: len(words)], *[False] * (len(words) - len(marked))]
    grouped = groupby(zip(words, verdicts, strict=True), key=lambda pair: pair[1])
    pieces = tuple(("".join(word for word, _ in run), verdict) for verdict, run in grouped)
    return Passage(title, pieces, max(0, len(text) - LONGEST))
