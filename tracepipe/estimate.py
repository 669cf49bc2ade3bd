"""What a collection will cost and how long it will take, before it is bought."""

from dataclasses import dataclass

import polars as pl

from tracepipe.books import Books
from tracepipe.engines.base import request_of
from tracepipe.journal import Journal
from tracepipe.ledger import worst_case
from tracepipe.outputs import read_attempts, read_rows
from tracepipe.target import Limits, Target

FEWEST_MEASURED = 5
_PRIOR_OUTPUT = (1_000.0, 4_000.0, 12_000.0)


@dataclass(frozen=True)
class Range:
    """Low, likely and high."""

    low: float
    likely: float
    high: float

    def times(self, factor: float) -> "Range":
        """Return the range, each end multiplied."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def under(self, amount: float) -> "Range":
        """Return an amount divided by each end."""
        return Range(*sorted(amount / end for end in (self.low, self.likely, self.high)))

    def plus(self, other: "Range") -> "Range":
        """Return the sum, end by end."""
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)


_PRIOR_BYTES = Range(2.5, 4.0, 5.0)
_PRIOR_SPEED = 60.0


@dataclass(frozen=True)
class Estimate:
    """What is left to collect of a study's prompts.

    Attributes:
        rows: Prompts still to be asked; `collected` are there already.
        basis: What the figures rest on, in words.
        worst_usd: What the rows can cost at most, by the target's delivery.
        batch_usd: By the Batch API.
        hours: Live, at the target's limits; `bound_by` names the limit that decides.
        left_usd: What is left of the budget.
    """

    rows: int
    collected: int
    basis: str
    input_tokens: Range
    output_tokens: Range
    live_usd: Range
    batch_usd: Range
    worst_usd: float
    hours: Range
    bound_by: str
    left_usd: float


@dataclass(frozen=True)
class _PerRow:
    """What one row takes, and how that is known."""

    basis: str
    bytes_per_token: Range
    output_tokens: Range
    seconds: Range


def estimate(prompts: pl.DataFrame, target: Target, journal: Journal) -> Estimate:
    """Estimate what the prompts that are not yet answered will cost.

    The figures rest on the rows that are answered, where there are some: their mean, give or take twice its standard
    error. Else they rest on a prior, which the result states.

    Args:
        prompts: `prompt_id, prompt`.
        target: Whom to ask.
        journal: The target's journal.
    """
    books = Books.of(journal)
    keys = {request_of(target, prompt).key: prompt for prompt in prompts["prompt"]}
    texts = [keys[key] for key in books.waiting(keys)]
    answered = read_rows(prompts, target, journal, books).filter(pl.col("output_tokens") > 0)
    row = _measured(prompts, answered, journal) if answered.height >= FEWEST_MEASURED else _prior(target)
    written = row.output_tokens.times(len(texts))
    asked = row.bytes_per_token.under(sum(len(text.encode()) for text in texts))
    live = asked.times(target.price.input / 1e6).plus(written.times(target.price.output / 1e6))
    hours, bound_by = _hours(len(texts), row.seconds, asked.plus(written), target.limits)
    return Estimate(
        rows=len(texts),
        collected=len(keys) - len(texts),
        basis=row.basis,
        input_tokens=asked,
        output_tokens=written,
        live_usd=live,
        batch_usd=live.times(target.price.batch),
        worst_usd=sum(worst_case(target, text, target.delivery) for text in texts),
        hours=hours,
        bound_by=bound_by,
        left_usd=target.budget_usd - books.committed_usd,
    )


def _prior(target: Target) -> _PerRow:
    low, likely, high = (min(tokens, target.max_output_tokens) for tokens in _PRIOR_OUTPUT)
    tokens = Range(low, likely, high)
    return _PerRow(
        basis=f"prior: {low:g} / {likely:g} / {high:g} output tokens a row, {_PRIOR_SPEED:g} tokens a second, "
        f"{_PRIOR_BYTES.likely:g} bytes a token; nothing of this target is measured (--probe N measures)",
        bytes_per_token=_PRIOR_BYTES,
        output_tokens=tokens,
        seconds=tokens.times(1 / _PRIOR_SPEED),
    )


def _measured(prompts: pl.DataFrame, answered: pl.DataFrame, journal: Journal) -> _PerRow:
    asked = answered.join(prompts.select("prompt_id", "prompt"), on="prompt_id", validate="1:1")
    size = sum(len(prompt.encode()) for prompt in asked["prompt"]) / max(1, int(asked["input_tokens"].sum()))
    seconds = read_attempts(answered, journal)["seconds"].drop_nulls()
    return _PerRow(
        basis=f"{answered.height} answered rows: mean, and two standard errors either way",
        bytes_per_token=Range(size, size, size),
        output_tokens=_around_mean(answered["output_tokens"].cast(pl.Float64)),
        seconds=_around_mean(seconds) if seconds.len() else Range(0, 0, 0),
    )


def _around_mean(values: pl.Series) -> Range:
    numbers = values.to_numpy()
    mean = float(numbers.mean())
    error = 2 * float(numbers.std(ddof=1)) / len(numbers) ** 0.5 if len(numbers) > 1 else 0.0
    return Range(max(0.0, mean - error), mean, mean + error)


def _hours(rows: int, seconds: Range, tokens: Range, limits: Limits) -> tuple[Range, str]:
    """How long the rows take live, and which limit decides."""
    bounds = {f"concurrency {limits.concurrency}": seconds.times(rows / limits.concurrency / 3600)}
    if limits.requests_per_minute:
        bounds["requests_per_minute"] = Range(1, 1, 1).times(rows / limits.requests_per_minute / 60)
    if limits.tokens_per_minute:
        bounds["tokens_per_minute"] = tokens.times(1 / limits.tokens_per_minute / 60)
    slowest = max(bounds, key=lambda name: bounds[name].likely)
    return bounds[slowest], slowest
