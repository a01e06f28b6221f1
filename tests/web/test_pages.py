"""How the app is served, and every screen at every size: by keyboard, with labels, with room for a thumb."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, ViewportSize, expect

from tests.web import site
from tests.web.conftest import LAPTOP, PHONE, World, holds
from tests.web.seeding import only, seed_game, seed_reel

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = site.APP / "node_modules" / "axe-core" / "axe.min.js"
SIZES = [(320, 568), (390, 844), (768, 1024), (1366, 768), (1920, 1080)]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIOLATIONS = """async rules => (await axe.run({runOnly: rules})).violations
  .map(({id, nodes}) => `${id}: ${nodes.map(node => node.html).slice(0, 3).join(' ')}`)"""
# Smaller than a thumb, 44 px: of each label and its input, the larger counts.
SMALL_TARGETS = """() => [...document.querySelectorAll('button, a.button, select, input, summary, .bar a')]
  .filter(element => !element.disabled && element.tabIndex >= 0 && !element.classList.contains('skip'))
  .map(element => ({
    text: element.ariaLabel || element.textContent || element.name,
    box: (element.closest('label') || element).getBoundingClientRect(),
  }))
  .filter(({box}) => box.width > 0 && (box.height < 43.5 || box.width < 43.5))
  .map(({text, box}) => `${text}: ${Math.round(box.width)} x ${Math.round(box.height)}`)"""


async def no_overflow(page: Page) -> None:
    across = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert across[0] <= across[1], f"{page.url} is {across[0]} px wide in {across[1]}"


async def accessible(page: Page) -> None:
    """No violation of WCAG 2.2 AA that a machine can see."""
    if not await page.evaluate("typeof axe !== 'undefined'"):
        await page.evaluate(AXE.read_text())
    assert await page.evaluate(VIOLATIONS, RULES) == []


async def test_documents_are_fresh_assets_are_forever_and_nothing_else_is_html(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(world.app + "/games/some-id") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            policy = answer.headers["Content-Security-Policy"]
            html = await answer.text()
        async with http.get(world.app + "/assets/missing.js") as answer:
            assert answer.status == 404
        async with http.get(world.app + "/nothing/here") as answer:
            assert answer.status == 404
            assert "There is nothing here" in await answer.text()
        asset = html.split('src="')[1].split('"')[0]
        async with http.get(world.app + asset) as answer:
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert f'content="{world.gateway.origin}"' in html
    assert "default-src 'none'" in policy
    api, store = f"localhost:{world.gateway.port}", world.gateway.product.store_origin
    assert f"connect-src 'self' http://{api} ws://{api} {store};" in policy
    assert "unsafe" not in policy


async def test_the_bundle_stays_small(built: Path) -> None:
    sizes = {".js": 0, ".css": 0}
    for file in (built / "assets").iterdir():
        sizes[file.suffix] += len(gzip.compress(file.read_bytes()))
    assert sizes[".js"] <= 30_000
    assert sizes[".css"] <= 5_000
    assert len(json.loads((site.APP / "package.json").read_text())["dependencies"]) == 2


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
async def test_every_screen_is_accessible_and_fits(world: World, viewport: ViewportSize) -> None:
    shutil.copy(world.footage, world.store.folder / "output.mp4")
    page = await world.open()
    await expect(page.get_by_text("Begin with the video of a game.")).to_be_visible()
    await accessible(page)
    game = seed_game(world, clips=2)
    reel = seed_reel(world)
    await page.goto(f"{world.app}/games/{game['id']}")
    await page.get_by_role("button", name="Clip starts here").click()
    await page.get_by_role("button", name="Edit “Moment 1”").click()
    await page.get_by_role("button", name="Edit details").click()
    await (
        page.get_by_role("button", name="Delete “Moment 2”")
        .or_(page.get_by_role("button", name="Delete", exact=True))
        .first.click()
    )
    await accessible(page)
    await no_overflow(page)
    if viewport is PHONE:
        assert await page.evaluate(SMALL_TARGETS) == []
    await page.goto(f"{world.app}/reels/{reel['id']}")
    await page.get_by_role("button", name="Export", exact=True).click()
    await expect(page.get_by_text("Waiting to start")).to_be_visible()
    await accessible(page)
    export = only(world.gateway.product.tables["exports"])["id"]
    await world.gateway.advance(export, state="succeeded")
    await expect(page.get_by_role("link", name="Download reel.mp4")).to_be_visible()
    await accessible(page)
    await no_overflow(page)
    if viewport is PHONE:
        assert await page.evaluate(SMALL_TARGETS) == []
    await page.goto(f"{world.app}/games/of-somebody-else")
    await expect(page.get_by_text("This game is not here")).to_be_visible()
    await accessible(page)


@pytest.mark.parametrize("clips", [0, 1, 200])
async def test_no_sideways_overflow_at_any_size(world: World, clips: int) -> None:
    game = seed_game(world, clips=clips, name="A name_without_a_place_to_break_" * 4)
    reel = seed_reel(world)
    page = await world.open()
    for path in ("/", f"/games/{game['id']}", f"/reels/{reel['id']}"):
        await page.goto(world.app + path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        for width, height in SIZES:
            await page.set_viewport_size({"width": width, "height": height})
            await no_overflow(page)


async def test_the_whole_job_by_keyboard_alone(world: World) -> None:
    game = seed_game(world)
    page = await world.open()
    await page.get_by_role("link", name="Sample game").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Sample game")).to_be_focused()
    video = page.locator("video")
    await holds(video, "element => element.readyState >= 2")
    await page.keyboard.press("l")
    await expect(page.get_by_label("Time", exact=True)).to_contain_text("0:05.0")
    await page.keyboard.press("j")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press(".")
    await expect(page.get_by_label("Time", exact=True)).to_contain_text("0:01.0")
    await page.keyboard.press("i")
    form = page.get_by_role("form", name="New clip")
    name = form.get_by_label("Name")
    await name.focus()
    await page.keyboard.type("joke il, ok.")  # every shortcut's letter, typed: a word, not a command
    await expect(name).to_have_value("joke il, ok.")
    await expect(form.get_by_label("Start", exact=True)).to_have_value("0:01.0")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Play joke il, ok.")).to_be_visible()
    clip = only(world.gateway.product.tables["clips"])
    assert (clip["game_id"], clip["end_ms"] - clip["start_ms"]) == (game["id"], 8000)
    await page.get_by_role("heading", name="Sample game").focus()
    await page.keyboard.press(" ")
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await page.keyboard.press("k")
    await expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


async def test_a_clip_plays_from_its_start_to_its_end_and_stops(world: World) -> None:
    game = seed_game(world, clips=3)
    page = await world.open(f"/games/{game['id']}")
    video = page.locator("video")
    await holds(video, "element => element.readyState >= 2")
    await page.get_by_role("button", name="Play Moment 3").click()
    await holds(video, "element => !element.paused && element.currentTime > 2")
    await holds(video, "element => element.paused")
    assert await video.evaluate("element => element.currentTime") == pytest.approx(3.0, abs=0.05)
