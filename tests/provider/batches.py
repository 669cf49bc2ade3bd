"""The fake provider's Batch API: files, batches, and the ways in which they end."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.provider.replies import bill, body_of

if TYPE_CHECKING:
    from tests.provider import Provider

BATCH_SHARE = 0.5


@dataclass
class Batches:
    """The batches of a provider.

    Attributes:
        polls: How often a batch is looked at before it ends.
        endings: How the next batches end, one after the other: a status, then `completed`. In `expired` ones every
            second request has no answer; `cancelled` ones have results, and lines missing from both files; in
            `errors only` every request ends in the error file.
        lose_creation: Whether the next batch is created and the answer to that lost.
        billed: USD by batch id.
        lines: Lines of each batch, by batch id.
    """

    polls: int = 1
    endings: list[str] = field(default_factory=list)
    lose_creation: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)
    billed: dict[str, float] = field(default_factory=dict)
    lines: dict[str, list[dict]] = field(default_factory=dict)

    def routes(self, provider: "Provider") -> list[Route]:
        """The endpoints; each refuses what the provider refuses."""

        def guarded(handle: Any) -> Any:
            async def endpoint(request: Request) -> Response:
                return provider.refusal(request) or await handle(request)

            return endpoint

        async def look(request: Request) -> Response:
            return self._look(request.path_params["id"], provider)

        return [
            Route("/v1/files", guarded(self._upload), methods=["POST"]),
            Route("/v1/files/{id}/content", guarded(self._content)),
            Route("/v1/batches", guarded(self._create), methods=["POST"]),
            Route("/v1/batches", guarded(self._list)),
            Route("/v1/batches/{id}", guarded(look)),
        ]

    async def _upload(self, request: Request) -> Response:
        body, boundary = await request.body(), request.headers["content-type"].partition("boundary=")[2]
        parts = body.split(b"--" + boundary.encode())
        (content,) = [part.partition(b"\r\n\r\n")[2][:-2] for part in parts if b'name="file"' in part]
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return JSONResponse(
            {"id": name, "object": "file", "bytes": len(content), "created_at": 1, "filename": "x", "purpose": "batch",
             "status": "processed"}
        )  # fmt: skip

    async def _content(self, request: Request) -> Response:
        return Response(self.files[request.path_params["id"]], media_type="application/octet-stream")

    async def _create(self, request: Request) -> Response:
        wanted = await request.json()
        name = f"batch_{len(self.created)}"
        self.created[name] = {
            "id": name,
            "object": "batch",
            "endpoint": wanted["endpoint"],
            "input_file_id": wanted["input_file_id"],
            "completion_window": wanted["completion_window"],
            "metadata": wanted["metadata"],
            "created_at": int(time.time()),
            "status": "in_progress",
        }
        self.looked[name] = 0
        self.lines[name] = [json.loads(line) for line in self.files[wanted["input_file_id"]].splitlines()]
        if self.lose_creation:
            self.lose_creation = False
            return JSONResponse({"error": {"message": "gateway timeout"}}, 504)
        return JSONResponse(self.created[name])

    async def _list(self, request: Request) -> Response:
        found = list(reversed(self.created.values()))
        return JSONResponse({"object": "list", "data": found, "has_more": False})

    def _look(self, name: str, provider: "Provider") -> Response:
        batch = self.created[name]
        self.looked[name] += 1
        if batch["status"] == "in_progress" and self.looked[name] > self.polls:
            self._end(batch, self.endings.pop(0) if self.endings else "completed", provider)
        return JSONResponse(batch)

    def _end(self, batch: dict[str, Any], ending: str, provider: "Provider") -> None:
        name = batch["id"]
        batch["status"] = "completed" if ending == "errors only" else ending
        self.billed[name] = 0.0
        if ending == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "too much"}]}
            return
        good = [] if ending == "errors only" else list(self._results(name, ending, provider))
        bad = list(self._errors(name, ending))
        for kind, lines in (("output", good), ("error", bad)):
            if lines:
                self.files[f"{kind}-{name}"] = "".join(
                    json.dumps(line, ensure_ascii=False) + "\n" for line in lines
                ).encode("utf-8", "surrogatepass")
                batch[f"{kind}_file_id"] = f"{kind}-{name}"

    def _results(self, name: str, ending: str, provider: "Provider") -> Iterator[dict]:
        for number, line in reversed(list(enumerate(self.lines[name]))):
            if ending != "completed" and number % 2:
                continue
            prompt = line["body"]["input"]
            provider.asked[prompt] += 1
            self.billed[name] += bill(prompt, BATCH_SHARE)
            words = provider.words(prompt).replace("garbage", "cut")
            body = json.loads(body_of("responses", prompt, words))
            yield {"id": f"line-{number}", "custom_id": line["custom_id"], "error": None,
                   "response": {"status_code": 200, "body": body}}  # fmt: skip

    def _errors(self, name: str, ending: str) -> Iterator[dict]:
        for number, line in enumerate(self.lines[name]):
            error = {"code": "batch_expired", "message": "not executed in time"}
            if ending == "expired" and number % 2:
                yield {"id": f"line-{number}", "custom_id": line["custom_id"], "response": None, "error": error}
            if ending == "errors only":
                response = {"status_code": 500, "body": {"error": {"message": "down"}}}
                yield {"id": f"line-{number}", "custom_id": line["custom_id"], "response": response, "error": None}
