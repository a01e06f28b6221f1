"""One call to the store: never repeated behind our back, given up in time, signed with the store's time."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from chassis import tracing
from chassis.config import Secret
from chassis.faults import Fault, Kind
from storage import bucket as bucket_module
from storage import store as store_module
from storage.bucket import OPERATIONS, Bucket, SlimLoader
from storage.sigv4 import Signer
from storage.store_clock import StoreClock
from tests.storage.running import Address, running
from tests.storage.scripted_store import Answer, ScriptedStore, error, never, scripted_store

SECRET = "do-not-show-this"


def opened(store: ScriptedStore, clock: StoreClock | None = None) -> Bucket:
    return Bucket(store.url, "bucket", Signer(store.url, "key-id", Secret(SECRET)), clock or StoreClock(), 2)


def seconds(amz_date: str) -> float:
    """Seconds since 1970 of a signature's time."""
    return datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("trouble", [error(500, "InternalError"), error(503, "SlowDown"), Answer(status=0)])
async def test_botocore_never_repeats(trouble: Answer) -> None:
    async with scripted_store() as store:
        store.otherwise = trouble
        bucket = opened(store)
        with pytest.raises(Fault):
            await asyncio.to_thread(bucket.call, "ListObjectsV2", {"Prefix": "t/"})
        assert len(store.requests) == 1
        bucket.close()


async def test_a_silent_store_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "QUICK_READ_S", 0.3)
    async with asyncio.timeout(60), scripted_store() as store:
        store.otherwise = never()
        bucket = opened(store)
        with pytest.raises(Fault) as caught:
            await asyncio.to_thread(bucket.call, "HeadBucket", {})
        assert (caught.value.kind, caught.value.metadata["cause"]) == (Kind.UNAVAILABLE, "ReadTimeoutError")
        bucket.close()


async def test_credentials_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with scripted_store(error(403, "SignatureDoesNotMatch")) as store:
        bucket = opened(store)
        with pytest.raises(Fault) as caught:
            await asyncio.to_thread(bucket.call, "ListObjectsV2", {"Prefix": "t/"})
        await asyncio.to_thread(bucket.call, "ListObjectsV2", {"Prefix": "t/"})
        bucket.close()
    assert caught.value.kind is Kind.INTERNAL
    assert "refused ListObjectsV2" in caplog.text
    assert SECRET not in caplog.text + repr(caught.value) + str(caught.value.metadata) + repr(vars(bucket))


async def test_the_clock_follows_the_store() -> None:
    async with scripted_store(error(403, "RequestTimeTooSkewed")) as store:
        store.now_s = time.time() + 7200
        clock = StoreClock()
        bucket = opened(store, clock)
        with pytest.raises(Fault):
            await asyncio.to_thread(bucket.call, "HeadBucket", {})
        assert abs(clock.now_s() - store.now_s) < 60
        await asyncio.to_thread(bucket.call, "HeadBucket", {})
        (_, wrong), (_, right) = store.requests
        assert abs(seconds(wrong["x-amz-date"]) - (store.now_s - 7200)) < 60
        assert abs(seconds(right["x-amz-date"]) - store.now_s) < 60
        bucket.close()


async def test_a_resumed_machine_signs_with_the_stores_time() -> None:
    """Suspended for an hour: the first grant asks the store, whose refusal says the time; then it asks rightly."""
    async with scripted_store() as store:
        monotonic = [0.0]
        clock = StoreClock(monotonic=lambda: monotonic[0])
        async with running(Address(store.url), clock=clock) as service:
            await service.call("List", prefix="games")
            monotonic[0] += 120
            store.now_s = time.time() + 3600
            store.answers = [error(403, "RequestTimeTooSkewed")]
            for _ in range(3):
                made = await service.call("GrantUpload", key="games/x", size_bytes=1)
                (stamp,) = parse_qs(urlsplit(made.grant.url).query)["X-Amz-Date"]
                assert abs(seconds(stamp) - store.now_s) < 60
                assert abs(made.grant.expires.seconds - store.now_s - 900) < 60
            assert len(store.requests) == 3  # the list, the question that was refused, the question again
            assert abs(seconds(store.requests[-1][1]["x-amz-date"]) - store.now_s) < 60


async def test_a_store_that_does_not_say_the_time_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never answers: the grants are given all the same, after one question for all of them and those that follow."""
    monkeypatch.setattr(bucket_module, "QUICK_READ_S", 3600.0)
    monkeypatch.setattr(store_module, "QUICK_S", 3600.0)
    monkeypatch.setattr(store_module, "ASK_AGAIN_S", 3600.0)
    async with asyncio.timeout(60), scripted_store() as store:
        monotonic = [0.0]
        clock = StoreClock(monotonic=lambda: monotonic[0])
        async with running(Address(store.url), clock=clock) as service:
            await service.call("List", prefix="games")
            monotonic[0] += 120
            store.otherwise = never()
            wanted: dict[str, Any] = {"key": "games/x", "size_bytes": 1, "timeout_s": 50}
            await asyncio.gather(*(service.call("GrantUpload", **wanted) for _ in range(20)))
            await service.call("GrantUpload", **wanted)
            await store.asked(2)  # what was given up may still be on its way
            assert [first.split()[0] for first, _ in store.requests] == ["GET", "HEAD"]


async def test_every_call_is_a_span(tmp_path: Path) -> None:
    tracing.setup("storage", "local", trace_dir=tmp_path)
    async with scripted_store(error(404, "NoSuchKey")) as store:
        bucket = opened(store)
        with pytest.raises(Fault):
            await asyncio.to_thread(bucket.call, "HeadObject", {"Key": "t/games/x"})
        bucket.close()
    tracing.shutdown()
    text = (tmp_path / "storage.jsonl").read_text()
    tracing.setup("unnamed", "local")
    for part in ('"name": "S3/HeadObject"', '"kind": "client"', '"rpc.method": "S3/HeadObject"', '"status": "error"'):
        assert part in text
    assert '"http.response.status_code": 404' in text
    assert '"aws.s3.key": "t/games/x"' in text


async def test_the_model_holds_what_is_used_and_no_more() -> None:
    async with scripted_store() as store:
        bucket = opened(store)
        client: Any = bucket._quick
        assert set(client.meta.method_to_api_mapping.values()) == OPERATIONS
        bucket.close()
    model = SlimLoader().load_service_model("s3", "service-2")
    assert len(model["shapes"]) < 250  # of 1,100
    assert {"HeadObjectOutput", "NoSuchKey"} <= set(model["shapes"])
    assert "CreateBucketRequest" not in model["shapes"]
