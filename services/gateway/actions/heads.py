"""Versions that other gateways committed: the heads of the users with a page open, asked for every few seconds."""

from __future__ import annotations

import asyncio
import logging

from chassis import deadlines
from chassis.faults import Fault
from gateway.actions.events import Hub
from gateway.library.store import Store

log = logging.getLogger(__name__)

AT_ONCE = 8
ASK_S = 5.0


async def poll(store: Store, hub: Hub, every_s: float) -> None:
    """Runs until it is cancelled."""
    gate = asyncio.Semaphore(AT_ONCE)
    while True:
        await asyncio.sleep(every_s)
        await asyncio.gather(*(_ask(store, hub, user_id, gate) for user_id in hub.users()))


async def _ask(store: Store, hub: Hub, user_id: str, gate: asyncio.Semaphore) -> None:
    async with gate:
        try:
            with deadlines.scope(ASK_S):
                version, author = await store.head(user_id)
        except Fault as fault:
            log.info("no head for a listening user: %s", fault, extra={"user": user_id, "reason": fault.reason})
            return
    hub.newer(user_id, version, author)
