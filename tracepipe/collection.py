"""Collect a target's answers and summaries (paper section 3): a probe first, then the rest, each response kept."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tracepipe import progress
from tracepipe.books import Books
from tracepipe.engines.base import Engine, Reply, Request, request_of
from tracepipe.engines.failures import Failure
from tracepipe.identity import prompt_id
from tracepipe.journal import Journal, Sink
from tracepipe.ledger import Ledger, only_one
from tracepipe.outputs import USABLE, read_outputs, read_rows
from tracepipe.serving import reachable
from tracepipe.target import Target
from tracepipe.throttle import Throttle

VERSION = "2"
_MOST_UNUSABLE = 30


class CollectionStopped(RuntimeError):
    """Collection cannot go on; the message says why, what was collected, and what to do."""


@dataclass(frozen=True)
class Probe:
    """What the first rows of a collection look like.

    Attributes:
        outcomes: How often each outcome stands, most frequent first.
        usd_per_1000: Mean cost of a thousand rows; None where no response says what it cost.
    """

    rows: int
    usable: int
    with_summary: int
    outcomes: dict[str, int]
    output_tokens: float
    usd_per_1000: float | None

    def __str__(self) -> str:
        """Say it in one sentence."""
        outcomes = ", ".join(f"{outcome} {count}" for outcome, count in self.outcomes.items())
        cost = "unknown cost" if self.usd_per_1000 is None else f"{self.usd_per_1000:.2f} USD per 1,000"
        return (
            f"{self.rows} rows: {outcomes}; {self.with_summary} with a summary; "
            f"{self.output_tokens:.0f} output tokens a row; {cost}"
        )


def probe_of(rows: pl.DataFrame) -> Probe:
    """Look at the first rows of a collection (TARGET_OUTPUTS)."""
    counted = Counter(rows["outcome"].to_list())
    answered = rows.filter(pl.col("cost_usd").is_not_null())
    tokens, cost = answered["output_tokens"].mean(), answered["cost_usd"].mean()
    return Probe(
        rows=rows.height,
        usable=sum(counted[outcome] for outcome in USABLE),
        with_summary=rows["summary"].count(),
        outcomes=dict(counted.most_common()),
        output_tokens=float(tokens) if isinstance(tokens, float) else 0.0,
        usd_per_1000=1000 * cost if isinstance(cost, float) else None,
    )


def waits(prompts: pl.DataFrame, target: Target, journal: Journal) -> bool:
    """Whether any of the prompts is still to be asked (`prompt_id, prompt`)."""
    keys = (request_of(target, prompt).key for prompt in prompts["prompt"])
    return bool(Books.of(journal).waiting(keys))


def collect(prompts: pl.DataFrame, target: Target, *, base_url: str, journal: Journal, trace_sink: Sink) -> None:
    """Ask every prompt that was neither answered nor given up, of which each then has a row.

    Before the rest, the first `target.probe` rows are asked and looked at. Another process that asks the same target
    is waited for, and what it collected is not asked again.

    Args:
        prompts: `prompt_id, prompt`.
        target: Whom to ask.
        base_url: Where it is reached; its identity keeps the address written in the target file.
        journal: The target's journal, see `books`.
        trace_sink: Receives the traces that an open target sends along.

    Raises:
        CollectionStopped: If all requests are refused or fail, the budget does not allow the next one, the probe
            shows that the rest would be useless, or nothing can be written.
    """
    requests = {request.key: request for request in (request_of(target, prompt) for prompt in prompts["prompt"])}
    with only_one(journal):
        ledger = Ledger(target, journal, trace_sink)
        if not ledger.books.waiting(requests):
            return
        collection = _Collection(target, base_url, ledger, requests)
        try:
            first = prompts.head(target.probe)
            asyncio.run(collection.run(lambda: probe_of(read_rows(first, target, journal, ledger.books))))
        except* OSError as errors:
            ledger.stop(f"{journal.path}: cannot be written: {_first(errors)}")
        if ledger.stopped:
            raise CollectionStopped(collection.account_of_stop())


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class _Collection:
    """One run of the engines over the requests that wait."""

    def __init__(self, target: Target, base_url: str, ledger: Ledger, requests: dict[str, Request]) -> None:
        self._target = target
        self._base_url = base_url
        self._ledger = ledger
        self._requests = requests
        self._throttle = Throttle(target.limits, target.max_output_tokens, rest=ledger.goes_on_after)
        self._unusable: list[str] = []

    async def run(self, look: Callable[[], Probe]) -> None:
        """Ask the probe's rows, judge what `look` finds in them, and ask the rest."""
        target, waiting = self._target, self._ledger.books.waiting(self._requests)
        with progress.task(f"collect {target.partition}", len(waiting)) as advance:
            if len(waiting) > target.probe > 0:
                first = set(list(self._requests)[: target.probe])
                await self._ask([key for key in waiting if key in first], "live", advance)
                if not self._ledger.stopped:
                    self._judge(look())
                # Not `waiting` less the probe: a batch that was waited for may have answered more.
                waiting = self._ledger.books.waiting(self._requests)
            await self._ask(waiting, target.delivery, advance)

    def _judge(self, probe: Probe) -> None:
        """Stop where the probe shows that the rest would be bought for nothing."""
        target = self._target
        progress.note(f"probe of {target.partition}: {probe}")
        if not probe.usable:
            self._ledger.stop(
                f"target '{target.name}': no row of the probe is usable ({probe}){_remedy(probe.outcomes)}"
            )
        elif target.exposes == "summary" and not probe.with_summary:
            self._ledger.stop(
                f"target '{target.name}' is to expose summaries, and no row of the probe has one ({probe}); ask for "
                "them with reasoning.summary, or say exposes: answer; probe: 0 goes on without looking"
            )

    async def _ask(self, keys: list[str], delivery: str, advance: progress.Advance) -> None:
        """Ask through the engine of a delivery; what lies in batches under way is waited for, not asked twice."""
        # The client takes longer to load than all the rest of the code location, which needs none.
        from tracepipe.engines.batch import BatchEngine
        from tracepipe.engines.openai import LiveEngine

        books = self._ledger.books
        under_way = {one.request_key for one in books.pending.values() if one.shard in books.batches}
        batched = [key for key in keys if delivery == "batch" or key in under_way]
        live = [key for key in keys if delivery == "live" and key not in under_way]
        engines: list[tuple[Callable[[], Engine], list[str]]] = [
            (lambda: BatchEngine(self._target, self._base_url, self._ledger), batched),
            (lambda: LiveEngine(self._target, self._base_url, self._ledger, self._throttle), live),
        ]
        for engine, wanted in engines:
            if wanted and not self._ledger.stopped:
                async for reply in engine().answers(self._requests[key] for key in wanted):
                    advance(1)
                    self._watch(reply)

    def _watch(self, reply: Reply) -> None:
        """Stop where one row after the other is paid and none is usable."""
        failed = isinstance(reply.result, Failure)
        outcome = "api_error" if isinstance(reply.result, Failure) else reply.result.outcome
        if not failed and outcome in USABLE:
            self._unusable.clear()
            return
        self._unusable.append(outcome)
        if len(self._unusable) >= _MOST_UNUSABLE and self._ledger.books.waiting(self._requests):
            counted = dict(Counter(self._unusable).most_common())
            outcomes = ", ".join(f"{name} {count}" for name, count in counted.items())
            self._ledger.stop(
                f"target '{self._target.name}': {len(self._unusable)} rows in a row are unusable ({outcomes})"
                f"{_remedy(counted)}"
            )

    def account_of_stop(self) -> str:
        """Say why the collection stopped, what there is, and how to go on."""
        books, target = self._ledger.books, self._target
        total, left = len(self._requests), len(books.waiting(self._requests))
        answered = [books.accounts[key] for key in self._requests if key in books.accounts]
        costs = [one.response.cost_usd for one in answered if one.response and one.response.cost_usd is not None]
        unsure = max(0.0, books.possible_usd + books.pending_usd)
        needed = f", about {left * sum(costs) / len(costs):.2f} USD for the {left} rows left" if costs and left else ""
        return (
            f"{self._ledger.stopped}; {total - left} of {total} rows are collected and kept; "
            f"{books.paid_usd:.4f} USD are paid, up to {unsure:.4f} more may be billed, of budget_usd "
            f"{target.budget_usd:g}{needed}; run again to go on: nothing that was collected is asked again"
        )


