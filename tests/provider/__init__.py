"""A fake provider on a real socket: the Responses API, Chat Completions and the Batch API, with faults to order."""

import argparse
import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.provider.batches import Batches
from tests.provider.replies import TRACE, bill, body_of, share

__all__ = ["TRACE", "Provider", "bill", "serving"]

FATAL = {
    "bad key": (401, {"message": "Incorrect API key provided: {key}", "code": "invalid_api_key"}),
    "no quota": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    "unverified": (400, {"message": "Your organization must be verified to generate reasoning summaries."}),
    "unknown model": (404, {"message": "The model does not exist", "code": "model_not_found"}),
    "bad parameter": (400, {"message": "Unsupported parameter: temperature", "code": "unsupported_parameter"}),
    "overloaded": (503, {"message": "overloaded"}),
}
PASSING = ("rate limited", "error 500", "error 503", "slow", "drop")
LASTING = ("garbage", "cut", "refuse", "no summary")


@dataclass
class Provider:
    """What the provider does, and what it was asked.

    A prompt's first words say what happens to it: `flaky` fails with 429 and then 500 before it is answered; `down`
    fails while the provider is down; `slow` takes longer than anybody waits, the first time; `drop` has the connection
    cut after it was billed, the first time; `flagged` is refused with an error; `cut`, `refuse`, `blank`,
    `no summary`, `odd`, `garbage` are answered so; `trace` has the trace sent along.

    Attributes:
        fatal: One of FATAL, which then meets every request.
        spoil: How all prompts are answered while it is set, such as `cut`.
        faults: The share of requests that meet one of PASSING, and of prompts that meet one of LASTING, at random.
        latency: Seconds that an answer takes.
        retry_after: Seconds that a 429 asks to wait.
        version: The model that is said to have answered.
        asked: How often each prompt was asked; `bodies` are the requests, `most` the largest number at once.
        sent: `(request id, prompt, USD, time)` of every answer that was sent to its end.
        billed: USD by request id, of every answer that was made, sent or not.
    """

    key: str = "good-key"
    down: bool = True
    fatal: str | None = None
    spoil: str | None = None
    faults: float = 0.0
    latency: float = 0.0
    retry_after: str = "0.05"
    version: str = "m-2026"
    headers: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    sent: list[tuple[str, str, float, float]] = field(default_factory=list)
    billed: dict[str, float] = field(default_factory=dict)
    active: int = 0
    most: int = 0
    url: str = ""
    log: Path | None = None
    batches: Batches = field(default_factory=Batches)

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(request, body, "responses", body["input"])

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(request, body, "chat", body["messages"][0]["content"])

    async def _answer(self, request: Request, body: dict, path: str, prompt: str) -> Response:
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            self.asked[prompt] += 1
            self.times.append(time.time())
            if not self.log:
                self.bodies.append(body)
            fault = self.refusal(request) or self._fault(prompt)
            if fault:
                return fault
            return await self._paid(request.headers.get("x-client-request-id", ""), path, prompt)
        finally:
            self.active -= 1

    def refusal(self, request: Request) -> Response | None:
        """What meets every request."""
        fatal = self.fatal or (None if request.headers["authorization"] == f"Bearer {self.key}" else "bad key")
        if fatal is None:
            return None
        status, error = FATAL[fatal]
        key = request.headers["authorization"].removeprefix("Bearer ")
        return JSONResponse({"error": {**error, "message": error["message"].replace("{key}", key)}}, status)

    def _fault(self, prompt: str) -> Response | None:
        words = self._passing(prompt)
        if words == "rate limited":
            return JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after": self.retry_after})
        if words.startswith("error"):
            return JSONResponse({"error": {"message": "down"}}, int(words.split()[1]))
        if prompt.startswith("flagged"):
            return JSONResponse({"error": {"message": "flagged", "code": "invalid_prompt"}}, 400)
        return None

    def _passing(self, prompt: str) -> str:
        """What goes wrong this time and may not the next."""
        times = self.asked[prompt]
        if prompt.startswith("down") and self.down:
            return "error 500"
        if prompt.startswith("flaky") and times <= 2:
            return "rate limited" if times == 1 else "error 500"
        if times == 1 and prompt.startswith(("slow", "drop")):
            return prompt.split(maxsplit=1)[0]
        drawn = share("passing", prompt, times)
        return PASSING[int(drawn / self.faults * len(PASSING))] if drawn < self.faults else ""

    def words(self, prompt: str) -> str:
        """What lastingly goes wrong with a prompt."""
        if self.spoil:
            return self.spoil
        drawn = share("lasting", prompt)
        return LASTING[int(drawn / self.faults * len(LASTING))] if drawn < self.faults else prompt

    async def _paid(self, request_id: str, path: str, prompt: str) -> Response:
        trouble = self._passing(prompt)
        self._bill(request_id, prompt)
        await asyncio.sleep(30 if trouble == "slow" else self.latency)
        body = body_of(path, prompt, self.words(prompt), self.version).encode("utf-8", "surrogatepass")
        if trouble == "drop":
            return StreamingResponse(iter([body[:20]]), headers={"content-length": str(len(body))})
        headers = {"content-type": "application/json", **self.headers}
        return Response(body, headers=headers, background=BackgroundTask(self._sent, request_id, prompt))

    def _bill(self, request_id: str, prompt: str) -> None:
        self.billed[request_id] = bill(prompt)
        self._write({"event": "billed", "request_id": request_id, "prompt": prompt, "usd": bill(prompt)})

    async def _sent(self, request_id: str, prompt: str) -> None:
        self.sent.append((request_id, prompt, bill(prompt), time.time()))
        self._write({"event": "sent", "request_id": request_id, "prompt": prompt, "usd": bill(prompt)})

    def _write(self, event: dict) -> None:
        if self.log:
            with self.log.open("a") as stream:
                stream.write(json.dumps({**event, "at": time.time()}) + "\n")

    def app(self) -> Starlette:
        routes = [
            Route("/v1/responses", self.responses, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            *self.batches.routes(self),
        ]
        return Starlette(routes=routes)


@contextlib.contextmanager
def serving(**settings: object) -> Iterator[Provider]:
    """Serve a provider on a free port of the loopback address."""
    provider = Provider(**settings)
    server = uvicorn.Server(uvicorn.Config(provider.app(), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    provider.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.force_exit = server.should_exit = True
        thread.join()


def main() -> None:
    """Serve in a process of its own: `python -m tests.provider --port 8123 [--log FILE] [--faults 0.3]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    provider = Provider(key="none", log=options.log, faults=options.faults, latency=options.latency)
    uvicorn.run(provider.app(), port=options.port, log_level="critical", backlog=4096)
