"""Stands for `vllm serve`: the options and bodies it takes are vLLM's.

    python -m tests.stand_ins.serve serve MODEL --port PORT [--trouble FILE] [options of vLLM]

With --trouble, every third request is answered 503 until it is asked again.
"""

import argparse
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.stand_ins.vllm import SIGNATURES, expect, written
from tracepipe.engines.settings import TransformersEngine
from tracepipe.engines.transformers import Transformers


def application(engine: Transformers, model: str, trouble: bool) -> Starlette:
    numbers = itertools.count(1)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({})

    async def complete(request: Request) -> JSONResponse:
        body: dict[str, Any] = await request.json()
        if trouble and next(numbers) % 3 == 0:
            return JSONResponse({}, status_code=503)
        try:
            expect(body, "CompletionRequest")
        except TypeError as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=400)
        if body["model"] != model:
            return JSONResponse({"error": {"message": f"there is no model {body['model']}"}}, status_code=404)
        tokens, reason = written(engine, body["prompt"], SimpleNamespace(**body))
        shown = tokens if body["return_token_ids"] else None
        return JSONResponse({"choices": [{"index": 0, "text": "", "finish_reason": reason, "token_ids": shown}]})

    return Starlette(routes=[Route("/health", health), Route("/v1/completions", complete, methods=["POST"])])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--trouble", action="store_true")
    for name in SIGNATURES["EngineArgs"]:
        if name not in ("model",) and not name.startswith("_"):
            parser.add_argument(f"--{name.replace('_', '-')}")
    options = parser.parse_args()
    engine = Transformers(options.model, TransformersEngine())
    named = options.served_model_name or options.model
    assert Path(options.tokenizer) == Path(options.model)
    app = application(engine, named, options.trouble)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
