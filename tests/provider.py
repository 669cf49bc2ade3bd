"""A fake provider on a real socket: speaks the Responses API and Chat Completions, with faults to order."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TRACE = "the hidden trace"


@dataclass
class Provider:
    """What the provider does, by prompt, and what it was asked.

    A prompt may say what happens to it: `flaky` fails with 429 and then 500 before it is answered; `down` fails
    while the provider is down; `cut`, `refuse`, `blank`, `no summary` and `odd` are answered so; `trace` has the
    trace sent along.
    """

    key: str = "good-key"
    down: bool = True
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict] = field(default_factory=list)
    url: str = ""

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        fault = self._fault(request, body, body["input"])
        return fault or JSONResponse(self._response(body["input"]))

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        prompt = body["messages"][0]["content"]
        return self._fault(request, body, prompt) or JSONResponse(self._completion(prompt))

    def _fault(self, request: Request, body: dict, prompt: str) -> Response | None:
        self.asked[prompt] += 1
        self.bodies.append(body)
        if request.headers["authorization"] != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "bad key", "code": "invalid_api_key"}}, 401)
        if (prompt.startswith("down") and self.down) or (prompt.startswith("flaky") and self.asked[prompt] == 2):
            return JSONResponse({"error": {"message": "down"}}, 500)
        if prompt.startswith("flaky") and self.asked[prompt] == 1:
            return JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after": "0"})
        return None

    @staticmethod
    def _response(prompt: str) -> dict:
        if prompt.startswith("odd"):
            return {"id": "resp_odd", "model": "m", "output": [{"no": "type"}]}
        text = {"type": "output_text", "text": "" if prompt.startswith("blank") else f"answer to {prompt}"}
        part = {"type": "refusal", "refusal": "no"} if prompt.startswith("refuse") else text
        summary = [] if prompt.startswith("no summary") else [{"text": "first part"}, {"text": "second part"}]
        reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", **one} for one in summary]}
        if prompt.startswith("trace"):
            reasoning["content"] = [{"type": "reasoning_text", "text": TRACE}]
        cut = prompt.startswith("cut")
        return {
            "id": f"resp_{prompt}",
            "model": "m-2026",
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [reasoning, {"type": "message", "content": [part]}],
            "usage": {"input_tokens": 10, "output_tokens": 100, "output_tokens_details": {"reasoning_tokens": 80}},
        }

    @staticmethod
    def _completion(prompt: str) -> dict:
        message = {"role": "assistant", "content": f"answer to {prompt}"}
        if prompt.startswith("trace"):
            message["reasoning"] = TRACE
        return {
            "id": f"chatcmpl_{prompt}",
            "model": "m-2026",
            "choices": [{"finish_reason": "length" if prompt.startswith("cut") else "stop", "message": message}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 100},
        }


@contextlib.contextmanager
def serving() -> Iterator[Provider]:
    """Serve a provider on a free port of the loopback address."""
    provider = Provider()
    routes = [
        Route("/v1/responses", provider.responses, methods=["POST"]),
        Route("/v1/chat/completions", provider.chat, methods=["POST"]),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    provider.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join()
