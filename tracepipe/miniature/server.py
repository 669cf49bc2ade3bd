"""Serve a miniature model over HTTP as a black box that speaks the Responses API.

It answers with the visible answer and a reasoning summary, reports its reasoning tokens, and never
sends the trace; the operator may have traces appended to a log on the server's own disk. Requests
that arrive together are answered in one batch.

    python -m tracepipe.miniature.server --model FOLDER --port 8000 [--trace-log FILE]
"""

import argparse
import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers import AutoModelForCausalLM, AutoTokenizer

from tracepipe.compute import end_with
from tracepipe.engines.generation import Call, Generated, call_of
from tracepipe.engines.settings import Sampling
from tracepipe.engines.transformers import write
from tracepipe.journal import Journal
from tracepipe.miniature.world import summarise
from tracepipe.text import take_apart

_LARGEST_BATCH = 256
_GATHER_SECONDS = 0.02


@dataclass
class _Pending:
    call: Call
    sampling: Sampling
    answer: "asyncio.Future[Generated]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Server:
    """One model, one queue of pending requests, one batch at a time."""

    def __init__(self, model_folder: Path, trace_log: Journal | None) -> None:
        torch.set_num_threads(1)
        self._name = model_folder.name
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model_folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(model_folder).eval()
        self._trace_log = trace_log
        self._pending: list[_Pending] = []

    def app(self) -> Starlette:
        """Return the web application."""
        routes = [Route("/health", self._health), Route("/v1/responses", self._respond, methods=["POST"])]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        worker = asyncio.create_task(self._answer_for_ever())
        yield
        worker.cancel()

    async def _health(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "model": self._name})

    async def _respond(self, request: Request) -> JSONResponse:
        body = await request.json()
        if not isinstance(body.get("input"), str):
            return JSONResponse({"error": {"message": "input: a string is needed"}}, status_code=400)
        sampling = Sampling(
            temperature=body.get("temperature", 1.0),
            top_p=body.get("top_p", 1.0),
            repetition_penalty=1.0,
            max_new_tokens=body.get("max_output_tokens", 64),
        )
        pending = _Pending(call_of(self._tokenizer, f"r_{uuid.uuid4().hex}", body["input"]), sampling)
        self._pending.append(pending)
        written = await pending.answer
        return JSONResponse(self._response(body, written))

    async def _answer_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_GATHER_SECONDS)
            while self._pending:
                sampling = self._pending[0].sampling
                batch = [pending for pending in self._pending if pending.sampling == sampling][:_LARGEST_BATCH]
                self._pending = [pending for pending in self._pending if pending not in batch]
                await self._answer(batch, sampling)

    async def _answer(self, batch: list[_Pending], sampling: Sampling) -> None:
        waiting = {pending.call.key: pending.answer for pending in batch}
        for one in await asyncio.to_thread(self._write, [pending.call for pending in batch], sampling):
            answer = waiting[one.key]
            if not answer.done():
                answer.set_result(one)

    def _write(self, calls: list[Call], sampling: Sampling) -> list[Generated]:
        return list(write(self._model, self._tokenizer, calls, sampling, _LARGEST_BATCH))

    def _response(self, body: dict[str, Any], written: Generated) -> dict[str, Any]:
        response_id = f"resp_{uuid.uuid4().hex}"
        reply = take_apart(written.text)
        trace = reply.trace or ""
        if self._trace_log is not None:
            self._trace_log.append({"response_id": response_id, "trace": trace})
        wants_summary = bool((body.get("reasoning") or {}).get("summary"))
        summary = [{"type": "summary_text", "text": summarise(trace)}] if wants_summary and trace else []
        content = [{"type": "output_text", "text": reply.answer, "annotations": []}]
        message = {"type": "message", "id": f"msg_{response_id}", "role": "assistant", "content": content}
        cut = written.finish_reason == "length"
        return {
            "id": response_id,
            "object": "response",
            "created_at": int(time.time()),
            "model": body.get("model", self._name),
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [
                {"type": "reasoning", "id": f"rs_{response_id}", "summary": summary},
                {**message, "status": "incomplete" if cut else "completed"},
            ],
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "usage": {
                "input_tokens": written.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": written.output_tokens,
                "output_tokens_details": {"reasoning_tokens": len(trace.split())},
                "total_tokens": written.input_tokens + written.output_tokens,
            },
        }


def main() -> None:
    """Serve until stopped, or until the process that started the server is gone."""
    parser = argparse.ArgumentParser(description="serve a miniature model over the Responses API")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--trace-log", type=Path)
    parser.add_argument("--parent", type=int, help="end when the process of this id is no longer the parent")
    options = parser.parse_args()
    if options.parent:
        threading.Thread(target=end_with, args=(options.parent,), daemon=True).start()
    server = Server(options.model, Journal(options.trace_log) if options.trace_log else None)
    uvicorn.run(server.app(), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
