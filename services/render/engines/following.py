"""One call on a remote engine, followed to its end: its answer, its progress, and whether it stands still.

1. While the engine is away nothing is concluded (tests/render/test_modal_engine.py::test_away_it_waits_and_says_so).
2. An answer that the engine has forgotten is looked for on the board
   (test_an_answer_that_modal_forgot_stands_on_the_board).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chassis.faults import Fault
from render.engines import capacity
from render.engines.capacity import Capacity, Usage
from render.engines.container import answer_key, stamp_key
from render.engines.order import Answer, read_answer
from render.engines.port import WAITING, AttemptFailed, Progress
from render.job import ENGINE_AWAY, Failure

log = logging.getLogger(__name__)

PAUSE_MAX_S = 10.0


class Away(Exception):
    """The engine did not answer: whether anything was done is not known."""


class Forgotten(Exception):
    """The engine does not know the call, or its answer, any more."""


class CallFailed(Exception):
    """A call ended without an answer; by what its code says."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Patience:
    """How long a call may give no sign of life, and wait for a container; seconds."""

    stall_s: float
    queue_s: float


class Calling(Protocol):
    """What following a call needs of its engine."""

    async def look(self, call_id: str) -> Mapping[str, Any] | None:
        """What a call answered, None while it goes on; Away, Forgotten, CallFailed. Waits a moment for it."""
        ...

    async def read(self, key: str) -> Mapping[str, Any] | None:
        """What stands on the board; Away."""
        ...

    async def end(self, key: str, calls: Mapping[int, str]) -> None:
        """Ends an attempt's calls; Fault."""
        ...


class Following:
    """One call, looked at until it has ended."""

    def __init__(
        self, engine: Calling, patience: Patience, key: str, call_id: str, paid: Capacity, progress: Progress
    ) -> None:
        self._engine = engine
        self._patience = patience
        self._key = key
        self._call_id = call_id
        self._paid = paid
        self._progress = progress
        self._stamp: Mapping[str, Any] | None = None
        self._moved_s = time.monotonic()
        self._began_s = time.monotonic()

    async def answer(self) -> Answer:
        """What it came to; AttemptFailed."""
        pause_s = 0.5
        while True:
            try:
                told = await self._told()
                if told is not None:
                    return read_answer(told)
                await self._watch()
                pause_s = 0.5
            except Away as error:
                log.warning("the engine is away, a call goes on: %s", error, extra={"call": self._call_id})
                self._progress(WAITING, 0.0)
                self._moved_s = time.monotonic()
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)

    async def _told(self) -> Mapping[str, Any] | None:
        try:
            return await self._engine.look(self._call_id)
        except Forgotten as error:
            kept = await self._engine.read(answer_key(self._key))
            if kept is None:
                raise self._failed("render_failed", "What became of the work is not known any more.") from error
            return kept
        except CallFailed as error:
            raise self._failed(error.code, str(error)) from error

    async def _watch(self) -> None:
        """Tells progress, and ends what stands still; AttemptFailed, Away."""
        stamp = await self._engine.read(stamp_key(self._key))
        if stamp is None:
            if time.monotonic() - self._began_s > self._patience.queue_s:
                await self._end()
                raise self._failed(ENGINE_AWAY, "Modal had no container for too long.")
            self._progress("queued", 0.0)
        elif stamp != self._stamp:
            self._stamp, self._moved_s = stamp, time.monotonic()
            self._progress(stamp["phase"], stamp["share"])
        elif time.monotonic() - self._moved_s > self._patience.stall_s:
            await self._end()
            raise self._failed("timed_out", "The work stood still, and was ended.")

    async def _end(self) -> None:
        try:
            await self._engine.end(self._key, {0: self._call_id})
        except Fault as fault:
            # The next attempt overtakes it; the engine's own limit ends it.
            log.warning("a call was not ended: %s", fault.message, extra={"call": self._call_id})

    def _failed(self, code: str, message: str) -> AttemptFailed:
        """With what it cost, guessed from how long it was seen to run."""
        ran_s = time.monotonic() - self._began_s if self._stamp is not None else 0.0
        cost = capacity.cost_micros(Usage(ran_s), self._paid) if ran_s else 0
        return AttemptFailed(Failure(code, message, True), cost)
