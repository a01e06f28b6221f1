"""Asking until there is an answer: unknown is not failed."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chassis.faults import Fault, Kind
from chassis.ids import uuid7

log = logging.getLogger(__name__)

T = TypeVar("T")

PASSING = (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED)
AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


async def sure(ask: Callable[[str], Awaitable[T]]) -> T:
    """The answer, asked for with one idempotency key until there is one: a change whose answer was lost is not taken
    for somebody else's. A Fault that will not pass.
    """
    key = uuid7()
    for pause_s in itertools.chain(AGAIN_S, itertools.repeat(AGAIN_S[-1])):
        try:
            return await ask(key)
        except Fault as fault:
            if fault.kind not in PASSING:
                raise
            log.warning("no answer, again in %s s: %s", pause_s, fault.message)
        await asyncio.sleep(pause_s)
    raise AssertionError("the pauses never end")
