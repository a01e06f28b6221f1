"""Calls between services over real sockets: tenant, token, deadline, trace, faults, health, a peer that restarts."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import deadlines, faults, rpc_client, rpc_faults, rpc_server, tracing
from chassis.config import Base, Secret
from chassis.credentials import Caller, new_key
from chassis.faults import Fault, Kind
from reel.dbsync.v1 import dbsync_pb2, dbsync_pb2_grpc
from reel.render.v1 import render_pb2, render_pb2_grpc

SEED, PUBLIC = new_key()
SERVER = Base("dbsync", "local", "127.0.0.1:0", "info", Secret(new_key()[0]), {"gateway": PUBLIC}, "", None)
CLIENT = replace(SERVER, service="gateway", signing_key=Secret(SEED))


@dataclass
class Servicer:
    """Answers by the database's name; remembers what it saw."""

    seen: list[Any] = field(default_factory=list)
    fail_times: int = 0
    left: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # set when a stream was left

    async def Head(self, request: Any, context: Any) -> Any:
        self.seen.append((deadlines.remaining_s(999), tracing.trace_id()))
        if self.fail_times:
            self.fail_times -= 1
            raise faults.unavailable("outcome_unknown", "Try again.")
        if request.database == "slow":
            await asyncio.Event().wait()
        if request.database == "bug":
            raise ZeroDivisionError("secret words")
        if request.database == "stale":
            conflict = dbsync_pb2.ConflictDetail(database="stale", base_version=3, head_version=5)
            raise Fault(Kind.CONFLICT, "conflict", "Stale.", metadata={"a": "b"}, retry_after_s=1.5, details=[conflict])
        return dbsync_pb2.HeadResponse(version=7)

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for sequence in range(3):
            yield render_pb2.WatchJobResponse(job=render_pb2.Job(sequence=sequence))
        if request.job_id == "breaks":
            raise faults.not_found("job_not_found", "Gone.")
        if request.job_id == "waits":
            try:
                await asyncio.Event().wait()
            finally:
                self.left.append(request.job_id)
                self.gone.set()


def authorize(caller: Caller, request: Any) -> None:
    if caller.tenant == "_jobs":
        raise faults.forbidden("not_yours", "Not for the gateway.")


@dataclass
class Peer:
    servicer: Servicer
    server: rpc_server.Server
    channel: rpc_client.Channel
    port: int
    dbsync: Any
    render: Any

    async def head(self, database: str, *, tenant: str | None = None, timeout_s: float = 60.0) -> Any:
        request = dbsync_pb2.HeadRequest(database=database)
        return await self.channel.call(self.dbsync.Head, request, tenant=tenant or database, timeout_s=timeout_s)


async def serve(listen: str) -> tuple[Servicer, rpc_server.Server, int]:
    servicer = Servicer()
    server = rpc_server.create(
        replace(SERVER, listen=listen), authorize=authorize, services=["reel.dbsync.v1.DbSyncService"]
    )
    call = grpc.unary_unary_rpc_method_handler(
        servicer.Head, dbsync_pb2.HeadRequest.FromString, dbsync_pb2.HeadResponse.SerializeToString
    )
    stream = grpc.unary_stream_rpc_method_handler(
        servicer.WatchJob, render_pb2.WatchJobRequest.FromString, render_pb2.WatchJobResponse.SerializeToString
    )
    server.grpc.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("reel.dbsync.v1.DbSyncService", {"Head": call}),
            grpc.method_handlers_generic_handler("reel.render.v1.RenderService", {"WatchJob": stream}),
        )
    )
    return servicer, server, await server.start()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    servicer, server, port = await serve("127.0.0.1:0")
    channel = rpc_client.Channel(f"127.0.0.1:{port}", audience="dbsync", base=CLIENT)
    stubs = dbsync_pb2_grpc.DbSyncServiceStub(channel.grpc), render_pb2_grpc.RenderServiceStub(channel.grpc)
    yield Peer(servicer, server, channel, port, *stubs)
    await channel.close()
    await server.grpc.stop(0)