def _remedy(outcomes: dict[str, int]) -> str:
    """What to do about the most frequent outcome."""
    remedies = {
        "truncated": "; raise max_output_tokens",
        "refused": "; look at the prompts, the provider refuses them",
        "api_error": "; look at the reasons: tracepipe retry STUDY --target NAME",
    }
    return remedies.get(next(iter(outcomes)), "")


def check(target: Target, folder: Path, journal: Journal, trace_sink: Sink) -> pl.DataFrame:
    """Ask a target its check prompt once more, whatever was answered before.

    Returns:
        TARGET_OUTPUTS, one row.

    Raises:
        ServingError: If the server that the target's file names does not start.
        CollectionStopped: See `collect`.
    """
    prompt = pl.DataFrame({"prompt_id": [prompt_id(target.check_prompt)], "prompt": [target.check_prompt]})
    key = request_of(target, target.check_prompt).key
    with reachable(target, folder, trace_sink.path) as base_url:
        reopen(target, journal, trace_sink, [key])
        collect(prompt, target, base_url=base_url, journal=journal, trace_sink=trace_sink)
    return read_outputs(prompt, target, journal)


def reopen(target: Target, journal: Journal, trace_sink: Sink, keys: Sequence[str]) -> None:
    """Have requests asked again by the next collection; what they brought is kept."""
    with only_one(journal):
        Ledger(target, journal, trace_sink).reopen(keys)
