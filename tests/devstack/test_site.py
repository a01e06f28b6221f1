"""The app's files, served as Cloudflare Pages would serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from devstack.site import BUILT_API, BUILT_MEDIA, Site

HEADERS = """\
/*
  Content-Security-Policy: connect-src http://localhost:8000 ws://localhost:8000 http://localhost:9000
  Cache-Control: no-cache

/assets/*
  ! Cache-Control
  Cache-Control: public, max-age=31536000, immutable
"""
FILES = {
    "index.html": '<meta name="reel-api" content="http://localhost:8000" /> the app',
    "404.html": "nothing is here",
    "assets/app.js": "hello()",
    "_headers": HEADERS,
    "_redirects": "/games/* / 200\n/old /new 301\n",
}
Client = TestClient[web.Request, web.Application]


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    folder = tmp_path / "dist"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "secret.html").write_text("not for you")
    app = web.Application()
    app.router.add_get("/{path:.*}", Site(folder, {BUILT_API: "localhost:9000", BUILT_MEDIA: "localhost:7000"}).answer)
    async with TestClient(TestServer(app)) as started:
        yield started


@pytest.mark.parametrize("path", ["/", "/games/0190", "/games/0190/clips?x=1"])
async def test_a_route_of_the_app_answers_the_app_with_this_machines_gateway(client: Client, path: str) -> None:
    answer = await client.get(path)
    text = await answer.text()
    # The gateway's port here is the store's port there: replaced in one pass.
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert 'content="http://localhost:9000"' in text and "8000" not in text
    assert answer.headers["Content-Security-Policy"] == (
        "connect-src http://localhost:9000 ws://localhost:9000 http://localhost:7000"
    )
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_an_asset_is_kept_for_ever_and_has_its_type(client: Client) -> None:
    answer = await client.get("/assets/app.js")
    assert (await answer.text(), answer.content_type) == ("hello()", "text/javascript")
    assert answer.headers.getall("Cache-Control") == ["public, max-age=31536000, immutable"]


@pytest.mark.parametrize(
    "path",
    ["/assets/gone.js", "/nothing", "/_headers", "/_redirects", "/..%2fsecret.html", "/%00", "/" + "x" * 3000, "/old"],
)
async def test_what_is_not_there_is_404_and_never_kept(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, await answer.text()) == (404, "nothing is here")
    assert answer.headers["Cache-Control"] == "no-store"


async def test_head_is_answered(client: Client) -> None:
    answer = await client.head("/")
    assert answer.status == 200 and await answer.read() == b""
