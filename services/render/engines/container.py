"""An attempt inside a container: claimed, counted, rendered by the local engine, put where the order says.

1. Of all calls for an attempt one renders: the first to claim it; the others end at once
   (tests/render/test_modal_engine.py::test_a_lost_spawn_renders_once).
2. An attempt that has ended its container STARTS_MAX times is not begun again, whatever Modal does
   (test_an_out_of_memory_loop_ends). A start that was interrupted in order, by preemption, does not count.
3. Nothing of it outlives its end, cancellation included: the local engine ends the child's group
   (test_cancelling_ends_every_process).
4. What is expected to go wrong is told in the answer; an exception is a bug.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from chassis import tracing
from chassis.faults import Fault
from render.clients.puts import PutFailed, fetch_alone, put_alone
from render.engines.capacity import Usage
from render.engines.local import Engine
from render.engines.order import Answer, Order, Share, Status, read_order
from render.engines.port import AttemptFailed, Put
from render.job import ENGINE_AWAY, Failure
from render.products import ChunkTask, Product, Survey, Task
from render.spec import Spec

log = logging.getLogger(__name__)

T = TypeVar("T")

STARTS_MAX = 3
STAMP_S = 1.0  # at least, between two stamps
UPLOADING_FROM = 0.95
PUT_PATIENCE_S = 300.0
_KIB = 1024


class Board(Protocol):
    """What calls and the service tell each other, durable: Modal's Dict."""

    async def claim(self, key: str, value: Mapping[str, Any]) -> bool:
        """Puts it unless it is there; whether it was put."""
        ...

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Puts it."""
        ...

    async def get(self, key: str) -> Mapping[str, Any] | None:
        """What is there."""
        ...


def claim_key(attempt: str) -> str:
    """Under which the call that has an attempt stands."""
    return f"claim:{attempt}"


def starts_key(attempt: str) -> str:
    """Under which its starts are counted."""
    return f"starts:{attempt}"


def stamp_key(attempt: str) -> str:
    """Under which its progress stands."""
    return f"stamp:{attempt}"


def done_key(attempt: str) -> str:
    """Under which the chunks stand that a call has put on the shelf."""
    return f"done:{attempt}"


def parts_key(attempt: str) -> str:
    """Under which it stands how many calls, beside the first, an attempt may have."""
    return f"parts:{attempt}"


def part_key(attempt: str, part: int) -> str:
    """What a part of an attempt is called: the first as the attempt itself."""
    return f"{attempt}#{part}" if part else attempt


def answer_key(attempt: str) -> str:
    """Under which its answer stands, for when Modal's own copy has expired."""
    return f"answer:{attempt}"


