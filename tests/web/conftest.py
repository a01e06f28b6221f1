"""What the browser tests share: a Chromium, the built app, a fake gateway and store; a console error fails a test."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    ViewportSize,
    async_playwright,
    expect,
)

from tests.web import browser as chromium_finder
from tests.web import site
from tests.web.fake_gateway import FakeGateway
from tests.web.fake_product import Product
from tests.web.fake_store import FakeStore

expect.set_options(timeout=60_000)  # a loaded machine is no failure

LAPTOP: ViewportSize = {"width": 1366, "height": 768}
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass
class Errors:
    """What a page complained about. `expected` are parts of complaints that a test brings about itself."""

    seen: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.seen.append(f"{message.text} ({message.location.get('url', '')})")

    def unexpected(self) -> list[str]:
        return [text for text in self.seen if not any(part in text for part in self.expected)]


@dataclass
class World:
    """One test's app, gateway, store and browser context."""

    app: str
    gateway: FakeGateway
    store: FakeStore
    context: BrowserContext
    errors: Errors
    footage: Path

    async def open(self, path: str = "/") -> Page:
        """A new tab."""
        page = await self.context.new_page()
        watch(page, self.errors)
        await page.goto(self.app + path)
        return page


async def holds(element: Locator, condition: str, limit_s: float = 60.0) -> None:
    """Waits until the script says yes of the element.

    Playwright's own wait evaluates text inside the page, which the app's content policy forbids.
    """
    ends_s = time.monotonic() + limit_s
    while not await element.evaluate(condition):
        assert time.monotonic() < ends_s, f"not within {limit_s:g} s: {condition}"
        await asyncio.sleep(0.05)


def watch(page: Page, errors: Errors) -> None:
    """Keeps what the page's console and scripts complain about."""
    page.on("console", errors.console)
    page.on("pageerror", lambda error: errors.seen.append(f"uncaught: {error}"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder for all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent
    shared = folder / "web"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def built(shared_folder: Path) -> Path:
    """The app, built."""
    return site.build(shared_folder / "dist")


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of moving picture with sound, as a camera would write it; generated."""
    path = tmp_path_factory.mktemp("footage") / "cup_final_first_half.mp4"
    make_footage(path, seconds=12)
    return path


def make_footage(path: Path, seconds: int) -> None:
    """H.264 and AAC, 640 × 360 at 30 frames a second."""
    picture = f"testsrc2=size=640x360:rate=30:duration={seconds}"
    sound = f"sine=frequency=440:duration={seconds}"
    encode = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-movflags",
        "+faststart",
    ]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        picture,
        "-f",
        "lavfi",
        "-i",
        sound,
        *encode,
        str(path),
    ]
    subprocess.run(command, check=True, timeout=120, capture_output=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chrome() -> AsyncIterator[Browser]:
    """One Chromium for the session."""
    path = await asyncio.to_thread(chromium_finder.chromium)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(chromium_finder.FLAGS))
        yield browser
        await browser.close()


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    """Starts an application on a free port; its runner and origin."""
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    return runner, f"http://localhost:{runner.addresses[0][1]}"


@pytest.fixture
def viewport() -> ViewportSize:
    """A laptop's; a test parametrizes it for others."""
    return LAPTOP


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    chrome: Browser, built: Path, footage: Path, tmp_path: Path, viewport: ViewportSize
) -> AsyncIterator[World]:
    """A fresh app, gateway and store; at the end no console has complained."""
    store = FakeStore(tmp_path)
    gateway = FakeGateway(Product(store))
    store_runner, gateway.product.store_origin = await serve(store.application())
    await gateway.start()
    app_runner, origin = await serve(site.application(built, gateway.origin, gateway.product.store_origin))
    gateway.app_origin = store.app_origin = origin
    phone = viewport["width"] < 600
    context = await chrome.new_context(
        viewport=viewport, has_touch=phone, is_mobile=phone, accept_downloads=True, locale="en-GB"
    )
    context.set_default_timeout(60_000)
    errors = Errors()
    yield World(origin, gateway, store, context, errors, footage)
    await context.close()
    await gateway.stop()
    await app_runner.cleanup()
    await store_runner.cleanup()
    assert errors.unexpected() == []
