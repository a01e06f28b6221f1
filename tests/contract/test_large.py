"""Large objects in constant memory: sent by presigned URL as a browser does, read back as a player does."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from yarl import URL

from tests.contract.targets import MIB, pattern
from tests.fakes.object_store import BUCKET, object_store_process

LARGE_BYTES = 300 * MIB
MOST_RSS_BYTES = 100 * MIB
BLOCK = pattern(MIB)


async def _blocks() -> AsyncIterator[bytes]:
    for number in range(LARGE_BYTES // MIB):
        yield number.to_bytes(8, "big") + BLOCK[8:]


async def _send(session: aiohttp.ClientSession, url: str) -> str:
    headers = {"Content-Length": str(LARGE_BYTES)}
    async with session.put(URL(url, encoded=True), data=_blocks(), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers["ETag"]


async def test_a_large_object_takes_little_memory(tmp_path: Path) -> None:
    with object_store_process(tmp_path / "data", OBJECTSTORE_FSYNC="false") as store:
        client = store.client()
        expected = hashlib.md5()
        async for block in _blocks():
            expected.update(block)
        put = client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "large"})
        get = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "large"})
        async with aiohttp.ClientSession() as session:
            assert await _send(session, put) == f'"{expected.hexdigest()}"'
            found = hashlib.md5()
            async with session.get(URL(get, encoded=True)) as answer:
                assert answer.content_length == LARGE_BYTES
                async for piece in answer.content.iter_chunked(MIB):
                    found.update(piece)
            assert found.digest() == expected.digest()
            # A player seeks: the middle comes at once, and the rest is not read for it.
            middle = {"Range": f"bytes={200 * MIB}-{200 * MIB + 7}"}
            async with session.get(URL(get, encoded=True), headers=middle) as answer:
                assert (answer.status, await answer.read()) == (206, (200).to_bytes(8, "big"))
            # Players hang up in mid-stream all the time.
            for _ in range(5):
                answer = await session.get(URL(get, encoded=True))
                await answer.content.readexactly(MIB)
                answer.close()
            async with session.get(URL(get, encoded=True), headers=middle) as answer:
                assert answer.status == 206
        assert store.peak_rss_bytes() < MOST_RSS_BYTES
