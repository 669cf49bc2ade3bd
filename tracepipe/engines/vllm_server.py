"""Generation through vLLM's server: prompts travel as tokens, so that a server renders nothing differently."""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from tracepipe.engines.generation import Call, EngineError, Generated, by_length
from tracepipe.engines.settings import Sampling, VllmServer
from tracepipe.engines.vllm import configured_ends, engine_arguments, read, sampling_arguments
from tracepipe.serving import free_port, running

_ATTEMPTS = 5
_NOT_IN_A_REQUEST = ("detokenize",)


class _Passing(RuntimeError):
    """A failure that another attempt may not meet."""


class Server:
    """A model behind a server: one of ours, started here and stopped by `close`, or one that is running."""

    def __init__(self, model: str, settings: VllmServer, log: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._ends = configured_ends(model, self.tokenizer)
        self._settings = settings
        self._name = settings.served_model or model
        self._held = ExitStack()
        self._url = settings.url or self._start(model, settings, log)

    def _start(self, model: str, settings: VllmServer, log: Path) -> str:
        port = free_port()
        places = {"python": sys.executable, "model": model, "port": port}
        command = [part.format(**places) for part in settings.command] + server_options(model, settings)
        address = f"http://127.0.0.1:{port}"
        self._held.enter_context(
            running(command, f"{address}/health", settings.ready_seconds, log, f"vLLM's server for {model}")
        )
        return f"{address}/v1"

    def generate(self, calls: Sequence[Call], sampling: Sampling) -> Iterator[Generated]:
        """Answer every call once; see `LocalEngine`."""
        yield from asyncio.run(self._all(by_length(calls), sampling))

    async def _all(self, calls: Sequence[Call], sampling: Sampling) -> list[Generated]:
        places = asyncio.Semaphore(self._settings.concurrency)
        key = os.environ.get(self._settings.api_key_env or "")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=self._settings.concurrency)
        async with httpx2.AsyncClient(timeout=None, limits=limits, headers=headers) as client:

            async def one(call: Call) -> Generated:
                async with places:
                    return await self._one(client, call, sampling)

            return await asyncio.gather(*(one(call) for call in calls))

    @retry(
        retry=retry_if_exception_type(_Passing),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(0.2, max=20),
        reraise=True,
    )
    async def _one(self, client: httpx2.AsyncClient, call: Call, sampling: Sampling) -> Generated:
        body = completion_body(self._name, call, sampling, self._ends)
        try:
            response = await client.post(f"{self._url}/completions", json=body)
        except httpx2.TransportError as error:
            raise _Passing(f"{call.key}: {self._url} cannot be reached: {error}") from None
        if response.status_code >= 500 or response.status_code == 429:
            raise _Passing(f"{call.key}: {self._url} answered with status {response.status_code}")
        if response.status_code != 200:
            raise EngineError(f"{call.key}: {self._url} refused it ({response.status_code}): {response.text[:500]}")
        (choice,) = response.json()["choices"]
        if choice.get("token_ids") is None:
            raise EngineError(f"{self._url} returns no token_ids; it must be vLLM 0.29 or newer")
        return read(self.tokenizer, call, choice["token_ids"], choice["finish_reason"], self._ends)

    def close(self) -> None:
        """Stop the server, if it is ours."""
        self._held.close()


def completion_body(name: str, call: Call, sampling: Sampling, ends: Sequence[int]) -> dict[str, Any]:
    """Return the body of a request to `/v1/completions`."""
    fields = sampling_arguments(sampling, call.seed, ends)
    asked = {name: value for name, value in fields.items() if value is not None and name not in _NOT_IN_A_REQUEST}
    return {"model": name, "prompt": call.tokens, "add_special_tokens": False, "return_token_ids": True, **asked}


def server_options(model: str, settings: VllmServer) -> list[str]:
    """Return the command line options of `vllm serve`, the same settings as the offline engine's."""
    options: list[str] = []
    for name, value in engine_arguments(model, settings).items():
        if value is None or value is False or name == "model":
            continue
        options.append(f"--{name.replace('_', '-')}")
        options += [] if value is True else [str(value)]
    return options
