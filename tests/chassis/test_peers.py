"""Several processes behind one name: who is asked, who answers for one that is away, and what never goes elsewhere."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest

from chassis import faults, peers, rpc_server
from chassis.config import Base, Secret
from chassis.credentials import new_key
from chassis.faults import Fault, Kind
from chassis.peers import Peers, ranked
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1.dbsync_pb2_grpc import DbSyncServiceStub

SEED, PUBLIC = new_key()
SERVER = Base("dbsync", "local", "127.0.0.1:0", "info", Secret(new_key()[0]), {"gateway": PUBLIC}, "", None)
CLIENT = replace(SERVER, service="gateway", signing_key=Secret(SEED))
HANG_S = 60.0


@dataclass
class Process:
    """A service of one method; `version` says which one answered."""

    number: int
    port: int = 0
    calls: list[str] = field(default_factory=list)
    refusals: list[Fault] = field(default_factory=list)  # answered first, one a call
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)  # a call of the database "waits" ends then
    left: asyncio.Event = field(default_factory=asyncio.Event)  # its caller went away before
    server: rpc_server.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens, on the same port as before."""
        base = replace(SERVER, listen=self.address)
        self.server = rpc_server.create(base, authorize=lambda caller, request: None, services=["dbsync"])
        head = grpc.unary_unary_rpc_method_handler(
            self._head, pb.HeadRequest.FromString, pb.HeadResponse.SerializeToString
        )
        service = grpc.method_handlers_generic_handler("reel.dbsync.v1.DbSyncService", {"Head": head})
        self.server.grpc.add_generic_rpc_handlers((service,))
        self.port = await self.server.start()

    async def stop(self) -> None:
        """As a kill: connections end, nobody listens."""
        if self.server is not None:
            await self.server.grpc.stop(None)
            self.server = None

    async def _head(self, request: pb.HeadRequest, context: Any) -> pb.HeadResponse:
        self.calls.append(request.database)
        self.begun.set()
        if self.refusals:
            raise self.refusals.pop(0)
        if request.database.startswith("waits"):
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.left.set()
                raise
        return pb.HeadResponse(version=self.number)


@asynccontextmanager
async def running(count: int) -> AsyncIterator[list[Process]]:
    """So many processes."""
    made = [Process(number) for number in range(count)]
    try:
        for one in made:
            await one.start()
        yield made
    finally:
        for one in made:
            one.go_on.set()
            await one.stop()


@dataclass
class Caller:
    """Calls by way of Peers."""

    peers: Peers
    stub: DbSyncServiceStub

    async def head(self, database: str, timeout_s: float = HANG_S) -> int:
        """The number of the process that answered."""
        request = pb.HeadRequest(database=database)
        answer = await self.peers.call(self.stub.Head, request, tenant=database, timeout_s=timeout_s)
        return int(answer.version)


@asynccontextmanager
async def calling(*addresses: str) -> AsyncIterator[Caller]:
    """A caller of these."""
    made = Peers(addresses, audience="dbsync", base=CLIENT)
    try:
        yield Caller(made, DbSyncServiceStub(made.grpc))
    finally:
        await made.close()


@pytest.fixture
async def three() -> AsyncIterator[tuple[list[Process], Caller]]:
    async with running(3) as processes, calling(*(one.address for one in processes)) as caller:
        yield processes, caller


def by_rank(processes: list[Process], tenant: str) -> list[Process]:
    """The processes in a tenant's order."""
    by_address = {one.address: one for one in processes}
    return [by_address[address] for address in ranked(list(by_address), tenant)]


@contextmanager
def silent_listener() -> Iterator[str]:
    """An address at which connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


class Line:
    """A connection's way to a process, which can go dead without a word."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._dead = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Its address."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """From now on nothing passes, and no end of a connection either."""
        self._dead.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                if self._dead.is_set():
                    await asyncio.Event().wait()
                sink.write(data)
        finally:
            sink.close()


def test_another_address_moves_its_share_alone() -> None:
    tenants = [f"user-{number}" for number in range(4000)]
    three, four = ["a:1", "b:1", "c:1"], ["a:1", "b:1", "c:1", "d:1"]
    before = {tenant: ranked(three, tenant)[0] for tenant in tenants}
    after = {tenant: ranked(four, tenant)[0] for tenant in tenants}
    moved = [tenant for tenant in tenants if before[tenant] != after[tenant]]
    assert {after[tenant] for tenant in moved} == {"d:1"}
    assert 850 < len(moved) < 1150
    assert all(1200 < count < 1470 for count in Counter(before.values()).values())
    assert all(240 < count < 400 for count in Counter(before[tenant] for tenant in moved).values())


def test_every_caller_ranks_alike_today_and_after_a_release() -> None:
    addresses = ["a:1", "b:1", "c:1"]
    assert ranked(addresses, "user-1") == ranked(addresses[::-1], "user-1")
    firsts = "".join(ranked(addresses, f"user-{number}")[0][0] for number in range(16))
    assert firsts == "bbacbabcbbacccab"


