"""Conflicts and losses: nothing typed is lost at a 409, a reload, or when the gateway or an answer vanishes."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from tests.web.conftest import World
from tests.web.fake_gateway import TRACE_ID, until
from tests.web.seeding import ELSEWHERE, only, seed_game

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = "net::ERR_"
CONFLICT = "409 (Conflict)"


async def edit_the_clip(world: World) -> tuple[Page, Locator]:
    """A page with the only clip's form open and its name changed but not saved."""
    game = seed_game(world, clips=1)
    page = await world.open(f"/games/{game['id']}")
    await page.get_by_role("button", name="Edit “Moment 1”").click()
    form = page.locator("form.clip-form")
    await form.get_by_label("Name").fill("Winning goal")
    return page, form


def change_elsewhere(world: World) -> None:
    clip = only(world.gateway.product.tables["clips"])
    world.gateway.product.add("clips", {**clip, "rating": 5, "notes": "From the other phone."}, ELSEWHERE)


async def test_a_conflict_keeps_what_was_typed_and_merges_it_with_the_latest(world: World) -> None:
    world.errors.expected.append(CONFLICT)
    page, form = await edit_the_clip(world)
    change_elsewhere(world)
    await form.get_by_role("button", name="Save clip").click()
    banner = page.get_by_role("alert").filter(has_text="changed in another tab")
    await expect(banner).to_contain_text(TRACE_ID)
    await expect(form.get_by_label("Name")).to_have_value("Winning goal")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await banner.get_by_role("button", name="Copy my work").click()
    await expect(banner.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "name: Winning goal"
    await banner.get_by_role("button", name="Refresh to get latest").click()
    await expect(page.get_by_text("You have the latest now")).to_be_visible()
    await expect(banner).to_have_count(0)
    await expect(form.get_by_label("Name")).to_have_value("Winning goal")
    await expect(form.get_by_label("5 of 5")).to_be_checked()
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_role("button", name="Play Winning goal")).to_be_visible()
    clip = only(world.gateway.product.tables["clips"])
    assert (clip["name"], clip["rating"], clip["notes"]) == ("Winning goal", 5, "From the other phone.")


async def test_a_draft_survives_a_conflict_and_then_a_reload(world: World) -> None:
    world.errors.expected.append(CONFLICT)
    page, form = await edit_the_clip(world)
    change_elsewhere(world)
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_text("changed in another tab")).to_be_visible()
    await page.reload()
    await expect(form.get_by_label("Name")).to_have_value("Winning goal")
    await form.get_by_role("button", name="Save clip").click()
    await page.get_by_role("button", name="Refresh to get latest").click()
    await form.get_by_role("button", name="Save clip").click()
    await expect(form).to_have_count(0)
    assert only(world.gateway.product.tables["clips"])["name"] == "Winning goal"


async def test_an_edit_elsewhere_of_something_else_is_no_conflict(world: World) -> None:
    page, form = await edit_the_clip(world)
    game = only(world.gateway.product.tables["games"])
    world.gateway.product.add("games", {**game, "opponent": "Rovers"}, ELSEWHERE)
    await form.get_by_role("button", name="Save clip").click()
    await expect(form).to_have_count(0)
    await expect(page.get_by_text("against Rovers")).to_be_visible()  # and the page has caught up with it


async def test_a_clip_that_was_deleted_elsewhere_leaves_the_words_in_the_form(world: World) -> None:
    world.errors.expected.append(CONFLICT)
    page, form = await edit_the_clip(world)
    product = world.gateway.product
    product.remove("clips", only(product.tables["clips"])["id"], ELSEWHERE)
    await form.get_by_role("button", name="Save clip").click()
    await page.get_by_role("button", name="Refresh to get latest").click()
    await expect(page.get_by_text("It was deleted elsewhere")).to_be_visible()
    await expect(form.get_by_label("Name")).to_have_value("Winning goal")
    await form.get_by_role("button", name="Save as a new clip").click()
    await expect(page.get_by_role("button", name="Play Winning goal")).to_be_visible()


