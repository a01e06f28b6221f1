"""A store that is down, slow, busy or broken: what callers are told, and what is tried again."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from chassis import deadlines
from chassis.faults import Fault, Kind
from storage import bucket, failures
from storage import store as store_module
from tests.storage.running import Address, Running, running
from tests.storage.scripted_store import Answer, error, never, scripted_store

CREATED = Answer(
    body=b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
)
UPLOAD = {"key": "games/x", "upload_id": "u1", "size_bytes": 9, "part_size_bytes": 8 << 20}


async def refusal(service: Running, method: str, timeout_s: float = 60, **fields: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        await service.call(method, timeout_s=timeout_s, **fields)
    return caught.value


async def test_a_store_that_is_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens: refused for as long as the test runs
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with running(Address(url)) as service:
            fault = await refusal(service, "Stat", key="games/x")
            assert (fault.kind, fault.reason) == (Kind.UNAVAILABLE, "store_unavailable")
            # Grants need no store.
            assert (await service.call("GrantUpload", key="games/x", size_bytes=1)).grant.url.startswith(url)


async def test_a_slow_store() -> None:
    async with asyncio.timeout(60), scripted_store() as store, running(Address(store.url)) as service:
        await service.call("List", prefix="games")
        quick, store.otherwise = store.otherwise, never()
        fault = await refusal(service, "List", prefix="games", timeout_s=0.6)
        assert fault.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT)
        store.otherwise = quick
        await service.call("List", prefix="games")


async def test_a_call_keeps_to_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store never answers, and no time but the caller's ends the call."""
    monkeypatch.setattr(bucket, "QUICK_READ_S", 3600.0)
    monkeypatch.setattr(store_module, "QUICK_S", 3600.0)
    async with asyncio.timeout(60), scripted_store() as store, running(Address(store.url)) as service:
        await service.store.open()
        store.otherwise = never()
        with deadlines.scope(0.5), pytest.raises(Fault) as caught:
            await service.store.stat("t/games/x")
        assert (caught.value.kind, caught.value.metadata["cause"]) == (Kind.UNAVAILABLE, "timeout")
        with deadlines.scope(0.01), pytest.raises(Fault) as caught:
            await service.store.stat("t/games/x")
        assert caught.value.kind is Kind.TIMEOUT


async def test_reads_are_repeated_once() -> None:
    for trouble in (error(500, "InternalError"), error(503, "ServiceUnavailable"), Answer(status=0)):
        async with scripted_store() as store, running(Address(store.url)) as service:
            store.answers = [trouble]
            await service.call("List", prefix="games")
            assert len(store.requests) == 2


async def test_creation_is_not_repeated() -> None:
    async with scripted_store() as store, running(Address(store.url)) as service:
        store.answers, store.otherwise = [error(500, "InternalError")], CREATED
        with pytest.raises(Fault):
            await service.store.begin_upload("t/games/x", "video/mp4")
        assert len(store.requests) == 1


async def test_a_store_that_wants_fewer_requests() -> None:
    async with scripted_store() as store, running(Address(store.url)) as service:
        for answer, wait_s in ((error(429, "TooManyRequests"), 1.0), (error(503, "SlowDown", Retry_After="7"), 7.0)):
            store.answers = [answer]
            fault = await refusal(service, "List", prefix="games")
            assert (fault.kind, fault.reason) == (Kind.EXHAUSTED, "rate_limited")
            assert fault.retry_after_s == wait_s


async def test_more_callers_than_may_wait() -> None:
    async with scripted_store() as store, running(Address(store.url), threads=1, waiting=1) as service:
        await service.call("List", prefix="games")
        store.otherwise = never()
        fault = await refusal(service, "GetUsage")  # three lists at once
        assert (fault.kind, fault.reason) == (Kind.EXHAUSTED, "rate_limited")


async def test_a_completion_whose_answer_was_lost() -> None:
    parts = b"<ListPartsResult><Part><PartNumber>1</PartNumber><Size>9</Size><ETag>e</ETag></Part></ListPartsResult>"
    head = Answer(headers={"Content-Length": "9", "ETag": '"e-1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})
    async with scripted_store() as store, running(Address(store.url)) as service:
        # The store completes, the connection breaks; the caller is told to ask again, does, and gets the object.
        store.answers = [Answer(body=parts), Answer(status=0), error(404, "NoSuchUpload"), head]
        found = (await service.call("CompleteMultipartUpload", upload=UPLOAD)).object
        assert (found.size_bytes, found.etag) == (9, "e-1")
        methods = [first.split()[0] for first, _ in store.requests]
        assert methods == ["GET", "POST", "GET", "HEAD"]


async def test_a_deletion_that_failed_for_one_key() -> None:
    result = b"<DeleteResult><Error><Key>k</Key><Code>InternalError</Code></Error></DeleteResult>"
    async with scripted_store() as store, running(Address(store.url)) as service:
        store.otherwise = Answer(body=result)
        fault = await refusal(service, "DeleteObjects", keys=["games/x"])
        assert (fault.kind, fault.reason) == (Kind.UNAVAILABLE, "store_unavailable")


async def test_what_answers_is_no_store() -> None:
    async with scripted_store() as store, running(Address(store.url)) as service:
        store.otherwise = Answer(body=b"<html>hotel wifi</ht")
        fault = await refusal(service, "List", prefix="games")
        assert (fault.kind, fault.reason) == (Kind.UNAVAILABLE, "store_unavailable")


@pytest.mark.parametrize(
    ("code", "status", "kind", "reason"),
    [
        ("NoSuchKey", 404, Kind.NOT_FOUND, "object_not_found"),
        ("404", 404, Kind.NOT_FOUND, "object_not_found"),
        ("NoSuchUpload", 404, Kind.NOT_FOUND, "upload_not_found"),
        ("NoSuchBucket", 404, Kind.INTERNAL, "store_unavailable"),
        ("InvalidPart", 400, Kind.PRECONDITION, "upload_incomplete"),
        ("EntityTooSmall", 400, Kind.PRECONDITION, "upload_incomplete"),
        ("EntityTooLarge", 400, Kind.INVALID, "object_too_large"),
        ("PreconditionFailed", 412, Kind.PRECONDITION, "precondition_failed"),
        ("412", 412, Kind.PRECONDITION, "precondition_failed"),
        ("TooManyRequests", 429, Kind.EXHAUSTED, "rate_limited"),
        ("SlowDown", 503, Kind.EXHAUSTED, "rate_limited"),
        ("InternalError", 500, Kind.UNAVAILABLE, "store_unavailable"),
        ("InternalError", 200, Kind.UNAVAILABLE, "store_unavailable"),
        ("500", 500, Kind.UNAVAILABLE, "store_unavailable"),
        ("ServiceUnavailable", 503, Kind.UNAVAILABLE, "store_unavailable"),
        ("RequestTimeTooSkewed", 403, Kind.UNAVAILABLE, "store_unavailable"),
        ("SignatureDoesNotMatch", 403, Kind.INTERNAL, "store_unavailable"),
        ("Unauthorized", 401, Kind.INTERNAL, "store_unavailable"),
        ("NotImplemented", 501, Kind.INTERNAL, "store_unavailable"),
        ("InvalidArgument", 400, Kind.INTERNAL, "store_unavailable"),
    ],
)
def test_what_refusals_mean(code: str, status: int, kind: Kind, reason: str) -> None:
    fault = failures.fault("HeadObject", code, status)
    assert (fault.kind, fault.reason) == (kind, reason)
    assert fault.metadata["store_code"] == code