async def test_a_tenant_keeps_to_one_process(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    for tenant in ("u1", "u2", "u3", "u4", "u5", "u6"):
        first = by_rank(processes, tenant)[0]
        assert [await caller.head(tenant) for _ in range(3)] == [first.number] * 3
    assert sum(len(one.calls) for one in processes) == 18


async def test_the_next_in_rank_answers_for_a_dead_one(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    first, second, third = by_rank(processes, "u1")
    assert await caller.head("u1") == first.number
    await first.stop()
    assert await caller.head("u1") == second.number
    await second.stop()
    assert [await caller.head("u1") for _ in range(3)] == [third.number] * 3
    assert (len(first.calls), len(second.calls)) == (1, 1)


async def test_a_listener_that_is_silent_is_left() -> None:
    async with running(1) as (one,), AsyncExitStack() as stack:
        silent = stack.enter_context(silent_listener())
        caller = await stack.enter_async_context(calling(silent, one.address))
        tenant = next(name for name in map(str, range(100)) if ranked([silent, one.address], name)[0] == silent)
        async with asyncio.timeout(HANG_S):
            assert await caller.head(tenant, timeout_s=3600) == one.number
            assert await caller.head(tenant, timeout_s=3600) == one.number


async def test_a_frozen_process_is_left_in_the_middle_of_a_call(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "QUIET_S", 0.3)
    monkeypatch.setattr(peers, "ALIVE_S", 0.7)
    async with running(2) as (frozen, other), AsyncExitStack() as stack:
        line = Line(frozen.port)
        address = await line.open()
        stack.push_async_callback(line.close)
        caller = await stack.enter_async_context(calling(address, other.address))
        names = (f"waits {number}" for number in range(100))
        tenant = next(name for name in names if ranked([address, other.address], name)[0] == address)
        other.go_on.set()
        call = asyncio.create_task(caller.head(tenant, timeout_s=3600))
        async with asyncio.timeout(HANG_S):
            await frozen.begun.wait()
            line.cut()
            with caplog.at_level(logging.WARNING, "chassis.peers"):
                assert await call == other.number
    assert [record.address for record in caplog.records] == [address]  # type: ignore[attr-defined]


async def test_a_slow_process_that_lives_is_waited_for(
    three: tuple[list[Process], Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    processes, caller = three
    monkeypatch.setattr(peers, "QUIET_S", 0.01)
    first, *others = by_rank(processes, "waits")
    call = asyncio.create_task(caller.head("waits"))
    await first.begun.wait()
    for _ in range(20):  # looks whether it lives
        await asyncio.sleep(0.01)
    first.go_on.set()
    assert await call == first.number
    assert not any(one.calls for one in others)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UNAVAILABLE], ids=str)
async def test_a_refusal_is_an_answer(three: tuple[list[Process], Caller], kind: Kind) -> None:
    processes, caller = three
    first = by_rank(processes, "u1")[0]
    first.refusals.append(Fault(kind, "some_reason", "No."))
    with pytest.raises(Fault) as caught:
        await caller.head("u1")
    assert (caught.value.kind, caught.value.reason) == (kind, "some_reason")
    assert sum(len(one.calls) for one in processes) == 1


async def test_not_now_is_asked_of_the_same_again(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    first, *others = by_rank(processes, "u1")
    first.refusals += [faults.unavailable("outcome_unknown", "Try again.") for _ in range(2)]
    assert await caller.head("u1") == first.number
    assert len(first.calls) == 3
    first.refusals += [faults.unavailable("store_unavailable", "Try again.") for _ in range(100)]
    with pytest.raises(Fault, match="Try again") as caught:
        await caller.head("u1")
    assert caught.value.reason == "store_unavailable"
    assert len(first.calls) == 3 + 4
    assert not any(one.calls for one in others)


async def test_what_was_away_is_preferred_again(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    first, second, _ = by_rank(processes, "u1")
    await first.stop()
    assert await caller.head("u1") == second.number
    await first.start()
    async with asyncio.timeout(HANG_S):
        while await caller.head("u1") == second.number:  # noqa: ASYNC110 (nothing tells when it is found again)
            await asyncio.sleep(0.02)
    assert await caller.head("u1") == first.number


async def test_with_all_away_a_call_waits_for_one_to_come_back(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    for one in processes:
        await one.stop()
    with pytest.raises(Fault) as caught:
        await caller.head("u1", timeout_s=0.4)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "service_unavailable")
    waiting = asyncio.create_task(caller.head("u1"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    last = by_rank(processes, "u1")[2]
    await last.start()
    assert await waiting == last.number


async def test_one_address_is_waited_for() -> None:
    async with running(1) as (one,), calling(one.address) as caller:
        assert await caller.head("u1") == 0
        await one.stop()
        waiting = asyncio.create_task(caller.head("u1"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await one.start()
        assert await waiting == 0


async def test_a_caller_that_goes_away_ends_its_call(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    first, *others = by_rank(processes, "waits")
    call = asyncio.create_task(caller.head("waits"))
    await first.begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(HANG_S):
        await first.left.wait()
    assert not any(one.calls for one in others)


async def test_one_that_is_ready_is_enough(three: tuple[list[Process], Caller]) -> None:
    processes, caller = three
    assert await caller.peers.ready(10.0)
    for one in processes[:2]:
        await one.stop()
    assert await caller.peers.ready(10.0)
    await processes[2].stop()
    assert not await caller.peers.ready(0.2)
