"""A client of the gateway's API, as a script of a user's would be: for the sample game, the demo and the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from chassis.ids import uuid7

FINAL = ("succeeded", "failed", "cancelled")
PATIENCE_S = 30.0


class ApiError(Exception):
    """An answer that is an error: its status and its problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('type', '')}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem


@dataclass
class Answer:
    """An answer: its status, its JSON, its headers."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class Api:
    """One page or script of one user."""

    http: aiohttp.ClientSession
    origin: str
    client_id: str = field(default_factory=uuid7)
    etag: str | None = None

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, retry: bool = True
    ) -> Answer:
        """One request under /api, repeated with its key while the system is out of reach; any status is an answer."""
        sent = {"X-Client-Id": self.client_id, "Idempotency-Key": uuid7()}
        if path == "/session" and method != "GET":
            self.etag = None  # what was read was another user's
        elif method != "GET":
            if self.etag is None:  # what is not read yet cannot be vouched for
                await self.ask("GET", "/library", retry=retry)
            if self.etag is not None:
                sent["If-Match"] = self.etag
        sent.update(headers or {})
        data = None if body is None else json.dumps(body)
        if method != "GET":
            sent["Content-Type"] = "application/json"
        deadline = asyncio.get_running_loop().time() + (PATIENCE_S if retry else 0)
        while True:
            try:
                async with self.http.request(
                    method, f"{self.origin}/api{path}", data=data, headers=sent, allow_redirects=False
                ) as answer:
                    text = await answer.text()
                    got = Answer(answer.status, json.loads(text) if text else None, answer.headers)
                if got.status not in (429, 502, 503, 504) or asyncio.get_running_loop().time() > deadline:
                    if "ETag" in got.headers and got.status < 400:
                        self.etag = got.headers["ETag"]
                    return got
            except (aiohttp.ClientError, TimeoutError):
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.3)

    async def get(self, path: str) -> Any:
        """The JSON at a path; ApiError."""
        return _body(await self.ask("GET", path))

    async def post(self, path: str, body: Any = None) -> Any:
        """What a POST answers; ApiError."""
        return _body(await self.ask("POST", path, {} if body is None else body))

    async def put(self, path: str, body: Any) -> Any:
        """What a PUT answers; ApiError."""
        return _body(await self.ask("PUT", path, body))

    async def upload(self, game_id: str, file: Path, content_type: str = "video/mp4") -> dict[str, Any]:
        """Uploads a file into a game, part by part through presigned URLs; the video, checked."""
        size = (await asyncio.to_thread(file.stat)).st_size
        new = {"file_name": file.name, "size_bytes": size, "content_type": content_type}
        made = await self.post(f"/games/{game_id}/videos", new)
        video_id, upload = made["video"]["id"], made["upload"]
        missing = [n for n in range(1, upload["part_count"] + 1) if n not in upload["parts_done"]]
        for at in range(0, len(missing), 20):
            signed = await self.post(f"/videos/{video_id}/upload/parts", {"part_numbers": missing[at : at + 20]})
            for part in signed["parts"]:
                with file.open("rb") as source:
                    source.seek((part["number"] - 1) * upload["part_size_bytes"])
                    data = source.read(part["size_bytes"])
                async with self.http.put(part["url"], data=data, headers=part["headers"]) as answer:
                    answer.raise_for_status()
        return dict(await self.post(f"/videos/{video_id}/upload/complete"))

    async def export(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Asks for an export; as it was accepted."""
        return dict(await self.post("/exports", wanted))

    async def finished(
        self, export_id: str, seen: Callable[[dict[str, Any]], None] = lambda export: None, timeout_s: float = 300
    ) -> dict[str, Any]:
        """The export when it is over, told of by WebSocket, looked at by GET when that is silent."""
        async with asyncio.timeout(timeout_s):
            while True:
                export = await self.get(f"/exports/{export_id}")
                seen(export)
                if export["state"] in FINAL:
                    return dict(export)
                try:
                    async with self.socket({export_id: export["sequence"]}) as messages:
                        async for message in messages:
                            if message.get("type") == "export" and message["export"]["id"] == export_id:
                                seen(message["export"])
                                if message["export"]["state"] in FINAL:
                                    break
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.5)

    @asynccontextmanager
    async def socket(self, exports: Mapping[str, int]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The messages of a WebSocket; they end after 15 s of silence."""
        async with self.http.ws_connect(f"{self.origin}/ws") as socket:
            await socket.send_json({"type": "hello", "client_id": self.client_id, "exports": dict(exports)})

            async def messages() -> AsyncIterator[dict[str, Any]]:
                while True:
                    message = await socket.receive(timeout=15)
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        return
                    yield json.loads(message.data)

            yield messages()

    async def download(self, url: str, target: Path) -> str:
        """Follows a file's redirect and saves it; the file name that the store suggests."""
        async with self.http.get(f"{self.origin}{url}?download=1") as answer:
            answer.raise_for_status()
            with target.open("wb") as file:
                async for block in answer.content.iter_chunked(1 << 18):
                    file.write(block)
            return answer.headers.get("Content-Disposition", "")


def _body(answer: Answer) -> Any:
    if answer.status >= 400:
        raise ApiError(answer.status, answer.body or {})
    return answer.body


@asynccontextmanager
async def connect(origin: str, *, anonymous: bool = False) -> AsyncIterator[Api]:
    """A client; `anonymous` makes a user of its own, otherwise it is this machine's `dev-local`."""
    jar = aiohttp.CookieJar(unsafe=True)
    timeout = aiohttp.ClientTimeout(total=60, sock_connect=5)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout) as http:
        api = Api(http, origin)
        if anonymous:
            await api.post("/session")
        yield api
