"""An export in several calls: its chunks rendered side by side, then joined by one call more.

1. Chunks that stand on the job's shelf are not rendered again, by whichever attempt
   (tests/render/test_modal_chunks.py::test_chunks_that_are_done_are_not_done_again).
2. Which call renders which chunks follows from the specification and its sources alone, so that the next process finds
   the calls of this one (test_a_restart_takes_every_call_up_again).
3. When one call fails, the others are ended with the attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from render.engines.order import Answer, Share
from render.engines.port import Progress, Put, Shelf
from render.plan import Chunk, chunks, shares
from render.products import Survey

PROBED, RENDERED = 0.02, 0.90  # shares of the whole attempt, as in render.produce, whose import would bring all codecs
Call = Callable[[int, Share, Mapping[str, Put], Progress], Awaitable[Answer]]


@dataclass(frozen=True)
class Parts:
    """The chunks of an export, dealt out to calls that are numbered from 1."""

    survey: Survey
    at_once: int
    dealt: Sequence[Sequence[Chunk]]

    @property
    def names(self) -> list[str]:
        """Every chunk's file name, in order."""
        return [self.survey.chunk_name(chunk) for share in self.dealt for chunk in share]


def deal(survey: Survey, at_once: int) -> Parts | None:
    """How an export is spread over so many calls; None when one does as well."""
    dealt = shares(chunks(survey.plan(), at_once), at_once)
    return Parts(survey, at_once, dealt) if len(dealt) > 1 else None


async def render(parts: Parts, shelf: Shelf, known: Mapping[int, str], call: Call, progress: Progress) -> list[Answer]:
    """Has every chunk rendered that is not on the shelf; the calls' answers. AttemptFailed of the first to fail."""
    there = await shelf.there(parts.names)
    told = _Shares(parts, progress)
    tasks = []
    for number, dealt in enumerate(parts.dealt, 1):
        missing = [chunk for chunk in dealt if parts.survey.chunk_name(chunk) not in there]
        if not missing and number not in known:
            told.tell(number, "rendering", 1.0)
            continue
        tasks.append(asyncio.create_task(_part(parts, number, missing, shelf, call, told)))
    try:
        return [await ended for ended in asyncio.as_completed(tasks)]
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _part(parts: Parts, number: int, missing: Sequence[Chunk], shelf: Shelf, call: Call, told: _Shares) -> Answer:
    names = [parts.survey.chunk_name(chunk) for chunk in missing]
    share = Share(tuple(parts.survey.known.values()), tuple(missing))
    answer = await call(number, share, await shelf.puts(names), lambda phase, done: told.tell(number, phase, done))
    told.tell(number, "rendering", 1.0)
    return answer


class _Shares:
    """The progress of everything, from that of its parts."""

    def __init__(self, parts: Parts, progress: Progress) -> None:
        self._progress = progress
        self._frames = {n: sum(one.frames for one in dealt) for n, dealt in enumerate(parts.dealt, 1)}
        self._done = dict.fromkeys(self._frames, 0.0)
        self._phases: dict[int, str] = {}

    def tell(self, number: int, phase: str, share: float) -> None:
        """How far a part is. The whole is rendering as soon and as long as a part is."""
        self._phases[number] = phase
        self._done[number] = max(self._done[number], share)
        total = sum(self._frames.values())
        done = sum(self._frames[n] * share for n, share in self._done.items()) / total
        rendering = "rendering" in self._phases.values()
        self._progress("rendering" if rendering else phase, PROBED + (RENDERED - PROBED) * done)
