"""Ask a target one request at a time, many at once: the Responses API or Chat Completions over the `openai` client."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx2
import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from tracepipe.engines.base import Reply, Request, body_of, path_of
from tracepipe.engines.failures import Failure, classify, exhausted_for, redacted
from tracepipe.ledger import Ledger
from tracepipe.spec import SpecError
from tracepipe.target import Target
from tracepipe.throttle import Throttle

_PER_CLIENT = 32
_BACKOFF = wait_exponential_jitter(multiplier=0.5, max=60)


def clients(target: Target, base_url: str, count: int) -> list[openai.AsyncOpenAI]:
    """Open clients; their own retries are switched off, since they are made in one place.

    Raises:
        SpecError: If the variable that should hold the key is not set; names the variable.
    """
    key, trust = key_of(target) or "none", httpx2.create_ssl_context()
    return [
        openai.AsyncOpenAI(
            api_key=key,
            base_url=base_url,
            max_retries=0,
            timeout=target.limits.timeout_seconds,
            http_client=openai.DefaultAsyncHttpxClient(verify=trust),
        )
        for _ in range(count)
    ]


def key_of(target: Target) -> str | None:
    """Return the key of a target, or None where it needs none.

    Raises:
        SpecError: If the variable that should hold it is not set; names the variable.
    """
    if target.api_key_env is None:
        return None
    key = os.environ.get(target.api_key_env)
    if not key:
        raise SpecError(
            f"target '{target.name}': api_key_env: the environment variable {target.api_key_env} is not set"
        )
    return key


class NotAnswered(Exception):
    """A request brought no response; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Passing(NotAnswered):
    """It may go through later."""


class LiveEngine:
    """One HTTP request per prompt, `limits.concurrency` of them in flight."""

    def __init__(self, target: Target, base_url: str, ledger: Ledger, throttle: Throttle) -> None:
        self._target = target
        self._path = path_of(target)
        self._ledger = ledger
        self._throttle = throttle
        # The cost of a request grows with the connections of its client, so there are several clients.
        count = -(-target.limits.concurrency // _PER_CLIENT)
        self._clients = clients(target, base_url, count)

    async def answers(self, requests: Iterable[Request]) -> AsyncIterator[Reply]:
        """Ask every request; see `Engine`."""
        queue = iter(requests)
        replies: asyncio.Queue[Reply | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._work(queue, replies, self._clients[number % len(self._clients)]))
                for number in range(self._target.limits.concurrency)
            ]
            group.create_task(_close(replies, workers))
            while (reply := await replies.get()) is not None:
                yield reply
        for connection in self._clients:
            await connection.close()

    async def _work(
        self, queue: Iterator[Request], replies: asyncio.Queue[Reply | None], connection: openai.AsyncOpenAI
    ) -> None:
        while not self._ledger.stopped and (request := next(queue, None)):
            reply = await self._ask(request, connection)
            if reply:
                await replies.put(reply)

    async def _ask(self, request: Request, connection: openai.AsyncOpenAI) -> Reply | None:
        """Ask until there is a response, the row is given up, or the run is stopped."""
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self._target.limits.attempts),
            wait=_wait,
            retry=retry_if_exception_type(Passing),
            sleep=self._ledger.rest,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    last = attempt.retry_state.attempt_number == self._target.limits.attempts
                    return await self._try(request, connection, last)
        except NotAnswered as failed:
            return None if failed.failure.kind == "fatal" else Reply(request.key, failed.failure)
        return None

    async def _try(self, request: Request, connection: openai.AsyncOpenAI, last: bool) -> Reply | None:
        """Make one attempt.

        Returns:
            The reply, or None where the ledger allows no attempt.

        Raises:
            NotAnswered: If it brought no response.
        """
        async with self._throttle.turn(request.prompt) as turn:
            attempt = await self._ledger.begin(request)
            if attempt is None:
                return None
            started = time.monotonic()
            try:
                response = await connection.post(
                    self._path,
                    cast_to=httpx2.Response,
                    body=body_of(self._target, request.prompt),
                    options={"headers": {"X-Client-Request-Id": attempt}},
                )
            except openai.APIError as error:
                failure = classify(error, self._target)
                turn.failed(failure)
                final = last or failure.kind in {"row", "refused"}
                await self._ledger.fail(attempt, failure, final=final and not self._throttle.gave_up)
                self._stop_if_pointless(failure)
                raise (Passing if failure.kind == "passing" else NotAnswered)(failure) from None
            reading = await self._ledger.receive(
                attempt, redacted(self._target, response.text), round(time.monotonic() - started, 3)
            )
            turn.succeeded(reading.usage, exhausted_for(response.headers))
            return Reply(request.key, reading)

    def _stop_if_pointless(self, failure: Failure) -> None:
        if failure.kind == "fatal":
            self._ledger.stop(failure.reason)
        elif self._throttle.gave_up:
            self._ledger.stop(
                f"target '{self._target.name}': {self._throttle.gave_up}; the last failure: {failure.reason}"
            )


async def _close(replies: asyncio.Queue[Reply | None], workers: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(workers)
    await replies.put(None)


def _wait(state: RetryCallState) -> float:
    """Back off longer each time, and not less than the provider asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.failure.retry_after if isinstance(error, NotAnswered) else None
    return max(_BACKOFF(state), asked or 0.0)
