"""As much of the hub as an upload asks for, on loopback: it keeps what it is sent."""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

COMMIT = "0" * 40


class Hub:
    """The state of the hub.

    Attributes:
        repositories: Name to what its creation said.
        files: Path to content, of all repositories.
        keys: The keys that were shown.
        refuses: Whether it answers uploads with 403 and repeats the key it was shown.
        public: Whether its repositories are.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict] = {}
        self.files: dict[str, bytes] = {}
        self.keys: set[str] = set()
        self.url = ""
        self.refuses = False
        self.public = False

    async def create(self, request: Request) -> Response:
        content = await request.json()
        self.keys.add(request.headers["authorization"])
        name = f"{content.get('organization') or 'me'}/{content['name']}"
        self.repositories[name] = content
        return JSONResponse({"url": f"{self.url}/{name}", "name": name, "id": name})

    async def preupload(self, request: Request) -> Response:
        if self.refuses:
            return JSONResponse({"error": f"not with {request.headers['authorization']}"}, 403)
        files = (await request.json())["files"]
        return JSONResponse(
            {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
        )

    async def commit(self, request: Request) -> Response:
        for line in (await request.body()).splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        address = f"{self.url}{request.url.path.removeprefix('/api').partition('/commit/')[0]}/commit/{COMMIT}"
        return JSONResponse({"commitUrl": address, "commitOid": COMMIT, "success": True})

    async def info(self, request: Request) -> Response:
        repository = f"{request.path_params['owner']}/{request.path_params['name']}"
        return JSONResponse({"id": repository, "sha": COMMIT, "private": not self.public, "siblings": []})

    async def validate(self, _: Request) -> Response:
        return JSONResponse({"errors": [], "warnings": []})


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub on a free port."""
    hub = Hub()
    routes = [
        Route("/api/repos/create", hub.create, methods=["POST"]),
        Route("/api/validate-yaml", hub.validate, methods=["POST"]),
        Route("/api/{kind}/{owner}/{name}/preupload/{revision}", hub.preupload, methods=["POST"]),
        Route("/api/{kind}/{owner}/{name}/commit/{revision}", hub.commit, methods=["POST"]),
        Route("/api/{kind}/{owner}/{name}/revision/{revision}", hub.info),
        Route("/api/{kind}/{owner}/{name}", hub.info),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    hub.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield hub
    server.should_exit = True
    thread.join()
