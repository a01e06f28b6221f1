"""The gateway over fakes, behind its real listener, and a client that speaks its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from chassis import deadlines
from chassis.config import Base, Secret
from chassis.ids import uuid7
from gateway.__main__ import Gateway, assemble, wall_ms
from gateway.config import Config
from gateway.http.connections import Listener
from gateway.ports import Archive, Databases, Objects, Renderer
from tests.fakes.gateway_archive import AwayArchive
from tests.fakes.gateway_databases import FakeDatabases
from tests.fakes.gateway_objects import FakeObjects
from tests.fakes.gateway_renderer import FakeRenderer

ORIGIN = "http://localhost:5173"
USER = "dev-local"


def config(environment: str = "local", **changed: Any) -> Config:
    """Settings for a test; rates high enough not to matter."""
    base = Base("gateway", environment, "127.0.0.1:0", "info", Secret(""), {}, "", None)
    given: dict[str, Any] = {
        "base": base,
        "storage_address": "",
        "dbsync_addresses": (),
        "render_address": "",
        "app_origins": (ORIGIN,),
        "max_upload_bytes": 1 << 30,
        "rate_per_s": 10_000.0,
        "rate_burst": 10_000,
        "head_poll_s": 0.05,
        "max_pages": 50,
        "max_watches": 50,
    }
    return Config(**{**given, **changed})


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: Any

    @property
    def problem(self) -> str:
        """The last part of a problem's type."""
        return str(self.body["type"]).rpartition("/")[2]

    @property
    def version(self) -> str:
        """What the next If-Match says; after a POST without one, for a page that has seen all there is."""
        return self.headers.get("ETag") or f'"{self.headers["X-Database-Version"]}"'


class Client:
    """One live page: its own client id, its base version, its cookies."""

    def __init__(self, url: str, client_id: str | None = None) -> None:
        self.url = url
        self.client_id = client_id or uuid7()
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        match: str | None = None,
        key: str | None = None,
        **headers: str,
    ) -> Answer:
        """A request with the headers that the API wants; `headers` add or, when empty, remove."""
        sent = {"X-Client-Id": self.client_id}
        if method == "POST":
            sent["Idempotency-Key"] = key or uuid7()
        elif key is not None:
            sent["Idempotency-Key"] = key
        if match is not None:
            sent["If-Match"] = match
        for name, value in headers.items():
            sent[name.replace("_", "-")] = value
        sent = {name: value for name, value in sent.items() if value}
        content: dict[str, Any] = {"json": body} if body is not None else {}
        async with self.session.request(
            method, self.url + path, headers=sent, allow_redirects=False, **content
        ) as response:
            data = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(
                response.status,
                response.headers,
                await response.json(content_type=None) if is_json and data else data,
            )

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask("POST", path, body, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask("PUT", path, body, **options)

    async def patch(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.ask("DELETE", path, **options)


@dataclass
class Api:
    """The running gateway, its fakes and a page of the development user."""

    url: str
    gateway: Gateway
    databases: FakeDatabases
    objects: FakeObjects
    renderer: FakeRenderer
    page: Client
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def game(self, page: Client | None = None, name: str = "Final") -> str:
        """A new game's id."""
        answer = await (page or self.page).post("/api/games", {"name": name})
        assert answer.status == 201, answer
        return str(answer.body["id"])

    async def video(self, game_id: str, page: Client | None = None) -> str:
        """A new uploaded video's id."""
        page = page or self.page
        new = {"file_name": "first half.mp4", "size_bytes": 20 << 20, "content_type": "video/mp4"}
        made = await page.post(f"/api/games/{game_id}/videos", new)
        assert made.status == 201, made
        self.objects.put_all_parts()
        video_id = made.body["video"]["id"]
        ready = await page.post(f"/api/videos/{video_id}/upload/complete")
        assert ready.status == 200 and ready.body["state"] == "ready", ready
        return str(video_id)

    async def clip(self, game_id: str, video_id: str, page: Client | None = None, **more: Any) -> str:
        """A new clip's id."""
        new = {"video_id": video_id, "start_ms": 1000, "end_ms": 6000, "name": "Goal", **more}
        answer = await (page or self.page).post(f"/api/games/{game_id}/clips", new)
        assert answer.status == 201, answer
        return str(answer.body["id"])

    async def reel(self, clip_ids: list[str], page: Client | None = None, aspect: str = "9:16") -> str:
        """A new reel's id."""
        answer = await (page or self.page).post(
            "/api/reels", {"name": "Best of", "aspect": aspect, "clip_ids": clip_ids}
        )
        assert answer.status == 201, answer
        return str(answer.body["id"])

    async def story(self, page: Client | None = None) -> Story:
        """A game with a video, a clip, and a reel of it."""
        game_id = await self.game(page)
        video_id = await self.video(game_id, page)
        clip_id = await self.clip(game_id, video_id, page)
        return Story(game_id, video_id, clip_id, await self.reel([clip_id], page))

    async def finished(self, page: Client | None, user: str, body: dict[str, Any]) -> dict[str, Any]:
        """An export that has succeeded."""
        page = page or self.page
        made = await page.post("/api/exports", body)
        assert made.status == 202, made
        await self.renderer.succeed(user, made.body["id"])
        seen = await page.get(f"/api/exports/{made.body['id']}")
        assert seen.body["state"] == "succeeded", seen
        return dict(seen.body)


@dataclass(frozen=True)
class Story:
    """The ids of a small library."""

    game_id: str
    video_id: str
    clip_id: str
    reel_id: str


@dataclass(frozen=True)
class Serving:
    """A gateway behind its listener."""

    url: str
    gateway: Gateway
    tasks: set[asyncio.Task[None]]


@asynccontextmanager
async def serving(
    settings: Config, databases: Databases, archive: Archive, objects: Objects, renderer: Renderer, **clocks: Any
) -> AsyncIterator[Serving]:
    """The gateway over any ports, on a free port."""
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        with deadlines.unbounded():
            task = asyncio.create_task(work, name=name)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    gateway = assemble(settings, databases, archive, objects, renderer, spawn, **clocks)
    listener = Listener(gateway.application)
    port = await listener.start("127.0.0.1", 0)
    try:
        yield Serving(f"http://localhost:{port}", gateway, tasks)
    finally:
        ended = list(tasks)
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await listener.stop()


@asynccontextmanager
async def running(
    settings: Config | None = None, databases: FakeDatabases | None = None, **clocks: Any
) -> AsyncIterator[Api]:
    """The gateway over fakes, on a free port."""
    found, objects, renderer = databases or FakeDatabases(), FakeObjects(), FakeRenderer()
    settings = settings or config()
    async with (
        serving(settings, found, AwayArchive(), objects, renderer, **clocks) as started,
        Client(started.url) as page,
    ):
        yield Api(started.url, started.gateway, found, objects, renderer, page, started.tasks)


async def until(condition: Any, timeout_s: float = 60.0) -> None:
    """Waits until an async or plain condition holds."""
    async with asyncio.timeout(timeout_s):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            await asyncio.sleep(0.01)


__all__ = ["ORIGIN", "USER", "Api", "Client", "Serving", "Story", "config", "running", "serving", "until", "wall_ms"]
