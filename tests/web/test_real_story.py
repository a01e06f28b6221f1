"""The whole job by hand on the real system: footage up, clips marked, framed, exported, watched, downloaded, probed."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from devstack import app_build, footage, settings
from devstack.stack import Stack, boot
from tests.web.conftest import LAPTOP, Errors, holds, watch

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("web-system")]

EXPORT_LIMIT_MS = 90_000
WATCH_PROGRESS = """() => {
  window.seen = [];
  const look = () => {
    const bar = document.querySelector('.export progress');
    if (bar) window.seen.push(bar.value);
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


@dataclass
class Real:
    """The running system and a page of its app."""

    stack: Stack
    page: Page
    errors: Errors
    footage: Path


@pytest.fixture(scope="session")
def stack(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole system for the tests of this file."""
    data = tmp_path_factory.mktemp("system")
    with (shared_folder / "app.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        app_build.build(data / "logs" / "build.log")
    with boot(settings.free(data)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def real(chrome: Browser, stack: Stack, tmp_path: Path) -> AsyncIterator[Real]:
    """A page on the running system."""
    context = await chrome.new_context(viewport=LAPTOP, accept_downloads=True, locale="en-GB")
    context.set_default_timeout(60_000)
    errors = Errors()
    page = await context.new_page()
    watch(page, errors)
    await page.goto(stack.settings.web_origin)
    yield Real(stack, page, errors, footage.with_sound(tmp_path))
    await context.close()
    assert errors.unexpected() == []


async def mark(page: Page, start_s: float, end_s: float, name: str) -> None:
    """Marks a clip with the keys I and O, names and saves it."""
    video = page.locator(".player video")
    await holds(video, "element => element.readyState >= 2", 20)
    await video.evaluate(f"element => element.currentTime = {start_s}")
    await page.keyboard.press("i")
    await video.evaluate(f"element => element.currentTime = {end_s}")
    await page.keyboard.press("o")
    form = page.get_by_role("form", name="New clip")
    await form.get_by_label("Name").fill(name)
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_role("button", name=f"Play {name}")).to_be_visible()
    await page.get_by_role("heading", level=1).focus()


async def test_from_a_games_footage_to_a_finished_reel(real: Real, tmp_path: Path) -> None:
    page = real.page
    await page.get_by_label("Add a game").last.set_input_files(real.footage)
    await mark(page, 1, 3, "The leader comes by")
    await mark(page, 5, 6.5, "The chase")
    await expect(page.locator(".upload")).to_have_count(0, timeout=60_000)

    await page.get_by_role("radio", name="Tall 9:16").check()
    await page.get_by_role("button", name="Make a reel of 2 clips").click()
    await page.get_by_role("slider", name="What the reel shows").press("ArrowRight")
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.evaluate(WATCH_PROGRESS)
    async with page.expect_response(lambda answer: answer.url.endswith("/api/exports")) as asking:
        await page.get_by_role("button", name="Export", exact=True).click()
    asked = await asking.value
    # The click is the root of the trace that runs through the services.
    assert (await asked.request.all_headers())["traceparent"].split("-")[1] == (await asked.json())["trace_id"]
    download = page.get_by_role("link", name="Download")
    await expect(download).to_be_visible(timeout=EXPORT_LIMIT_MS)
    seen = await page.evaluate("window.seen")
    assert seen == sorted(seen)
    assert any(0 < value < 100 for value in seen), f"the progress was not live: {seen}"

    video = page.locator(".result video")
    await video.evaluate("element => element.play()")
    await holds(video, "element => element.currentTime > 0.3", 20)
    async with page.expect_download() as saving:
        await download.click()
    reel = tmp_path / (await saving.value).suggested_filename
    await (await saving.value).save_as(reel)
    assert reel.suffix == ".mp4"
    probe(reel)


def probe(reel: Path) -> None:
    """A tall H.264 video with sound, as long as its clips, that starts to play before it is all there."""
    with av.open(str(reel)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert picture.codec_context.name == "h264"
        assert picture.codec_context.width * 16 == picture.codec_context.height * 9
        assert sound.codec_context.name == "aac"
        frames = sum(1 for _ in container.decode(picture))
        assert picture.average_rate is not None
        assert frames / float(picture.average_rate) == pytest.approx(3.5, abs=0.1)
    head = reel.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")


async def test_a_gateway_killed_while_somebody_types_loses_nothing(real: Real) -> None:
    real.errors.expected += ["net::ERR_", "WebSocket connection"]
    page, stack = real.page, real.stack
    await page.get_by_label("Add a game").last.set_input_files(real.footage)
    await mark(page, 1, 3, "Before the crash")
    await expect(page.locator(".upload")).to_have_count(0, timeout=60_000)
    await page.get_by_role("button", name="Edit “Before the crash”").click()
    form = page.locator("form.clip-form")
    await form.get_by_label("Name").fill("Typed through the crash")
    stack.kill("gateway")
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_be_visible()
    stack.restart("gateway")
    await expect(page.get_by_role("button", name="Play Typed through the crash")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("button", name="Play Typed through the crash")).to_be_visible()
