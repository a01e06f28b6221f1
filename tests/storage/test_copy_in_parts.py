"""Copies of what is too large for one copy, against a store that records what it is asked (the embedded has none)."""

from __future__ import annotations

import pytest

from chassis.faults import Fault
from tests.storage.running import Address, running
from tests.storage.scripted_store import Answer, ScriptedStore, error, scripted_store

SIZE = 11_000_000
PART = 5_000_000
HEAD = Answer(
    headers={
        "Content-Length": str(SIZE),
        "ETag": '"source"',
        "Content-Type": "video/mp4",
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    }
)
BEGUN = Answer(body=b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>")
COPIED = Answer(body=b"<CopyPartResult><ETag>&quot;part&quot;</ETag></CopyPartResult>")
DONE = Answer(body=b"<CompleteMultipartUploadResult><ETag>&quot;all-3&quot;</ETag></CompleteMultipartUploadResult>")


def asked(store: ScriptedStore) -> list[str]:
    return [first.split()[0] for first, _ in store.requests]


async def test_parts_cover_the_source() -> None:
    async with scripted_store(HEAD, BEGUN, COPIED, COPIED, COPIED, DONE, HEAD) as store:
        async with running(Address(store.url), copy_limit_bytes=PART, copy_part_bytes=PART) as service:
            copied = (await service.call("Copy", source_key="games/a b", target_key="games/c")).object
        assert (copied.key, copied.size_bytes, copied.content_type) == ("games/c", SIZE, "video/mp4")
        assert asked(store) == ["HEAD", "POST", "PUT", "PUT", "PUT", "POST", "HEAD"]
        parts = sorted((headers for first, headers in store.requests if first.startswith("PUT")), key=_range)
        assert [_range(headers) for headers in parts] == [
            "bytes=0-4999999",
            "bytes=10000000-10999999",
            "bytes=5000000-9999999",
        ]
        for headers in parts:
            assert headers["x-amz-copy-source"] == f"bucket/{service.tenant}/games/a%20b"
            assert headers["x-amz-copy-source-if-match"] == '"source"'
        numbers = sorted(first.split("partNumber=")[1][0] for first, _ in store.requests if "partNumber=" in first)
        assert numbers == ["1", "2", "3"]


async def test_a_copy_that_fails_leaves_no_upload_behind() -> None:
    changed = error(412, "PreconditionFailed")
    async with scripted_store(HEAD, BEGUN, changed, changed, changed, Answer(status=204)) as store:
        async with running(Address(store.url), copy_limit_bytes=PART, copy_part_bytes=PART) as service:
            with pytest.raises(Fault) as caught:
                await service.call("Copy", source_key="games/a", target_key="games/c")
        assert caught.value.reason == "precondition_failed"
        assert asked(store)[-1] == "DELETE"
        assert "uploadId=u1" in store.requests[-1][0]


def _range(headers: dict[str, str]) -> str:
    return headers["x-amz-copy-source-range"]
