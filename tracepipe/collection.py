"""Collect a target's answers and summaries, each response on disk before it is read (paper section 3)."""

import asyncio
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openai
import polars as pl
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from tracepipe import progress
from tracepipe.engines.openai import Reading, client, key_of, read, send, take_out_trace
from tracepipe.gates import Gate, ids_preserved, no_columns, none_fail
from tracepipe.journal import Journal, Sink
from tracepipe.records import TARGET_OUTPUTS, TARGET_TRACES, conform, empty, from_rows
from tracepipe.serving import reachable
from tracepipe.spec import SpecError
from tracepipe.target import Target

VERSION = "1"


class CollectionStopped(RuntimeError):
    """Collection cannot go on; the message says why, what was collected, and what to do."""


class Budget:
    """Keeps the sum of what was paid and what could still be billed under the target's budget, USD."""

    def __init__(self, target: Target, spent: float) -> None:
        self._target = target
        self._committed = spent
        self._in_flight = 0
        self._settled = asyncio.Condition()

    async def reserve(self, prompt: str) -> float | None:
        """Set the worst case of one request aside; None where it does not fit.

        While requests are in flight, a reservation that does not fit waits: they may cost less than was set
        aside for them.
        """
        async with self._settled:
            while (reserved := self._try_to_reserve(prompt)) is None and self._in_flight:
                await self._settled.wait()
            if reserved is not None:
                self._in_flight += 1
            return reserved

    def _try_to_reserve(self, prompt: str) -> float | None:
        # No tokenizer makes more tokens of a text than the text has bytes; 64 cover the chat template.
        price, tokens = self._target.price, len(prompt.encode()) + 64
        worst = (tokens * price.input + self._target.max_output_tokens * price.output) / 1e6
        if self._committed + worst > self._target.budget_usd:
            return None
        self._committed += worst
        return worst

    async def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request cost."""
        async with self._settled:
            self._committed += actual - reserved
            self._in_flight -= 1
            self._settled.notify_all()


def collect(prompts: pl.DataFrame, target: Target, *, base_url: str, journal: Journal, trace_sink: Sink) -> None:
    """Ask every prompt that the journal holds no response for; one that only failed before is asked again.

    Args:
        prompts: `prompt_id, prompt`.
        target: Whom to ask.
        base_url: Where it is reached; its identity keeps the address written in the target file.
        journal: Receives `{request_key, response}` or `{request_key, error}` lines.
        trace_sink: Receives `{response_id, trace}` lines where an open target sends its trace along.

    Raises:
        CollectionStopped: If the endpoint refuses all requests, sends traces it was declared to hide,
            or the budget does not allow the next request.
    """
    answered = {entry["request_key"] for entry in journal.entries() if "response" in entry}
    waiting = [prompt for prompt in prompts["prompt"] if key_of(target, prompt) not in answered]
    if waiting:
        asyncio.run(_Collector(target, base_url, journal, trace_sink).ask_all(waiting))


class _Collector:
    def __init__(self, target: Target, base_url: str, journal: Journal, trace_sink: Sink) -> None:
        self._target = target
        self._client = client(target, base_url)
        self._journal = journal
        self._trace_sink = trace_sink
        spent = (_cost(target, entry["response"]) for entry in journal.entries() if "response" in entry)
        self._budget = Budget(target, math.fsum(spent))
        self._stop: str | None = None

    async def ask_all(self, prompts: Sequence[str]) -> None:
        queue = iter(prompts)
        with progress.task(f"collect {self._target.name}", len(prompts)) as advance:
            async with self._client, asyncio.TaskGroup() as group:
                for _ in range(min(self._target.limits.concurrency, len(prompts))):
                    group.create_task(self._work(queue, advance))
        if self._stop:
            raise CollectionStopped(self._stop)

    async def _work(self, queue: Iterator[str], advance: progress.Advance) -> None:
        """Ask one prompt after the other until something stops all workers; what is in flight is awaited."""
        for prompt in queue:
            reserved = await self._budget.reserve(prompt)
            if reserved is None:
                self._stop = self._over_budget()
                return
            cost: float | None = 0.0
            try:
                if not self._stop:
                    cost = await self._ask(prompt)
            except CollectionStopped as stop:
                self._stop = str(stop)
            await self._budget.settle(reserved, reserved if cost is None else cost)
            if self._stop:
                return
            advance(1)

    async def _ask(self, prompt: str) -> float | None:
        """Ask one prompt and write what came to the journal.

        Returns:
            What it cost, USD; None where the connection broke, since the provider may bill such a request.
        """
        key = key_of(self._target, prompt)
        try:
            response = await self._send_patiently(prompt)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise CollectionStopped(
                f"target '{self._target.name}' refuses all requests (HTTP {error.status_code}); "
                "check api_key_env, model and base_url in its file; what was collected is kept"
            ) from None
        except openai.APIError as error:
            self._journal.append({"request_key": key, "error": f"{type(error).__name__}: {error.message}"})
            return None if isinstance(error, openai.APIConnectionError) else 0.0
        visible, trace = take_out_trace(self._target, response)
        if trace is not None:
            if not self._target.open:
                raise CollectionStopped(
                    f"target '{self._target.name}' sends its trace with the answer; declare `open: true` in its file"
                )
            self._trace_sink.append({"response_id": response["id"], "trace": trace})
        self._journal.append({"request_key": key, "response": visible})
        return _cost(self._target, visible)

    async def _send_patiently(self, prompt: str) -> dict[str, Any]:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._target.limits.attempts),
            wait=wait_exponential_jitter(multiplier=0.5, max=30),
            retry=retry_if_exception(_passing),
            reraise=True,
        )
        return await attempts(send, self._client, self._target, prompt)

    def _over_budget(self) -> str:
        done = sum(1 for entry in self._journal.entries() if "response" in entry)
        return (
            f"target '{self._target.name}': the next request could exceed budget_usd {self._target.budget_usd:g}; "
            f"{done} responses are collected and kept; raise the budget or ask for fewer prompts, then run again"
        )


def _passing(error: BaseException) -> bool:
    """Whether a failed request may go through later."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError)


