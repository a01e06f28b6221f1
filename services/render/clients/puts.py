"""Files sent to URLs that were granted for them, and fetched from such."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp

from chassis import tracing

log = logging.getLogger(__name__)

STALL_S = 60.0
PAUSE_MAX_S = 10.0
_REFUSED = (400, 401, 403, 404, 405, 411, 413)  # asking again with the same grant changes nothing
_BLOCK_BYTES = 1 << 20


class PutFailed(Exception):
    """A file was not taken; `passing` when asking again may help."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


async def put_alone(url: str, headers: Mapping[str, str], path: Path, patience_s: float) -> None:
    """Puts a file by a connection of its own, again while the store is away; PutFailed."""
    began = time.monotonic()
    pause_s = 0.5
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                await put_file(http, url, headers, path)
                return
            except PutFailed as error:
                if not error.passing or time.monotonic() - began > patience_s:
                    raise
                log.warning("put again: %s", error)
            await asyncio.sleep(pause_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)


async def fetch_alone(url: str, path: Path) -> bool:
    """Fetches a file by a connection of its own; False when it is not to be had."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=STALL_S)
    unfinished = path.with_suffix(".fetched")
    try:
        async with aiohttp.ClientSession() as http, http.get(url, timeout=timeout) as answer:
            if answer.status != 200:
                return False
            file = await asyncio.to_thread(unfinished.open, "wb")
            try:
                async for block in answer.content.iter_chunked(_BLOCK_BYTES):
                    await asyncio.to_thread(file.write, block)
            finally:
                file.close()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.warning("not fetched: %s", error)
        return False
    unfinished.rename(path)
    return True


async def put_file(http: aiohttp.ClientSession, url: str, headers: Mapping[str, str], path: Path) -> None:
    """Puts a file; PutFailed. Doing it twice changes nothing."""
    size_bytes = (await asyncio.to_thread(path.stat)).st_size
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=STALL_S)
    sent = {**headers, "Content-Length": str(size_bytes)}
    with tracing.span("store.put", kind="client", attributes={"size_bytes": size_bytes}) as span:
        try:
            async with http.put(url, data=_blocks(path), headers=sent, timeout=timeout) as answer:
                span.set("http.response.status_code", answer.status)
                if answer.status not in (200, 204):
                    log.warning("upload refused: %s %s", answer.status, (await answer.text())[:300])
                    passing = answer.status not in _REFUSED
                    raise PutFailed("The store did not take the finished video.", passing=passing)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PutFailed(f"The upload broke off: {type(error).__name__}.", passing=True) from error


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
    finally:
        file.close()
