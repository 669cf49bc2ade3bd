"""Ask a target through the Batch API: files of requests in, files of responses out within 24 hours, at a lower price.

A batch is paid once it is created, so its shard's requests are on disk before it is, and its id at once after. A shard
whose id is not known (the process died in between) is looked for by the name written into the batch's metadata.
"""

import asyncio
import json
import tempfile
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import IO, Any, TypeVar

import openai
from openai.types import Batch
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from tracepipe import progress
from tracepipe.engines.base import Reply, Request, body_of, path_of
from tracepipe.engines.failures import Failure, by_status, classify, redacted
from tracepipe.engines.openai import clients
from tracepipe.ledger import Ledger, worst_case
from tracepipe.target import Target

MOST_BYTES = 200_000_000
_TERMINAL = {"completed", "failed", "expired", "cancelled"}
_SHARD = "tracepipe_shard"
_LINES_AT_ONCE = 500
Result = TypeVar("Result")


class BatchStopped(Exception):
    """The provider refuses what every batch needs; the message says what."""


class BatchEngine:
    """Splits requests into batches, waits for them, and resubmits what is missing from their results."""

    def __init__(self, target: Target, base_url: str, ledger: Ledger) -> None:
        self._target = target
        self._ledger = ledger
        (self._api,) = clients(target, base_url, 1)
        self._endpoint: Any = f"/v1{path_of(target)}"
        self._tries: Counter[str] = Counter()

    async def answers(self, requests: Iterable[Request]) -> AsyncIterator[Reply]:
        """Take up the batches that an earlier process left, then ask the rest; see `Engine`."""
        known = {request.key: request for request in requests}
        try:
            async with self._api:
                await self._find_lost_batches()
                under_way = set(self._under_way())
                waiting = deque(request for key, request in known.items() if key not in under_way)
                async for reply in self._ask_all(waiting):
                    if reply.key not in known:
                        continue
                    if self._worth_another_try(reply):
                        waiting.append(known[reply.key])
                    else:
                        yield reply
        except BatchStopped as stop:
            self._ledger.stop(f"target '{self._target.name}': {stop}")

    def _under_way(self) -> list[str]:
        books = self._ledger.books
        return [one.request_key for one in books.pending.values() if one.shard in books.batches]

    def _worth_another_try(self, reply: Reply) -> bool:
        passing = isinstance(reply.result, Failure) and reply.result.kind == "passing"
        return passing and self._tries[reply.key] < self._target.limits.attempts

    async def _ask_all(self, waiting: deque[Request]) -> AsyncIterator[Reply]:
        """Submit what waits and yield what comes; whoever iterates may put requests back."""
        books = self._ledger.books
        while not self._ledger.stopped:
            while requests := self._next_shard(waiting):
                await self._submit(requests)
            if not books.batches:
                if waiting:
                    self._ledger.stop_over_budget()
                return
            finished = [(shard, batch) for shard, batch in await self._look() if batch.status in _TERMINAL]
            for shard, batch in finished:
                async for reply in self._take_in(shard, batch):
                    yield reply
            if not finished:
                await self._ledger.rest(self._target.limits.poll_seconds)

    def _next_shard(self, waiting: deque[Request]) -> list[Request]:
        """Take as many requests as one batch may hold and the budget allows."""
        shard: list[Request] = []
        size, reserved = 0, 0.0
        while waiting and len(shard) < self._target.limits.batch_rows:
            size += len(self._line(waiting[0]))
            reserved += worst_case(self._target, waiting[0].prompt, "batch")
            if (shard and size > MOST_BYTES) or not self._ledger.fits(reserved):
                break
            shard.append(waiting.popleft())
        return shard

    def _line(self, request: Request) -> bytes:
        body = body_of(self._target, request.prompt)
        line = {"custom_id": request.key, "method": "POST", "url": self._endpoint, "body": body}
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    async def _submit(self, requests: list[Request]) -> None:
        shard = f"s_{uuid.uuid4().hex[:20]}"
        await self._ledger.begin_shard(requests, shard)
        with tempfile.TemporaryFile() as file:
            file.writelines(self._line(request) for request in requests)

            async def upload() -> Any:
                file.seek(0)
                return await self._api.files.create(file=(f"{shard}.jsonl", file), purpose="batch")

            uploaded = await self._call("uploading a batch", upload)

        async def create() -> Batch:
            # A creation whose answer was lost is not repeated.
            return await self._find(shard) or await self._api.batches.create(
                input_file_id=uploaded.id,
                endpoint=self._endpoint,
                completion_window="24h",
                metadata={_SHARD: shard},
            )

        batch = await self._call("creating a batch", create)
        await self._ledger.record({"kind": "batch", "shard": shard, "batch": batch.id})
        progress.note(f"{self._target.name}: batch {batch.id} with {len(requests)} requests is created")

    async def _find(self, shard: str) -> Batch | None:
        async for batch in self._api.batches.list(limit=100):
            if (batch.metadata or {}).get(_SHARD) == shard:
                return batch
        return None

    async def _find_lost_batches(self) -> None:
        books = self._ledger.books
        for shard in [shard for shard, batch in books.batches.items() if batch is None]:

            async def find(shard: str = shard) -> Batch | None:
                return await self._find(shard)

            found = await self._call("looking for a batch", find)
            if found:
                await self._ledger.record({"kind": "batch", "shard": shard, "batch": found.id})
            else:
                await self._close(shard, "its batch was never created")

    async def _look(self) -> list[tuple[str, Batch]]:
        looked = []
        for shard, batch_id in list(self._ledger.books.batches.items()):

            async def retrieve(batch_id: str | None = batch_id) -> Batch:
                return await self._api.batches.retrieve(batch_id or "")

            looked.append((shard, await self._call(f"looking at batch {batch_id}", retrieve)))
        return looked

    async def _take_in(self, shard: str, batch: Batch) -> AsyncIterator[Reply]:
        """Take in the results of a batch that ended in any way: the provider bills whatever is in its output file."""
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is None:
                continue
            async for lines in self._lines(file_id):
                for reply in await asyncio.gather(*(self._take(shard, line) for line in lines)):
                    if reply:
                        yield reply
        for reply in await self._close(shard, f"batch {batch.id} {batch.status} without a result for it"):
            yield reply
        if batch.status == "failed":
            errors = (batch.errors.data if batch.errors else None) or []
            reasons = "; ".join(f"{error.code}: {error.message}" for error in errors)
            raise BatchStopped(f"batch {batch.id} failed: {reasons or 'the provider gives no reason'}")

    async def _lines(self, file_id: str) -> AsyncIterator[list[bytes]]:
        """Yield a file's lines, some hundred at a time; split at line feeds alone, since texts hold other breaks."""

        async def download() -> IO[bytes]:
            content = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever reads it
            async with self._api.files.with_streaming_response.content(file_id) as response:
                async for chunk in response.iter_bytes():
                    content.write(chunk)
            content.seek(0)
            return content

        with await self._call(f"downloading file {file_id}", download) as content:
            lines: list[bytes] = []
            for line in content:
                lines.append(line)
                if len(lines) == _LINES_AT_ONCE:
                    yield lines
                    lines = []
            yield lines

    async def _take(self, shard: str, line: bytes) -> Reply | None:
        """Take in one line of a result file; None where it was taken in before."""
        try:
            content = json.loads(line)
            key, response, error = content["custom_id"], content.get("response"), content.get("error")
        except (ValueError, TypeError, KeyError):
            await self._ledger.record({"kind": "stray", "shard": shard, "line": line.decode(errors="replace")})
            return None
        attempt = self._attempt(shard, key)
        if attempt is None:
            return None
        if response and response.get("status_code") == 200:
            body = redacted(self._target, json.dumps(response.get("body"), ensure_ascii=False))
            return Reply(key, await self._ledger.receive(attempt, body, None))
        if response:
            failure = by_status(int(response.get("status_code") or 500), response.get("body"), {}, self._target)
        else:
            failure = Failure("passing", f"{(error or {}).get('code')}: {(error or {}).get('message')}")
        return await self._failed(attempt, key, failure)

    def _attempt(self, shard: str, key: str) -> str | None:
        books = self._ledger.books
        account = books.accounts.get(key)
        if account is None:
            return None
        attempts = (f"{key}.{number}" for number in range(account.attempts, 0, -1))
        return next((one for one in attempts if one in books.pending and books.pending[one].shard == shard), None)

    async def _failed(self, attempt: str, key: str, failure: Failure) -> Reply:
        if failure.kind == "fatal":
            self._ledger.stop(failure.reason)
        self._tries[key] += 1
        given_up = failure.kind in {"row", "refused"} or self._tries[key] >= self._target.limits.attempts
        await self._ledger.fail(attempt, failure, final=given_up and failure.kind != "fatal")
        return Reply(key, failure)

    async def _close(self, shard: str, reason: str) -> list[Reply]:
        """Fail what has no result, which is not billed, and be done with a shard."""
        left = [
            (one, pending.request_key) for one, pending in self._ledger.books.pending.items() if pending.shard == shard
        ]
        failure = Failure("passing", reason)
        replies = await asyncio.gather(*(self._failed(attempt, key, failure) for attempt, key in left))
        await self._ledger.record({"kind": "batch_done", "shard": shard})
        return replies

    async def _call(self, what: str, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask the provider about files and batches, which costs nothing, and try again what may pass.

        Raises:
            BatchStopped: If it does not.
        """
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._target.limits.attempts),
            wait=wait_exponential_jitter(multiplier=0.5, max=60),
            retry=retry_if_exception(lambda error: isinstance(error, openai.APIError) and self._passes(error)),
            sleep=self._ledger.rest,
            reraise=True,
        )
        try:
            return await attempts(ask)
        except openai.APIError as error:
            raise BatchStopped(f"{what}: {classify(error, self._target).reason}") from None

    def _passes(self, error: openai.APIError) -> bool:
        return classify(error, self._target).kind == "passing"