def _cost(target: Target, response: dict[str, Any]) -> float:
    reading = read(target, response)
    return (reading.input_tokens * target.price.input + reading.output_tokens * target.price.output) / 1e6


def ask_once(target: Target, folder: Path) -> Reading:
    """Ask a target its check prompt and read the response; nothing is kept.

    Raises:
        ServingError: If the server that the target's file names does not start.
        SpecError: If the endpoint cannot be reached or refuses.
    """

    async def ask(base_url: str) -> dict[str, Any]:
        async with client(target, base_url) as connection:
            return await send(connection, target, target.check_prompt)

    with tempfile.TemporaryDirectory() as scratch, reachable(target, folder, Path(scratch, "traces.jsonl")) as base_url:
        try:
            response = asyncio.run(ask(base_url))
        except openai.APIError as error:
            raise SpecError(
                f"target '{target.name}' at {target.base_url}: {type(error).__name__}: {error.message}"
            ) from None
    return read(target, take_out_trace(target, response)[0])


def read_outputs(prompts: pl.DataFrame, target: Target, journal: Journal) -> pl.DataFrame:
    """Read the journal's responses to the given prompts; can be run again at any time.

    Returns:
        TARGET_OUTPUTS, one row per prompt, in the order of the prompts.
    """
    latest = {entry["request_key"]: entry for entry in journal.entries()}
    rows = []
    for prompt_id, prompt in prompts.select("prompt_id", "prompt").iter_rows():
        key = key_of(target, prompt)
        entry = latest.get(key, {"error": "never answered"})
        rows.append({"prompt_id": prompt_id, "request_key": key} | _output(target, entry))
    return from_rows(rows, TARGET_OUTPUTS)


def _output(target: Target, entry: dict[str, Any]) -> dict[str, Any]:
    if "response" not in entry:
        nothing = dict.fromkeys(("response_id", "model", "answer", "summary"))
        counts = {"input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "cost_usd": 0.0}
        return {**nothing, "outcome": "api_error", "reason": entry["error"], **counts}
    reading = asdict(read(target, entry["response"]))
    del reading["trace"]
    if reading["outcome"] == "ok" and target.exposes == "summary" and reading["summary"] is None:
        reading |= {"outcome": "empty_summary", "reason": "the response holds no reasoning summary"}
    return reading | {"cost_usd": _cost(target, entry["response"])}


def output_gates(prompts: pl.DataFrame, outputs: pl.DataFrame) -> list[Gate]:
    """Every prompt has one row, answers were given at all, and nothing hidden came along."""
    unusable = outputs.filter(~pl.col("outcome").is_in(["ok", "empty_summary"]))
    flooded = unusable["prompt_id"].to_list() if unusable.height * 2 > outputs.height else []
    return [
        ids_preserved("one_row_per_prompt", prompts["prompt_id"], outputs["prompt_id"]),
        none_fail("most_rows_usable", flooded, f"of {outputs.height} rows unusable where more than half are"),
        no_columns("no_trace_column", {"target_outputs": outputs.columns}, {"trace", "inverted_trace"}),
    ]


def read_traces(outputs: pl.DataFrame, trace_log: Journal) -> pl.DataFrame:
    """Match an open target's logged traces with its outputs, by response id.

    Returns:
        TARGET_TRACES, one row per output that was answered.
    """
    logged = {entry["response_id"]: entry["trace"] for entry in trace_log.entries() if entry["trace"].strip()}
    answered = outputs.filter(pl.col("response_id").is_not_null())
    if not answered.height:
        return empty(TARGET_TRACES)
    traces = pl.Series("trace", [logged.get(response) for response in answered["response_id"]], dtype=pl.String)
    return conform(answered.select("prompt_id", "request_key").with_columns(traces).drop_nulls("trace"), TARGET_TRACES)


def trace_gates(outputs: pl.DataFrame, traces: pl.DataFrame) -> list[Gate]:
    """Every usable answer of an open target has its trace, and shows it neither in the answer nor in the summary."""
    usable = outputs.filter(pl.col("outcome").is_in(["ok", "empty_summary"]))["prompt_id"]
    missing = set(usable) - set(traces["prompt_id"])
    both = outputs.join(traces.select("prompt_id", "trace"), on="prompt_id", validate="1:1")
    shown = pl.concat_str(pl.col("answer", "summary").fill_null(""), separator="\n")
    leaked = both.filter(shown.str.contains(pl.col("trace"), literal=True))["prompt_id"]
    return [
        none_fail("every_answer_has_its_trace", missing, f"of {len(usable)} usable answers have no logged trace"),
        none_fail("traces_stay_hidden", leaked, f"of {both.height} outputs show their whole trace"),
    ]
