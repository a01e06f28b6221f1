"""Uploads: resumed from the server's part list, through refusals and stumbles, two at once, wrong files in words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import World, make_footage
from tests.web.fake_gateway import until
from tests.web.seeding import only

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def add_game(world: World, page: Page, *files: Path) -> None:
    await page.get_by_label("Add a game").last.set_input_files(list(files) or [world.footage])


def ready(world: World) -> bool:
    videos = world.gateway.product.tables["videos"].values()
    return bool(videos) and all(video["state"] == "ready" for video in videos)


async def test_after_a_reload_only_what_is_missing_is_sent(world: World) -> None:
    page = await world.open()
    world.store.delay_s = 0.15
    await add_game(world, page)
    await until(lambda: len(world.store.puts) >= 6)
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.reload()
    world.store.delay_s = 0
    video = only(world.gateway.product.tables["videos"])
    await expect(page.get_by_text("was interrupted")).to_be_visible()
    await until(lambda: not world.store.under_way)  # what was on its way may still arrive
    there = set(world.store.parts[video["id"]])
    world.store.puts.clear()
    await page.get_by_label("Choose the file again").last.set_input_files(world.footage)
    await until(lambda: ready(world))
    assert {number for _, number in world.store.puts}.isdisjoint(there)
    assert (world.store.folder / video["id"]).read_bytes() == world.footage.read_bytes()
    await expect(page.get_by_text("was interrupted")).to_have_count(0)


async def test_another_file_is_refused_in_words(world: World, tmp_path: Path) -> None:
    page = await world.open()
    world.store.held.clear()
    await add_game(world, page)
    await expect(page.get_by_text("Uploading:")).to_be_visible()
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.reload()
    other = tmp_path / "other.mp4"
    other.write_bytes(b"\0" * world.footage.stat().st_size)
    await page.get_by_label("Choose the file again").last.set_input_files(other)
    await expect(page.get_by_text("This is another file. Choose “cup_final_first_half.mp4”")).to_be_visible()
    world.store.held.set()


async def test_refused_addresses_and_a_stumbling_store_do_not_end_an_upload(world: World) -> None:
    world.errors.expected += ["403 (Forbidden)", "500 (Internal Server Error)", "503 (Service Unavailable)"]
    page = await world.open()
    world.store.faults = [403, 500, 503, 403]
    await add_game(world, page)
    await until(lambda: ready(world))
    assert (
        world.store.folder / only(world.gateway.product.tables["videos"])["id"]
    ).read_bytes() == world.footage.read_bytes()


async def test_an_upload_waits_for_the_gateway_and_goes_on(world: World) -> None:
    world.errors.expected.append("net::ERR_")
    page = await world.open()
    world.store.delay_s = 0.1
    await add_game(world, page)
    await until(lambda: len(world.store.puts) >= 3)
    await world.gateway.stop()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_be_visible()
    await expect(page.get_by_text("The upload stopped")).to_have_count(0)
    world.store.delay_s = 0
    await world.gateway.start()
    await until(lambda: ready(world))


async def test_two_halves_make_one_game_and_are_both_sent(world: World, tmp_path: Path) -> None:
    second = tmp_path / "second_half.mp4"
    make_footage(second, seconds=3)
    page = await world.open()
    await add_game(world, page, world.footage, second)
    await expect(page.get_by_role("button", name="Video 2")).to_be_visible()
    await until(lambda: len(world.gateway.product.tables["videos"]) == 2 and ready(world))
    assert len(world.gateway.product.tables["games"]) == 1
    await page.get_by_role("button", name="Video 2").click()
    await expect(page.get_by_label("Time", exact=True)).to_contain_text("/ 0:03")
    await page.get_by_role("button", name="Clip ends here").click()
    await page.get_by_label("Start", exact=True).fill("1")
    await page.get_by_label("End", exact=True).fill("2")
    await page.get_by_role("button", name="Save clip").click()
    await page.get_by_role("button", name="Video 1").click()
    await expect(page.get_by_label("Time", exact=True)).to_contain_text("/ 0:12")
    await page.get_by_role(
        "button", name="Play Clip without a name"
    ).click()  # of the other video: shown, and played from its start
    await expect(page.get_by_label("Time", exact=True)).to_contain_text("0:02.0 / 0:03")


async def test_a_video_that_cannot_be_read_says_why(world: World) -> None:
    world.gateway.product.reject = "There is no picture in this file."
    page = await world.open()
    await add_game(world, page)
    await expect(page.get_by_text("There is no picture in this file.")).to_be_visible()
    await page.get_by_role("button", name="Remove video").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.get_by_text("This game has no video yet.")).to_be_visible()


async def test_a_file_that_this_browser_cannot_play_is_sent_all_the_same(world: World, tmp_path: Path) -> None:
    odd = tmp_path / "old_camera.avi"
    odd.write_bytes(b"RIFF" + b"\1" * 150_000)
    page = await world.open()
    await add_game(world, page, odd)
    await expect(page.get_by_text("This browser cannot play this file.")).to_be_visible()
    await until(lambda: ready(world))
    assert only(world.gateway.product.tables["videos"])["content_type"] == "video/x-msvideo"
