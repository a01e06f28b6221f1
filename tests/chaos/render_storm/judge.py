"""The judge: which promises about jobs were broken. Pure; tests/chaos/test_render_judge.py holds it to every kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.render_storm.orders import CANCELLED, FAILED, SUCCEEDED, Account, Ending, Order, Shown


def broken(order: Order, account: Account) -> list[str]:
    """The promises about a job that were not kept, a sentence each."""
    return [f"{order.tenant}/{order.job_id}: {fault}" for fault in _faults(order, account)]


def _faults(order: Order, account: Account) -> Iterator[str]:
    if order.unknown_after:
        yield f"was acknowledged, and said not to exist {order.unknown_after} times"
    yield from _story(order)
    if not order.acknowledged:
        return
    last = account.endings.get(order.job_id)
    if order.ending is None or last is None:
        yield "was acknowledged and has not ended"
        return
    told = {one.ending for one in order.readings if one.ending is not None}
    if len(told | {last}) > 1:
        yield f"ended more than once: {sorted(map(str, told | {last}))}"
    if order.cancel_answer is not None and order.cancel_answer != last:
        yield f"a cancellation was answered {order.cancel_answer}, it ended {last}"
    if account.listed.get(order.job_id, 0) != 1:
        yield f"is listed {account.listed.get(order.job_id, 0)} times"
    yield from _outcome(order, last)
    if last.state == SUCCEEDED:
        yield from _outputs(order, last, account)


def _story(order: Order) -> Iterator[str]:
    """What one process after the other told of it."""
    for life in {one.life for one in order.readings}:
        for before, after in pairwise(one for one in order.readings if one.life == life):
            if after.attempt < before.attempt:
                yield f"attempt {after.attempt} was told after {before.attempt}"
            if after.sequence < before.sequence:
                yield f"sequence {after.sequence} was told after {before.sequence}"
            if after.progress < before.progress:
                yield f"progress {after.progress} was told after {before.progress}"
    over = False
    for one in order.readings:
        if over and one.ending is None:
            yield f"was {one.state} again after it had ended"
        over = over or one.ending is not None


def _outcome(order: Order, last: Ending) -> Iterator[str]:
    if last.state == CANCELLED and order.cancel_asked:
        return
    if order.hopeless:
        if (last.state, last.code) != (FAILED, "source_not_found"):
            yield f"has no source, and ended {last.state} {last.code}"
    elif last.state != SUCCEEDED:
        yield f"ended {last.state} {last.code} after {last.attempt} attempts, through no fault of its own"


def _outputs(order: Order, last: Ending, account: Account) -> Iterator[str]:
    names = sorted(one.name for one in last.outputs)
    if names != sorted(order.frames):
        yield f"has the outputs {names}, ordered were {sorted(order.frames)}"
        return
    for one in last.outputs:
        yield from _output(order, last, one, account)


def _output(order: Order, last: Ending, one: Shown, account: Account) -> Iterator[str]:
    place = f"{order.folder}/{last.attempt}/"
    if one.key != f"{place}{one.name}" or not one.poster_key.startswith(place if order.poster else ""):
        yield f"attempt {last.attempt} finished it, and shows {one.key} {one.poster_key}"
    if bool(one.poster_key) != order.poster or (order.poster and (order.tenant, one.poster_key) not in account.objects):
        yield f"{one.name}: its still {one.poster_key!r} is not as ordered"
    there = account.objects.get((order.tenant, one.key))
    if there is None:
        yield f"{one.name} does not stand in the store"
        return
    if (there.size_bytes, there.etag) != (one.size_bytes, one.etag):
        yield f"{one.name} is another object than was promised"
    if not there.frames == one.frames == order.frames[one.name]:
        yield f"{one.name}: {there.frames} frames, told {one.frames}, ordered {order.frames[one.name]}"