async def failure(call: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        await call
    return caught.value


async def test_a_call_arrives_with_deadline_and_trace(peer: Peer) -> None:
    with tracing.span("outer"):
        assert (await peer.head("u1", timeout_s=100)).version == 7
        (left, trace_id), outer = peer.servicer.seen[0], tracing.trace_id()
    assert 40 < left < 100 and trace_id == outer


async def test_the_caller_passes_on_less_than_it_has(peer: Peer) -> None:
    with deadlines.scope(60):
        await peer.head("u1", timeout_s=100)
    assert peer.servicer.seen[0][0] < 60 - deadlines.MARGIN_S


async def test_another_tenants_request_is_refused(peer: Peer) -> None:
    fault = await failure(peer.head("u2", tenant="u1"))
    assert (fault.kind, fault.reason) == (Kind.FORBIDDEN, "wrong_tenant")
    assert not peer.servicer.seen


async def test_the_services_own_rule_is_asked(peer: Peer) -> None:
    assert (await failure(peer.head("_jobs"))).reason == "not_yours"


@pytest.mark.parametrize("header", [None, "Bearer x", "Basic x"])
async def test_a_call_without_a_good_token_is_refused(peer: Peer, header: str | None) -> None:
    metadata = (("authorization", header),) if header else ()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await peer.dbsync.Head(dbsync_pb2.HeadRequest(database="u1"), timeout=60, metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not peer.servicer.seen


async def test_a_call_without_a_deadline_is_refused(peer: Peer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await peer.dbsync.Head(dbsync_pb2.HeadRequest(database="u1"), metadata=peer.channel._metadata("u1", {}))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_fault_keeps_everything_on_its_way(peer: Peer) -> None:
    fault = await failure(peer.head("stale"))
    assert (fault.kind, fault.reason, fault.message) == (Kind.CONFLICT, "conflict", "Stale.")
    assert (fault.metadata, fault.retry_after_s) == ({"a": "b"}, 1.5)
    detail = rpc_faults.detail(fault, dbsync_pb2.ConflictDetail)
    assert detail is not None and (detail.base_version, detail.head_version) == (3, 5)
    assert rpc_faults.detail(fault, dbsync_pb2.HeadRequest) is None


async def test_a_bug_is_logged_and_masked(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    fault = await failure(peer.head("bug"))
    assert fault.kind is Kind.INTERNAL and "secret words" not in fault.message
    assert "secret words" in caplog.text


async def test_a_slow_peer_is_a_timeout_whose_outcome_is_unknown(peer: Peer) -> None:
    fault = await failure(peer.head("slow", timeout_s=0.3))
    assert fault.kind is Kind.TIMEOUT


async def test_unavailable_is_repeated_a_bounded_number_of_times(peer: Peer) -> None:
    peer.servicer.fail_times = 2
    assert (await peer.head("u1")).version == 7
    assert len(peer.servicer.seen) == 3
    peer.servicer.fail_times = 100
    assert (await failure(peer.head("u1"))).reason == "outcome_unknown"
    assert len(peer.servicer.seen) <= 3 + 5


async def test_a_peer_that_restarts_is_found_again(peer: Peer) -> None:
    await peer.head("u1")
    await peer.server.grpc.stop(0)
    waiting = asyncio.create_task(peer.head("u1", timeout_s=60))
    await asyncio.sleep(0.3)
    _, again, _ = await serve(f"127.0.0.1:{peer.port}")
    assert (await waiting).version == 7
    await again.grpc.stop(0)


async def test_a_stream_delivers_ends_and_fails(peer: Peer) -> None:
    async def sequences(job_id: str, timeout_s: float = 60) -> list[int]:
        request = render_pb2.WatchJobRequest(tenant="u1", job_id=job_id)
        stream = peer.channel.stream(peer.render.WatchJob, request, tenant="u1", timeout_s=timeout_s)
        return [answer.job.sequence async for answer in stream]

    assert await sequences("j") == [0, 1, 2]
    assert (await failure(sequences("breaks"))).reason == "job_not_found"
    assert (await failure(sequences("waits", 0.8))).kind is Kind.TIMEOUT


async def test_a_stream_that_the_client_leaves_ends_cleanly(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    request = render_pb2.WatchJobRequest(tenant="u1", job_id="waits")
    stream = peer.channel.stream(peer.render.WatchJob, request, tenant="u1", timeout_s=30)
    async for answer in stream:
        if answer.job.sequence == 2:
            break
    await stream.aclose()
    async with asyncio.timeout(60):
        await peer.servicer.gone.wait()
    gc.collect()
    await asyncio.sleep(0.05)
    assert peer.servicer.left == ["waits"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_health_follows_the_servers_life(peer: Peer) -> None:
    assert await peer.channel.ready(60)
    await peer.server.stop()
    assert not await peer.channel.ready(0.3)


async def test_a_taken_port_is_an_error(peer: Peer) -> None:
    with pytest.raises(OSError, match=str(peer.port)):
        await serve(f"127.0.0.1:{peer.port}")


async def server_span_written(folder: Path) -> None:
    """A server's span may end after its client has the answer."""
    async with asyncio.timeout(60):
        while True:
            if '"kind": "server"' in (folder / "both.jsonl").read_text():
                return
            await asyncio.sleep(0.005)


async def test_the_spans_of_a_call_are_one_tree(peer: Peer, tmp_path: Path) -> None:
    tracing.setup("both", "local", trace_dir=tmp_path)
    try:
        with tracing.span("outer"):
            await failure(peer.head("bug"))
        await server_span_written(tmp_path)
    finally:
        tracing.shutdown()
        tracing.setup("unnamed", "local")
    spans = {(s["name"], s["kind"]): s for s in map(json.loads, (tmp_path / "both.jsonl").read_text().splitlines())}
    outer, client, server = (
        spans["outer", "internal"],
        spans["reel.dbsync.v1.DbSyncService/Head", "client"],
        spans["reel.dbsync.v1.DbSyncService/Head", "server"],
    )
    assert len({s["trace_id"] for s in spans.values()}) == 1
    assert (outer["parent_id"], client["parent_id"], server["parent_id"]) == (None, outer["span_id"], client["span_id"])
    assert (server["status"], server["attributes"]["rpc.response.status_code"]) == ("error", "INTERNAL")
    assert outer["status"] == "unset"


async def test_a_streams_span_lasts_as_long_as_the_stream(peer: Peer, tmp_path: Path) -> None:
    tracing.setup("both", "local", trace_dir=tmp_path)
    try:
        with tracing.span("outer"):
            request = render_pb2.WatchJobRequest(tenant="u1", job_id="j")
            heard_ns = []
            async for _ in peer.channel.stream(peer.render.WatchJob, request, tenant="u1", timeout_s=60):
                await asyncio.sleep(0.01)
                heard_ns.append(time.time_ns())
        await server_span_written(tmp_path)
    finally:
        tracing.shutdown()
        tracing.setup("unnamed", "local")
    spans = {s["kind"]: s for s in map(json.loads, (tmp_path / "both.jsonl").read_text().splitlines())}
    client, server = spans["client"], spans["server"]
    assert (client["parent_id"], server["parent_id"]) == (spans["internal"]["span_id"], client["span_id"])
    assert len(heard_ns) == 3 and client["start_ns"] < heard_ns[0] < heard_ns[-1] <= client["end_ns"]
    assert client["attributes"]["rpc.response.status_code"] == "OK"


@given(
    st.sampled_from(Kind),
    st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True),
    st.text(max_size=50),
    st.dictionaries(st.from_regex(r"[a-j][a-z_]{0,9}", fullmatch=True), st.text(max_size=20), max_size=3),
    st.none() | st.integers(0, 100_000).map(lambda millis: millis / 1000),
)
def test_every_fault_survives_the_wire(
    kind: Kind, reason: str, message: str, metadata: dict[str, str], retry: float | None
) -> None:
    sent = Fault(kind, reason, message, metadata=metadata, retry_after_s=retry)
    status = rpc_faults.to_status(sent)
    error = grpc.aio.AioRpcError(
        status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.trailing_metadata), status.details
    )
    got = rpc_faults.from_error(error)
    assert (got.kind, got.reason, got.message, got.metadata) == (kind, reason, message, metadata)
    assert got.retry_after_s == pytest.approx(retry, abs=1e-6) if retry is not None else got.retry_after_s is None
