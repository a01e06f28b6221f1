"""Customers of render: they order, watch, and cancel now and then, each call repeated until it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

from chassis import tracing
from chassis.faults import Fault, Kind
from chassis.ids import uuid7
from chassis.rpc_client import Channel
from reel.render.v1 import render_pb2 as pb
from reel.render.v1 import render_pb2_grpc
from tests.chaos.render_storm.orders import OVER, QUEUED, RUNNING, Account, Ending, Object, Order, Reading, Shown
from tests.chaos.render_storm.town import SOURCE, Town

CALL_S = 5.0
PAUSE_S = 0.05
UNFINISHED_MAX = 3
STEP_US = 100_000  # three frames
AWAY = (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED, Kind.CANCELLED)
STATES = {
    pb.JOB_STATE_QUEUED: QUEUED,
    pb.JOB_STATE_RUNNING: RUNNING,
    pb.JOB_STATE_SUCCEEDED: OVER[0],
    pb.JOB_STATE_FAILED: OVER[1],
    pb.JOB_STATE_CANCELLED: OVER[2],
}


class Line:
    """Calls to whichever render is the one to ask."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._channels: dict[int, Channel] = {}
        self.endings = 0  # of jobs, seen
        self.phase = asyncio.Condition()
        self.last: Reading | None = None

    def now(self) -> tuple[int, Channel, render_pb2_grpc.RenderServiceStub]:
        """The number of the process, and how to reach it."""
        render = self._town.now
        assert render is not None
        if render.life not in self._channels:
            self._channels[render.life] = Channel(render.address, audience="render", base=self._town.base, eager=True)
        channel = self._channels[render.life]
        return render.life, channel, render_pb2_grpc.RenderServiceStub(channel.grpc)

    async def call(self, name: str, request: Any) -> tuple[int, Any]:
        """The answer of whoever gives one, and the number of that process; a Fault that will not pass."""
        while True:
            life, channel, stub = self.now()
            try:
                with tracing.span("storm"):
                    return life, await channel.call(
                        getattr(stub, name), request, tenant=request.tenant, timeout_s=CALL_S
                    )
            except Fault as fault:
                if fault.kind not in AWAY:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def told(self, order: Order, reading: Reading) -> None:
        """Writes down what was told."""
        self.endings += reading.ending is not None and order.ending is None
        order.readings.append(reading)
        async with self.phase:
            self.last = reading
            self.phase.notify_all()

    async def close(self) -> None:
        """Ends all channels."""
        for channel in self._channels.values():
            await channel.close()


class Customer:
    """A tenant, and what it ordered."""

    def __init__(self, line: Line, tenant: str, rng: random.Random) -> None:
        self.tenant = tenant
        self.orders: list[Order] = []
        self._line = line
        self._rng = rng
        self._followed: list[asyncio.Task[None]] = []
        self._deeds: list[asyncio.Task[None]] = []

    async def work(self, stopping: asyncio.Event) -> None:
        """Orders one thing after the other until told to stop; ends when everything has ended."""
        while not stopping.is_set():
            if sum(order.ending is None for order in self.orders) < UNFINISHED_MAX:
                self._deeds.append(asyncio.create_task(self._order()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._rng.uniform(0.05, 0.5))
        await asyncio.gather(*self._deeds)
        await asyncio.gather(*self._followed)

    async def account(self, look: Callable[[str, str], Object | None]) -> Account:
        """What is there of its orders in the end."""
        endings, objects = {}, {}
        for order in self.orders:
            _, answer = await self._line.call("GetJob", pb.GetJobRequest(tenant=self.tenant, job_id=order.job_id))
            endings[order.job_id] = ending = _reading(0, answer.job).ending
            for key in [key for one in (ending.outputs if ending else ()) for key in (one.key, one.poster_key) if key]:
                found = await asyncio.to_thread(look, self.tenant, key)
                if found is not None:
                    objects[self.tenant, key] = found
        listed: dict[str, int] = {}
        token = ""
        while True:
            _, page = await self._line.call("ListJobs", pb.ListJobsRequest(tenant=self.tenant, page_token=token))
            for job in page.jobs:
                listed[job.job_id] = listed.get(job.job_id, 0) + 1
            token = page.next_page_token
            if not token:
                return Account(endings, listed, objects)

    async def _order(self) -> None:
        order, spec = self._new()
        self.orders.append(order)
        request = pb.SubmitRequest(
            tenant=self.tenant, job_id=order.job_id, spec=spec, priority=self._rng.choice((0, 0, 5))
        )
        await self._line.call("Submit", request)
        order.acknowledged = True
        self._followed.append(asyncio.create_task(self._follow(order)))
        if self._rng.random() < 0.1:
            await asyncio.sleep(self._rng.uniform(0, 1.5))
            order.cancel_asked = True
            _, answer = await self._line.call("Cancel", pb.CancelRequest(tenant=self.tenant, job_id=order.job_id))
            order.cancel_answer = _reading(0, answer.job).ending

    def _new(self) -> tuple[Order, pb.RenderSpec]:
        rng = self._rng
        job_id, hopeless = uuid7(), rng.random() < 0.08
        source = pb.Source(key="games/none.mp4" if hopeless else SOURCE)
        clips, frames = [], {}
        for number in range(rng.choice((1, 1, 2))):
            steps = rng.randint(4, 15)
            in_us = rng.randint(0, 40) * STEP_US
            name = f"clip-{number}.mp4" if rng.random() < 0.4 else ""
            if name:
                frames[name] = 3 * steps
            clips.append(pb.Clip(source=source, in_us=in_us, out_us=in_us + steps * STEP_US, output_name=name))
        frames["all.mp4"] = sum(3 * (clip.out_us - clip.in_us) // STEP_US for clip in clips)
        output = pb.Output(
            folder=f"raw_clips/{job_id}", name="all.mp4", quality=pb.QUALITY_DRAFT, poster=rng.random() < 0.5
        )
        audio = pb.Audio(include=rng.random() < 0.5)
        order = Order(self.tenant, job_id, output.folder, frames, poster=output.poster, hopeless=hopeless)
        return order, pb.RenderSpec(spec_version=1, clips=clips, output=output, audio=audio)

    async def _follow(self, order: Order) -> None:
        """Watches a job until it has ended, of whoever can be asked."""
        while order.ending is None:
            life, channel, stub = self._line.now()
            request = pb.WatchJobRequest(tenant=self.tenant, job_id=order.job_id)
            stream = channel.stream(stub.WatchJob, request, tenant=self.tenant, timeout_s=20)
            try:
                async with contextlib.aclosing(stream) as answers:
                    async for answer in answers:
                        await self._line.told(order, _reading(life, answer.job))
            except Fault as fault:
                if fault.reason == "job_not_found":
                    order.unknown_after += 1
                elif fault.kind not in AWAY:
                    raise
            await asyncio.sleep(PAUSE_S)


def _reading(life: int, job: pb.Job) -> Reading:
    state = STATES[job.state]
    outputs = tuple(
        Shown(one.name, one.key, one.size_bytes, one.etag, one.frames, one.poster_key) for one in job.outputs
    )
    ending = Ending(state, job.attempt, outputs, job.error.code) if state in OVER else None
    return Reading(life, state, job.attempt, job.progress, job.sequence, job.phase, ending)