def perform(doing: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end in the main thread. SIGUSR1, by which Modal cancels an input, cancels it: raised in the midst
    of the loop instead, as Modal would have it, it might be lost. SIGINT, by which a machine is taken away, cancels it
    too, and is raised again, so that Modal has the input done elsewhere.
    """
    before = signal.getsignal(signal.SIGUSR1)

    async def cancellable() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, task.cancel)
        return await doing

    try:
        return asyncio.run(cancellable())
    finally:
        signal.signal(signal.SIGUSR1, before)


async def work(
    told: Mapping[str, Any], board: Board, call_id: str, decode: Callable[[bytes], Spec], binary: str
) -> dict[str, Any]:
    """Does what an order says; the answer, which also stands on the board."""
    try:
        order = read_order(told)
    except ValueError as error:
        return Answer(Status.FAILED, failure=_another_version(str(error))).told()
    if not await board.claim(claim_key(order.key), {"call_id": call_id, "at_s": time.time()}):
        claimed = await board.get(claim_key(order.key))
        # A claim that is gone was made a week ago: the attempt is nobody's any more.
        holder = str(claimed["call_id"]) if claimed is not None else ""
        if holder != call_id:
            return Answer(Status.DUPLICATE, call_id=holder).told()
        answered = await board.get(answer_key(order.key))
        if answered is not None:
            return dict(answered)
    async with _traced(order):
        answer = (await _counted(order, board, decode, binary)).told()
    await board.put(answer_key(order.key), answer)
    return answer


async def _counted(order: Order, board: Board, decode: Callable[[bytes], Spec], binary: str) -> Answer:
    before = await board.get(starts_key(order.key))
    starts = int(before["starts"]) + 1 if before is not None else 1
    if starts > STARTS_MAX:
        message = f"The work ended its machine {STARTS_MAX} times, for want of memory most likely."
        return Answer(Status.FAILED, failure=Failure("out_of_memory", message, False))
    await board.put(starts_key(order.key), {"starts": starts})
    meter = _Meter()
    try:
        async with _stamps(order, board, starts) as stamps:
            products = await _made(order, board, stamps, decode, binary)
        return Answer(Status.DONE, products=tuple(products), usage=meter.read())
    except AttemptFailed as error:
        return Answer(Status.FAILED, failure=error.failure, usage=meter.read())
    except asyncio.CancelledError:
        await board.put(starts_key(order.key), {"starts": starts - 1})
        raise


async def _made(
    order: Order, board: Board, stamps: _Stamps, decode: Callable[[bytes], Spec], binary: str
) -> list[Product]:
    try:
        spec = decode(order.spec_bytes)
    except Fault as fault:
        raise AttemptFailed(Failure(fault.reason, fault.message, False)) from fault
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="attempt-"))
    try:
        urls = dict(zip(dict.fromkeys(clip.source for clip in spec.clips), order.urls, strict=True))
        with tracing.span("render.container"):
            if order.share is not None:
                survey = Survey(spec, dict(zip(urls, order.share.known, strict=True)))
                await _render_share(order, order.share, ChunkTask(survey, (), urls, str(folder)), board, stamps)
                return []
            return await _render_all(order, Task(spec, urls, str(folder), binary, at_once=order.at_once), stamps)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def _render_all(order: Order, task: Task, stamps: _Stamps) -> list[Product]:
    folder = Path(task.folder)
    stamps.tell("reading", 0.0)
    for name, url in order.chunks.items():
        # One that is not to be had is rendered again.
        await fetch_alone(url, folder / name)
    products = await Engine(order.limit_s, order.stall_s).produce(task, stamps.tell)
    names = [name for product in products for name in (product.poster, product.name) if name]
    for number, name in enumerate(names):
        stamps.tell("uploading", UPLOADING_FROM + (1 - UPLOADING_FROM) * number / len(names))
        await _deliver(order.puts[name], folder / name)
    return products


async def _render_share(order: Order, share: Share, task: ChunkTask, board: Board, stamps: _Stamps) -> None:
    """One chunk after the other, each put on the shelf before the next is begun."""
    done = await board.get(done_key(order.key))
    names = set(done["names"]) if done is not None else set()
    total = sum(chunk.frames for chunk in share.chunks)
    before = 0
    for chunk in share.chunks:
        name = task.survey.chunk_name(chunk)
        if name not in order.puts:
            raise AttemptFailed(_another_version("it names chunks otherwise"))
        if name not in names:
            told = partial(_tell_part, stamps, before / total, chunk.frames / total)
            await Engine(order.limit_s, order.stall_s).chunks(replace(task, chunks=(chunk,)), told)
            await _deliver(order.puts[name], Path(task.folder) / name)
            names.add(name)
            await board.put(done_key(order.key), {"names": sorted(names)})
        before += chunk.frames
        stamps.tell("rendering", before / total)


def _tell_part(stamps: _Stamps, before: float, weight: float, phase: str, share: float) -> None:
    stamps.tell(phase, before + weight * share)


def _another_version(what: str) -> Failure:
    # As if Modal were away: it passes when the other side is deployed too.
    return Failure(ENGINE_AWAY, f"Modal runs another version: {what}.", True)


async def _deliver(put: Put, path: Path) -> None:
    try:
        await put_alone(put.url, put.headers, path, PUT_PATIENCE_S)
    except PutFailed as error:
        raise AttemptFailed(Failure("store_unavailable", str(error), True)) from error


class _Stamps:
    """The attempt's progress on the board: few writes, and one now and then to say that the container lives."""

    def __init__(self, order: Order, board: Board, start: int) -> None:
        self._order = order
        self._board = board
        self._start = start
        self._latest = ("reading", 0.0)
        self._told = asyncio.Event()

    def tell(self, phase: str, share: float) -> None:
        """What is shown next."""
        self._latest = (phase, share)
        self._told.set()

    async def write_on(self) -> None:
        """Writes what is told, at most once in STAMP_S, and at least once in `beat_s`."""
        number = 0
        while True:
            number += 1
            self._told.clear()
            phase, share = self._latest
            stamp = {"start": self._start, "number": number, "phase": phase, "share": share}
            try:
                await self._board.put(stamp_key(self._order.key), stamp)
            except Exception as error:
                log.warning("no stamp: %s", error)
            await asyncio.sleep(min(STAMP_S, self._order.beat_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._order.beat_s):
                    await self._told.wait()


@asynccontextmanager
async def _stamps(order: Order, board: Board, start: int) -> AsyncIterator[_Stamps]:
    stamps = _Stamps(order, board, start)
    writing = asyncio.create_task(stamps.write_on())
    try:
        yield stamps
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


class _Meter:
    """What this process and its children use from here on."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._cpu_s = _cpu_s()

    def read(self) -> Usage:
        """Until now. The memory is that of the largest process."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak_mib = max(children.ru_maxrss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / _KIB
        return Usage(time.monotonic() - self._began_s, _cpu_s() - self._cpu_s, peak_mib)


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@asynccontextmanager
async def _traced(order: Order) -> AsyncIterator[None]:
    """Spans inside belong to the order's trace, and are sent by OTLP before the container may be stopped."""
    if not order.otlp_endpoint:
        yield
        return
    tracing.setup("render-modal", order.environment, otlp_endpoint=order.otlp_endpoint)
    try:
        with tracing.attached(order.carrier):
            yield
    finally:
        await asyncio.shield(asyncio.to_thread(tracing.shutdown))
