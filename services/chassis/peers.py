"""Several processes of one service: which of them is asked for a tenant, and which when that one is away.

Where a call goes is a matter of speed (a warm cache, fewer lost races), never of correctness: whoever is asked must
answer right. The service's every mutation carries an idempotency key, which it keeps with the data itself, so a call
whose outcome is not known may be sent to another process: the key is found there, or what two of them wrote for it
races for the same place, which one wins, and the loser then finds the key. Each holds by the test named.

1. A tenant ranks all processes, every caller ranks them alike, and another process takes an equal share from each
   (test_peers.py::test_another_address_moves_its_share_alone).
2. Only silence sends a call elsewhere: a refusal is an answer, whoever gives it, and "not now" is asked of the same
   process again (test_peers.py::test_a_refusal_is_an_answer, ::test_not_now_is_asked_of_the_same_again).
3. No call waits for a dead process while another lives: one that refuses to connect, one that connects and is silent,
   one that is frozen in the middle of a call (test_peers.py::test_the_next_in_rank_answers_for_a_dead_one,
   ::test_a_listener_that_is_silent_is_left, ::test_a_frozen_process_is_left_in_the_middle_of_a_call).
4. One that was away is left alone until it answers a look of ours, then preferred again
   (test_peers.py::test_what_was_away_is_preferred_again).
5. A mutation whose process dies in the middle is done once, by whichever process
   (test_failover.py::test_killed_in_the_middle_of_a_commit_it_is_done_once).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from chassis import deadlines
from chassis.config import Base
from chassis.faults import Fault, Kind
from chassis.rpc_client import Channel, silence, unanswered

log = logging.getLogger(__name__)

# A call that is longer under way asks whether the process lives, which has so long to say so: more than a busy one
# needs, whose calls would only make the others busy.
QUIET_S, ALIVE_S = 2.0, 2.0
LOOK_S = 1.5  # and so long, connecting included, when it was away
NOT_NOW_PAUSES_S = (0.05, 0.1, 0.2)  # between tries at a process that says "not now", as a patient channel has them
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5  # between rounds in which nobody answered
FIRST_LOOK_PAUSE_S, LONGEST_LOOK_PAUSE_S = 0.1, 5.0  # between looks at one that is away


def ranked(addresses: Sequence[str], tenant: str) -> list[str]:
    """The addresses in the order of a tenant's preference (rendezvous hashing)."""
    return sorted(
        addresses, key=lambda address: hashlib.blake2b(f"{address} {tenant}".encode(), digest_size=8).digest()
    )


class Peers:
    """The processes of a service. With one address it is a channel like any other, which waits for it."""

    def __init__(
        self, addresses: Sequence[str], *, audience: str, base: Base, max_message_bytes: int = 4 << 20
    ) -> None:
        self._audience = audience
        eager = len(addresses) > 1
        self._channels = {
            address: Channel(address, audience=audience, base=base, max_message_bytes=max_message_bytes, eager=eager)
            for address in addresses
        }
        self._away: dict[str, asyncio.Task[None]] = {}  # each with the task that looks whether it is back
        self._checks: dict[str, asyncio.Task[bool]] = {}  # whether a process lives, for all calls that want to know
        # What a generated stub builds its methods on, in the place of one channel.
        self.grpc: Any = _Everywhere(self._channels)

    async def call(self, method: Any, request: Any, *, tenant: str, timeout_s: float) -> Any:
        """The answer of a unary method of a stub over `grpc`; raises Fault. As Channel.call, and `tenant` chooses the
        process.
        """
        if len(self._channels) == 1:
            ((address, channel),) = self._channels.items()
            return await channel.call(method.at[address], request, tenant=tenant, timeout_s=timeout_s)
        until_s = time.monotonic() + deadlines.budget_s(timeout_s)
        pause_s = FIRST_PAUSE_S
        while True:
            order = self._order(tenant)
            for address in order:
                try:
                    return await self._ask(address, method, request, tenant, until_s)
                except Fault as fault:
                    if not unanswered(fault):
                        raise
                    self._miss(address)
                    if _left_s(until_s) <= (pause_s if address == order[-1] else 0):
                        raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def ready(self, timeout_s: float) -> bool:
        """Whether one of them answers SERVING within `timeout_s`: it can do for all."""
        looks = [asyncio.create_task(channel.ready(timeout_s)) for channel in self._channels.values()]
        try:
            for look in asyncio.as_completed(looks):
                if await look:
                    return True
            return False
        finally:
            await _end(looks)

    async def close(self) -> None:
        """Ends the connections."""
        await _end([*self._away.values(), *self._checks.values()])
        for channel in self._channels.values():
            await channel.close()

    def _order(self, tenant: str) -> list[str]:
        """Whom to ask, one after the other: by rank, those known to be away last."""
        return sorted(ranked(list(self._channels), tenant), key=lambda address: address in self._away)

    async def _ask(self, address: str, method: Any, request: Any, tenant: str, until_s: float) -> Any:
        """The answer of one process, asked again while it says "not now"."""
        for pause_s in NOT_NOW_PAUSES_S:
            try:
                return await self._ask_once(address, method, request, tenant, until_s)
            except Fault as fault:
                if fault.kind is not Kind.UNAVAILABLE or unanswered(fault) or _left_s(until_s) <= pause_s:
                    raise
            await asyncio.sleep(pause_s)
        return await self._ask_once(address, method, request, tenant, until_s)

    async def _ask_once(self, address: str, method: Any, request: Any, tenant: str, until_s: float) -> Any:
        """The answer of one process; given up as unanswered when the process does not live any more."""
        channel = self._channels[address]
        timeout_s = until_s - time.monotonic()
        asking = asyncio.create_task(channel.call(method.at[address], request, tenant=tenant, timeout_s=timeout_s))
        try:
            while not (await asyncio.wait([asking], timeout=QUIET_S))[0]:
                if not await self._lives(address) and not asking.done():
                    raise silence("the process does not answer any more")
            return asking.result()
        finally:
            await _end([asking])

    async def _lives(self, address: str) -> bool:
        check = self._checks.get(address)
        if check is None or check.done():
            lives = self._channels[address].lives(ALIVE_S)
            check = self._checks[address] = asyncio.create_task(lives, context=Context())
        return await asyncio.shield(check)

    def _miss(self, address: str) -> None:
        """An address did not answer: others are asked until it does."""
        if address not in self._away:
            log.warning("a process is away", extra={"audience": self._audience, "address": address})
            # In a context of its own: it outlives the call that found out.
            self._away[address] = asyncio.create_task(self._look(address), context=Context())

    async def _look(self, address: str) -> None:
        pause_s = FIRST_LOOK_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            if await self._channels[address].ready(LOOK_S):
                break
            pause_s = min(pause_s * 2, LONGEST_LOOK_PAUSE_S)
        log.info("a process is back", extra={"audience": self._audience, "address": address})
        del self._away[address]


class _Everywhere:
    """As much of a gRPC channel as a generated stub asks for, for all channels at once."""

    def __init__(self, channels: dict[str, Channel]) -> None:
        self._channels = channels

    def unary_unary(self, *arguments: Any, **codec: Any) -> _Method:
        return _Method({name: one.grpc.unary_unary(*arguments, **codec) for name, one in self._channels.items()})


class _Method:
    """A method of a stub, by the address at which it is called."""

    def __init__(self, at: dict[str, Any]) -> None:
        self.at = at


def _left_s(until_s: float) -> float:
    """Seconds in which something could still be begun."""
    return until_s - time.monotonic() - deadlines.FLOOR_S


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
