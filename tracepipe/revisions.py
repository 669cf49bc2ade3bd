"""What changed between two revisions of a target: models behind an API drift under the same name."""

from collections.abc import Iterable

import polars as pl

from tracepipe.grading.extraction import extract
from tracepipe.outputs import USABLE
from tracepipe.records import TARGET_CHANGES, from_rows

VERSION = "1"


def previous(partition: str, known: Iterable[str]) -> str | None:
    """Return the revision before this one: the latest earlier date, or the undated collection; None for the first."""
    name, _, date = partition.partition("@")
    earlier = [key for key in known if key.partition("@")[0] == name and key.partition("@")[2] < date]
    return max(earlier, key=lambda key: key.partition("@")[2], default=None)


def changes(against: str, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Compare two revisions over the prompts that both answered usably.

    `answer_agreement` is the share of the same final answer, by the last box, or by the whole text where neither has
    one. At a temperature above zero the same model disagrees with itself: read it beside earlier revisions' figures.

    Args:
        against: Partition key of the earlier revision.
        before: TARGET_OUTPUTS of the earlier revision.
        after: TARGET_OUTPUTS of the later one.

    Returns:
        TARGET_CHANGES. Shares are in %.
    """
    asked = before.join(after, on="prompt_id", suffix="_after", validate="1:1")
    both = asked.filter(pl.col("outcome").is_in(USABLE) & pl.col("outcome_after").is_in(USABLE))
    agree = [_final(one) == _final(other) for one, other in zip(both["answer"], both["answer_after"], strict=True)]
    measures: list[tuple[str, pl.DataFrame, pl.Series | None, pl.Series]] = [
        ("same_model_name", both, None, both["model"] == both["model_after"]),
        ("answer_agreement", both, None, pl.Series(agree, dtype=pl.Boolean)),
        ("usable_rate", asked, asked["outcome"].is_in(USABLE), asked["outcome_after"].is_in(USABLE)),
        ("summary_rate", both, both["summary"].is_not_null(), both["summary_after"].is_not_null()),
        ("answer_characters", both, both["answer"].str.len_chars(), both["answer_after"].str.len_chars()),
        ("summary_characters", both, both["summary"].str.len_chars(), both["summary_after"].str.len_chars()),
        ("output_tokens", both, both["output_tokens"], both["output_tokens_after"]),
        ("reasoning_tokens", both, both["reasoning_tokens"], both["reasoning_tokens_after"]),
    ]
    rows = [
        {"against": against, "measure": name, "before": _mean(earlier), "after": _mean(later), "rows": over.height}
        for name, over, earlier, later in measures
    ]
    return from_rows(rows, TARGET_CHANGES)


def _final(answer: str) -> str:
    boxed = extract(answer, boxed_only=True).answer
    return " ".join((answer if boxed is None else boxed).split())


def _mean(values: pl.Series | None) -> float | None:
    """Return the mean, of verdicts in %."""
    mean = None if values is None else values.mean()
    if not isinstance(mean, float):
        return None
    return 100 * mean if values is not None and values.dtype == pl.Boolean else mean