async def test_two_tabs_follow_each_other_quietly(world: World) -> None:
    game = seed_game(world, clips=1)
    left = await world.open(f"/games/{game['id']}")
    right = await world.open(f"/games/{game['id']}")
    await until(lambda: len(world.gateway.sockets) == 2)
    await left.get_by_role("button", name="Edit “Moment 1”").click()
    await left.get_by_label("Name").first.fill("Seen in both")
    await left.get_by_role("button", name="Save clip").click()
    await expect(right.get_by_role("button", name="Play Seen in both")).to_be_visible()


async def test_a_gateway_that_vanishes_is_waited_for_and_the_edit_is_saved_once(world: World) -> None:
    world.errors.expected.append(REFUSED)
    page, form = await edit_the_clip(world)
    await world.gateway.stop()
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_be_visible()
    await expect(form.get_by_role("button", name="Waiting for the connection…")).to_be_disabled()
    await form.get_by_label("Name").fill("Winning goal, typed while waiting")
    await page.get_by_role("button", name="Try now").click()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_be_visible()
    await world.gateway.start()
    await page.get_by_role("button", name="Try now").click()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_have_count(0)
    # What was typed while the first save waited is a draft of its own: still there, not yet saved, not lost.
    await expect(form.get_by_label("Name")).to_have_value("Winning goal, typed while waiting")
    await until(lambda: only(world.gateway.product.tables["clips"])["name"] == "Winning goal")
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_role("button", name="Play Winning goal, typed while waiting")).to_be_visible()


async def test_a_lost_answer_makes_one_clip_not_two(world: World) -> None:
    world.errors.expected.append(REFUSED)
    game = seed_game(world)
    page = await world.open(f"/games/{game['id']}")
    await page.get_by_role("button", name="Clip starts here").click()
    await page.get_by_role("form", name="New clip").get_by_label("Name").fill("Once")
    world.gateway.fail("POST /api/games/", lose="after")
    await page.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_role("button", name="Play Once")).to_be_visible()
    posts = world.gateway.requests("/clips")
    assert len(posts) == 2
    assert posts[0][1]["Idempotency-Key"] == posts[1][1]["Idempotency-Key"]
    assert len(world.gateway.product.tables["clips"]) == 1


async def test_reloading_while_the_gateway_is_away_shows_the_app_and_then_the_games(world: World) -> None:
    world.errors.expected.append(REFUSED)
    seed_game(world)
    page = await world.open()
    await expect(page.get_by_text("Sample game")).to_be_visible()
    await world.gateway.stop()
    await page.reload()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_be_visible()
    await world.gateway.start()
    await expect(page.get_by_text("Sample game")).to_be_visible()
    await expect(page.get_by_text("Reel Ballers can’t be reached")).to_have_count(0)


async def test_a_500_is_said_in_words_with_the_trace_and_the_form_stays(world: World) -> None:
    world.errors.expected.append("500 (Internal Server Error)")
    page, form = await edit_the_clip(world)
    world.gateway.fail("PATCH", status=500, detail="Something broke here. Nothing was changed; try again.")
    await form.get_by_role("button", name="Save clip").click()
    problem = page.get_by_role("alert").filter(has_text="Something broke here.")
    await expect(problem).to_contain_text(TRACE_ID)
    await form.get_by_role("button", name="Save clip").click()
    await expect(page.get_by_role("button", name="Play Winning goal")).to_be_visible()
    keys = {headers["Idempotency-Key"] for _, headers, _ in world.gateway.requests("PATCH")}
    assert len(keys) == 1


async def test_without_a_session_one_is_begun(world: World) -> None:
    world.errors.expected.append("401 (Unauthorized)")
    world.gateway.signed_in = False
    page = await world.open()
    await expect(page.get_by_text("Begin with the video of a game.")).to_be_visible()
    assert len(world.gateway.requests("POST /api/session")) == 1
