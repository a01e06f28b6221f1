"""The whole job by hand on the fake gateway: add a game, mark while it uploads, pick a shape, export, download."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.web.conftest import World, holds
from tests.web.fake_gateway import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_whole_job_by_hand(world: World) -> None:
    store, gateway = world.store, world.gateway
    store.held.clear()  # the upload waits, so that the clip is marked before it ends
    page = await world.open()
    await expect(page.get_by_text("Begin with the video of a game.")).to_be_visible()
    await page.get_by_label("Add a game").last.set_input_files(world.footage)
    await expect(page.get_by_role("heading", name="cup final first half")).to_be_visible()
    await expect(page.get_by_text("Uploading: ")).to_be_visible()

    video = page.locator("video")
    await holds(video, "element => element.readyState >= 2")
    await video.evaluate("element => element.currentTime = 2")
    await page.keyboard.press("i")
    await video.evaluate("element => element.currentTime = 5")
    await expect(page.get_by_label("Time", exact=True)).to_contain_text("0:05.0")
    await page.keyboard.press("o")
    form = page.get_by_role("form", name="New clip")
    await expect(form.get_by_text("3 s long.")).to_be_visible()
    await form.get_by_label("Name").fill("Goal by number 7")
    await form.get_by_label("4 of 5").check()
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_role("button", name="Play Goal by number 7")).to_be_visible()
    [clip] = gateway.product.tables["clips"].values()
    assert (clip["start_ms"], clip["end_ms"], clip["rating"]) == (2000, 5000, 4)

    store.held.set()
    await expect(page.get_by_text("Uploading")).to_have_count(0)
    [sent] = gateway.product.tables["videos"].values()
    assert sent["state"] == "ready"
    assert (store.folder / sent["id"]).read_bytes() == world.footage.read_bytes()

    await page.get_by_role("radio", name="Tall 9:16").check()
    await page.get_by_role("button", name="Make a reel of 1 clip").click()
    await expect(page.get_by_role("heading", name="cup final first half: highlights")).to_be_visible()
    await page.get_by_role("button", name="Export", exact=True).click()
    await expect(page.get_by_text("Waiting to start")).to_be_visible()
    [export] = gateway.product.tables["exports"].values()
    assert export["kind"] == "reel"
    await gateway.advance(export["id"], state="running", progress=0.42, eta_s=8)
    await expect(page.get_by_text("Making it: 42%")).to_be_visible()
    await expect(page.get_by_text("About 8 s left.")).to_be_visible()
    assert (await page.title()).startswith("42%")
    (store.folder / "output.mp4").write_bytes(world.footage.read_bytes())
    await gateway.advance(export["id"], state="succeeded")
    result = page.locator(".result video")
    await result.evaluate("element => element.play()")
    await holds(result, "element => element.currentTime > 0.2")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download reel.mp4").click()
    assert (await (await download.value).path()).read_bytes() == world.footage.read_bytes()


async def test_the_trace_the_author_and_the_keys_travel_with_every_call(world: World) -> None:
    page = await world.open()
    await page.get_by_label("Add a game").last.set_input_files(world.footage)
    await expect(page.get_by_role("heading", name="cup final first half")).to_be_visible()
    await until(lambda: any(video["state"] == "ready" for video in world.gateway.product.tables["videos"].values()))
    calls = [one for one in world.gateway.seen if " /api/" in one[0]]
    authors = {headers["X-Client-Id"] for _, headers, _ in calls}
    traces = [headers["traceparent"].split("-")[1] for _, headers, _ in calls]
    assert len(authors) == 1
    assert len(set(traces)) == len(traces)
    assert all("Idempotency-Key" in headers for line, headers, _ in calls if line.startswith("POST"))
    await until(lambda: bool(world.gateway.requests("WS")))
    [(_, _, hello)] = world.gateway.requests("WS")
    assert hello["type"] == "hello"
    assert {hello["client_id"]} == authors
    await asyncio.sleep(0)
