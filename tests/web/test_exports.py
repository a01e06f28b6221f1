"""Exports: live by socket, by polling without one, through a reload, cancelled, failed in words, tried again."""

from __future__ import annotations

import shutil

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import World, holds
from tests.web.fake_gateway import until
from tests.web.seeding import seed_game, seed_reel

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def start_export(world: World) -> tuple[Page, str]:
    """A reel's page with an export begun; the export's id."""
    seed_game(world, clips=2)
    reel = seed_reel(world)
    page = await world.open(f"/reels/{reel['id']}")
    await page.get_by_role("button", name="Export", exact=True).click()
    await expect(page.get_by_text("Waiting to start")).to_be_visible()
    return page, newest(world)


def newest(world: World) -> str:
    return max(world.gateway.product.tables["exports"])


async def test_without_a_socket_progress_is_asked_for(world: World) -> None:
    world.errors.expected.append("WebSocket connection")
    world.gateway.refuse_sockets = True
    page, export = await start_export(world)
    world.gateway.product.advance(export, state="running", progress=0.3)
    await expect(page.get_by_text("Making it: 30%")).to_be_visible()
    world.gateway.product.advance(export, progress=0.2)
    world.gateway.product.advance(export, progress=0.6)
    await expect(page.get_by_text("Making it: 60%")).to_be_visible()


async def test_percent_never_goes_back_and_survives_a_reload(world: World) -> None:
    page, export = await start_export(world)
    await until(lambda: bool(world.gateway.sockets))
    await world.gateway.advance(export, state="running", progress=0.5)
    await expect(page.get_by_text("Making it: 50%")).to_be_visible()
    await world.gateway.advance(export, progress=0.1, phase="joining")
    await expect(page.get_by_text("Making it: 50%")).to_be_visible()
    await world.gateway.advance(export, progress=0.55)
    await page.reload()
    await expect(page.get_by_text("Making it: 55%")).to_be_visible()
    await page.get_by_role("link", name="Games and reels").click()
    await expect(page.get_by_text("Being made: 55%")).to_be_visible()


async def test_cancel_and_again(world: World) -> None:
    page, _ = await start_export(world)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("heading", name="Cancelled")).to_be_visible()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("Waiting to start")).to_be_visible()
    assert len(world.gateway.product.tables["exports"]) == 2


async def test_a_failure_is_said_in_words_with_its_trace(world: World) -> None:
    page, export = await start_export(world)
    await until(lambda: bool(world.gateway.sockets))
    error = {"code": "source_unreadable", "message": "The footage cannot be read after 0:07.", "retryable": True}
    await world.gateway.advance(export, state="failed", error=error, finished_at="2026-05-03T10:00:00Z")
    card = page.get_by_label("Export of Best of spring")
    await expect(card).to_contain_text("The footage cannot be read after 0:07.")
    await expect(card).to_contain_text("ab" * 16)
    await card.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("Waiting to start")).to_be_visible()


async def test_the_clips_of_a_game_are_cut_out_and_played(world: World) -> None:
    game = seed_game(world, clips=3)
    shutil.copy(world.footage, world.store.folder / "output.mp4")
    page = await world.open(f"/games/{game['id']}")
    await page.get_by_label("Use “Moment 2” in the reel").uncheck()
    await page.get_by_role("button", name="Just cut the clips out").click()
    await expect(page.get_by_text("Waiting to start")).to_be_visible()
    [(_, _, body)] = world.gateway.requests("POST /api/exports")
    assert (body["kind"], len(body["clip_ids"])) == ("annotate", 2)
    await world.gateway.advance(newest(world), state="succeeded")
    video = page.locator(".result video")
    await video.evaluate("element => element.play()")
    await holds(video, "element => element.currentTime > 0.1")


async def test_the_frame_is_dragged_by_mouse_and_by_keys_and_saved(world: World) -> None:
    seed_game(world, clips=1)
    reel = seed_reel(world)
    page = await world.open(f"/reels/{reel['id']}")
    box = page.get_by_role("slider", name="What the reel shows")
    before = await box.bounding_box()
    assert before is not None
    await page.mouse.move(before["x"] + before["width"] / 2, before["y"] + 30)
    await page.mouse.down()
    await page.mouse.move(before["x"] + before["width"] / 2 + 60, before["y"] + 30, steps=4)
    await page.mouse.up()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    [dragged] = framed(world, reel["id"])
    stage = await page.locator(".crop .stage").bounding_box()
    assert stage is not None
    assert dragged["x"] == pytest.approx(0.5 - 81 / 512 + 60 / stage["width"], abs=0.005)
    assert dragged["width"] * 16 / 9 / dragged["height"] == pytest.approx(9 / 16)
    await box.press("ArrowLeft")
    await expect(page.get_by_text("Saving…")).to_be_visible()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    [nudged] = framed(world, reel["id"])
    assert nudged["x"] == pytest.approx(dragged["x"] - 0.02)
    await page.get_by_role("button", name="Back to the middle").click()
    await expect(page.get_by_text("Without it the middle is shown")).to_be_visible()
    assert framed(world, reel["id"]) == []


def framed(world: World, reel: str) -> list[dict[str, float]]:
    [clip] = world.gateway.product.tables["reels"][reel]["clips"]
    return list(clip["framing"]["crop_keys"]) if clip["framing"] else []
