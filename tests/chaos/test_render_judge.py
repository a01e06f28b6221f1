"""The judge of the storm over render finds nothing in an honest story, and sees every kind of broken promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.render_storm.judge import broken
from tests.chaos.render_storm.orders import Account, Ending, Object, Order, Reading, Shown

FOLDER = "raw_clips/job"
SHOWN = Shown("all.mp4", f"{FOLDER}/2/all.mp4", 900, "etag", 30, f"{FOLDER}/2/all.jpg")
DONE = Ending("succeeded", 2, (SHOWN,))
STORY = [
    Reading(1, "queued", 0, 0.0, 1, "queued"),
    Reading(1, "running", 1, 0.5, 2, "rendering"),
    Reading(2, "running", 1, 0.0, 2, ""),
    Reading(2, "running", 2, 0.2, 3, "rendering"),
    Reading(2, "succeeded", 2, 1.0, 4, "", DONE),
]
Case = tuple[Order, Account]


def honest() -> Case:
    order = Order("anna", "job", FOLDER, {"all.mp4": 30}, poster=True, acknowledged=True, readings=list(STORY))
    objects = {("anna", SHOWN.key): Object(900, "etag", 30), ("anna", SHOWN.poster_key): Object(9, "still", -1)}
    return order, Account({"job": DONE}, {"job": 1}, objects)


def shows(**other: object) -> Case:
    """Another output than was promised, in every telling."""
    order, account = honest()
    done = replace(DONE, outputs=(replace(SHOWN, **other),))  # type: ignore[arg-type]
    order.readings[-1] = replace(STORY[-1], ending=done)
    return order, replace(account, endings={"job": done})


def told(*readings: Reading) -> Case:
    order, account = honest()
    order.readings[:] = readings
    return order, account


def ended(done: Ending | None, *, cancel_asked: bool = False, hopeless: bool = False) -> Case:
    order, account = honest()
    order.readings[-1:] = [replace(STORY[-1], ending=done)] if done else []
    order.cancel_asked, order.hopeless = cancel_asked, hopeless
    return order, replace(account, endings={"job": done})


def without(*keys: str) -> Case:
    order, account = honest()
    objects = {where: there for where, there in account.objects.items() if where[1] not in keys}
    return order, replace(account, objects=objects)


def stands(there: Object) -> Case:
    order, account = honest()
    return order, replace(account, objects={**account.objects, ("anna", SHOWN.key): there})


LIES: dict[str, tuple[Callable[[], Case], str]] = {
    "lost": (lambda: ended(None), "has not ended"),
    "unknown": (lambda: (replace(honest()[0], unknown_after=1), honest()[1]), "said not to exist"),
    "another end later": (
        lambda: (honest()[0], replace(honest()[1], endings={"job": replace(DONE, attempt=3)})),
        "ended more than once",
    ),
    "begun again": (lambda: told(*STORY, replace(STORY[3], life=3)), "again after it had ended"),
    "listed twice": (lambda: (honest()[0], replace(honest()[1], listed={"job": 2})), "is listed 2 times"),
    "progress goes back": (lambda: told(*STORY[:2], replace(STORY[1], progress=0.4), *STORY[2:]), "progress 0.4"),
    "attempt goes back": (lambda: told(*STORY[:4], replace(STORY[3], attempt=1), STORY[4]), "attempt 1 was told"),
    "sequence goes back": (lambda: told(*STORY[:4], replace(STORY[3], sequence=2), STORY[4]), "sequence 2 was told"),
    "failed": (lambda: ended(Ending("failed", 2, (), "render_failed")), "through no fault of its own"),
    "cancelled by nobody": (lambda: ended(Ending("cancelled", 2)), "through no fault of its own"),
    "a video of nothing": (lambda: ended(DONE, hopeless=True), "has no source"),
    "another end than the cancellation's": (
        lambda: (replace(honest()[0], cancel_answer=Ending("cancelled", 2)), honest()[1]),
        "a cancellation was answered",
    ),
    "an output too few": (lambda: ended(replace(DONE, outputs=())), "has the outputs []"),
    "an older attempt's output": (lambda: shows(key=f"{FOLDER}/1/all.mp4"), "finished it, and shows"),
    "an older attempt's still": (lambda: shows(poster_key=f"{FOLDER}/1/all.jpg"), "finished it, and shows"),
    "no still": (lambda: without(SHOWN.poster_key), "is not as ordered"),
    "no object": (lambda: without(SHOWN.key), "does not stand in the store"),
    "another object": (lambda: stands(Object(901, "other", 30)), "is another object"),
    "too few frames": (lambda: stands(Object(900, "etag", 29)), "29 frames"),
    "no video": (lambda: stands(Object(900, "etag", -1)), "-1 frames"),
    "other frames than ordered": (lambda: shows(frames=31), "told 31, ordered 30"),
}


def test_an_honest_story_is_no_fault() -> None:
    assert broken(*honest()) == []


def test_what_was_asked_for_may_end_otherwise() -> None:
    assert broken(*ended(Ending("cancelled", 1), cancel_asked=True)) == []
    assert broken(*ended(Ending("failed", 1, (), "source_not_found"), hopeless=True)) == []


def test_what_was_never_acknowledged_need_not_be() -> None:
    order, _ = honest()
    order.acknowledged, order.readings = False, []
    assert broken(order, Account({}, {}, {})) == []


@pytest.mark.parametrize("name", LIES)
def test_a_broken_promise_is_seen(name: str) -> None:
    case, words = LIES[name]
    faults = broken(*case())
    assert [fault for fault in faults if words in fault], faults
