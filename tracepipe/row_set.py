"""The rows that every condition trains on, and for each other row what took it from all of them.

Conditions that train on different rows cannot be compared (paper: where it breaks, 6), so a row that one condition
cannot use is used by none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from tracepipe.conditions import UNTRAINED, Condition, Part
from tracepipe.exposures import not_exposed
from tracepipe.gates import Gate, ids_preserved
from tracepipe.identity import digest
from tracepipe.records import ROW_SET, conform
from tracepipe.roles import Exposure
from tracepipe.study import Study
from tracepipe.target import Target, hides, hides_traces

VERSION = "1"


@dataclass(frozen=True)
class Written:
    """What was written for the target's rows, by exposure.

    Attributes:
        inverted: INVERTED_TRACES.
        zero_shot: INVERTED_TRACES by the untrained base.
        selected: SELECTED_TRACES.
    """

    inverted: Mapping[Exposure, pl.DataFrame]
    zero_shot: Mapping[Exposure, pl.DataFrame]
    selected: Mapping[Exposure, pl.DataFrame]

    def traces(self, part: Part) -> pl.DataFrame:
        """Return `prompt_id, request_key, trace` of the rows that a part of a condition can use."""
        if part.exposure is None:
            raise ValueError(f"a part of source {part.source} has no inverted traces")
        if part.selection is not None:
            chosen = self.selected[part.exposure].filter(pl.col("lost_to").is_null(), selection=part.selection)
        else:
            written = self.inverted if part.source == "inverted" else self.zero_shot
            chosen = written[part.exposure].filter(outcome="ok")
        return chosen.select("prompt_id", "request_key", trace="inverted_trace")

    def reasons(self, part: Part) -> pl.DataFrame:
        """Return `prompt_id, why` of the rows that a part cannot use, as far as they are known."""
        if part.exposure is None:
            raise ValueError(f"a part of source {part.source} has no inverted traces")
        if part.selection is not None:
            lost = self.selected[part.exposure].filter(pl.col("lost_to").is_not_null(), selection=part.selection)
            return lost.select("prompt_id", why="lost_to")
        written = self.inverted if part.source == "inverted" else self.zero_shot
        return written[part.exposure].filter(pl.col("outcome") != "ok").select("prompt_id", why="outcome")


def not_applicable(study: Study, condition: Condition, target: Target) -> str | None:
    """Why a condition has no student on a target, or None where it has."""
    if condition in UNTRAINED:
        return None
    reasons = (_part_not_applicable(study, part, target) for part in study.composition(condition).parts)
    return next((reason for reason in reasons if reason is not None), None)


def _part_not_applicable(study: Study, part: Part, target: Target) -> str | None:
    if part.source == "oracle":
        return hides_traces(target)
    if part.exposure is not None:
        return not_exposed(study, part.exposure, target)
    return hides("summary", target) if part.source == "summary" else None


def conditions_for(study: Study, target: Target) -> list[Condition]:
    """Return the study's conditions that have students on this target."""
    return [condition for condition in study.conditions if not_applicable(study, condition, target) is None]


def row_set(
    study: Study, target: Target, traces: pl.DataFrame, outputs: pl.DataFrame, written: Written
) -> pl.DataFrame:
    """Say for every row of the target whether it is used, and what took it if not: the first thing that did.

    The surrogate answered other prompts; where it has fewer usable rows than are left, so many are drawn with the
    study's seed.

    Args:
        study: The study.
        target: Whose outputs these are.
        traces: SURROGATE_TRACES.
        outputs: TARGET_OUTPUTS.
        written: Traces of every exposure that the target allows.

    Returns:
        ROW_SET, sorted by prompt id.
    """
    parts = list(dict.fromkeys(_target_parts(study, target)))
    summaries = any(part.source == "summary" or part.exposure == "summary" for part in parts)
    usable = pl.col("outcome").is_in(["ok"] if summaries else ["ok", "empty_summary"])
    rows = outputs.sort("prompt_id").select(
        "prompt_id", lost_to=pl.when(~usable).then(pl.concat_str(pl.lit("target_outputs: "), "outcome"))
    )
    for part in parts:
        if part.exposure is not None:
            rows = _less(rows, part, written)
    left = rows.filter(pl.col("lost_to").is_null()).select("prompt_id")
    size = min(left.height, traces.filter(outcome="ok").height) if _needs_surrogate(study) else left.height
    drawn = draw(left, size, study)
    order = pl.Series("place", [digest([study.seed, "queries", key]) for key in rows["prompt_id"]], dtype=pl.String)
    return conform(
        rows.with_columns(
            used=pl.col("prompt_id").is_in(drawn["prompt_id"].to_list()),
            query=order.rank("ordinal").cast(pl.Int64) - 1,
        ).with_columns(
            lost_to=pl.when(~pl.col("used"))
            .then(pl.col("lost_to").fill_null("surrogate_traces: the surrogate has fewer usable rows"))
            .otherwise(None)
        ),
        ROW_SET,
    )


def _target_parts(study: Study, target: Target) -> Iterator[Part]:
    for condition in conditions_for(study, target):
        if condition not in UNTRAINED:
            yield from (part for part in study.composition(condition).parts if part.of_target)


def _needs_surrogate(study: Study) -> bool:
    return any(not part.of_target for one in study.trained_conditions for part in study.composition(one).parts)


def _less(rows: pl.DataFrame, part: Part, written: Written) -> pl.DataFrame:
    table = "selected_traces" if part.selection else f"{part.source}_traces"
    prefix = f"{table}/{part.exposure}" + (f" ({part.selection})" if part.selection else "") + ": "
    lost = (
        rows.select("prompt_id")
        .join(written.traces(part), on="prompt_id", how="anti")
        .join(written.reasons(part), on="prompt_id", how="left", validate="1:1")
        .select("prompt_id", why=pl.concat_str(pl.lit(prefix), pl.col("why").fill_null("nothing was shown")))
    )
    joined = rows.join(lost, on="prompt_id", how="left", validate="1:1", maintain_order="left")
    return joined.select("prompt_id", lost_to=pl.coalesce("lost_to", "why"))


def draw(rows: pl.DataFrame, size: int, study: Study) -> pl.DataFrame:
    """Draw so many rows, the same ones for the same ids and seed."""
    return rows.sort("prompt_id").sample(size, seed=study.derived_seed("common rows"), shuffle=True).sort("prompt_id")


def row_gates(outputs: pl.DataFrame, rows: pl.DataFrame) -> list[Gate]:
    """Every row of the target is either used or has its reason."""
    decided = rows.filter(pl.col("used") == pl.col("lost_to").is_null())["prompt_id"]
    return [ids_preserved("every_row_accounted_for", outputs["prompt_id"], decided)]


def losses(rows: pl.DataFrame) -> pl.DataFrame:
    """Count the rows that went to each reason (ROW_SET): `lost_to, rows`, most first."""
    lost = rows.filter(~pl.col("used"))
    return lost.group_by("lost_to").agg(rows=pl.len()).sort("rows", "lost_to", descending=[True, False])
