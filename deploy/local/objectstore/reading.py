"""Objects read: GET and HEAD with ranges, conditions, header overrides; large ones by sendfile."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import dataclass
from typing import IO

from aiohttp import web

from objectstore import conditions, ranges, records
from objectstore.call import Call
from objectstore.errors import S3Error
from objectstore.records import Segment, Stored
from objectstore.times import http_date

SMALL_BYTES = 256 * 1024
OVERRIDES = {
    "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition",
    "response-content-encoding": "content-encoding",
    "response-content-language": "content-language",
    "response-content-type": "content-type",
    "response-expires": "expires",
}


@dataclass(frozen=True)
class _Reading:
    """An object whose blobs are pinned."""

    stored: Stored
    segments: tuple[Segment, ...]

    @property
    def blobs(self) -> list[str]:
        return [segment.blob for segment in self.segments if segment.blob]


@dataclass(frozen=True)
class _Answer:
    """What to send: `piece` is (offset, length) of the object; `body` has it already when it is small."""

    status: int
    headers: dict[str, str]
    piece: tuple[int, int]
    reading: _Reading
    body: bytes | None = None


async def head(call: Call) -> web.StreamResponse:
    """HeadObject."""
    stored = await call.store.read(lambda db: records.require_object(db, call.bucket, call.key))
    answer = _answer(call, _Reading(stored, ()))
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.status != 304:
        response.content_length = answer.piece[1]
    return response


async def get(call: Call) -> web.StreamResponse:
    """GetObject. The blobs stay until the last byte is sent, whatever happens to the key meanwhile."""
    answer = await call.store.offload(_open, call)
    if answer.body is not None or answer.status == 304:
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    try:
        return await _send(call, answer)
    finally:
        await asyncio.shield(call.store.offload(call.store.blobs.unpin, answer.reading.blobs))


def _open(call: Call) -> _Answer:
    """The answer, its blobs pinned unless it is small: then it is read at once. Blocks."""
    blobs = call.store.blobs

    def look(db: sqlite3.Connection) -> _Reading:
        stored = records.require_object(db, call.bucket, call.key)
        return _Reading(stored, records.segments_of(db, stored.id))

    reading = blobs.pin(lambda: call.store.index.read(look), lambda found: found.blobs)
    held = False
    try:
        answer = _answer(call, reading)
        if answer.status == 304 or answer.piece[1] > SMALL_BYTES:
            held = answer.status != 304
            return answer
        body = b"".join(_read(call, *piece) for piece in _pieces(answer))
        return _Answer(answer.status, answer.headers, answer.piece, reading, body)
    finally:
        if not held:
            blobs.unpin(reading.blobs)


def _pieces(answer: _Answer) -> list[tuple[Segment, int, int]]:
    segments = answer.reading.segments
    found = ranges.pieces([segment.size_bytes for segment in segments], *answer.piece)
    if sum(count for _, _, count in found) != answer.piece[1]:
        raise RuntimeError("an object's segments do not add up to its size")
    return [(segments[index], offset, count) for index, offset, count in found]


def _open_blob(call: Call, segment: Segment) -> IO[bytes]:
    return call.store.blobs.path(segment.blob).open("rb", buffering=0)


def _read(call: Call, segment: Segment, offset: int, count: int) -> bytes:
    if segment.data is not None:
        return segment.data[offset : offset + count]
    descriptor = os.open(call.store.blobs.path(segment.blob), os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(descriptor, count, offset)
    finally:
        os.close(descriptor)
    if len(data) != count:
        raise OSError(f"the blob {segment.blob} is shorter than the index says")
    return data


async def _send(call: Call, answer: _Answer) -> web.StreamResponse:
    pieces = _pieces(answer)
    response = web.StreamResponse(status=answer.status, headers=answer.headers | dict(call.cors))
    response.content_length = answer.piece[1]
    await call.stage("after")
    await response.prepare(call.request)
    loop = asyncio.get_running_loop()
    for segment, offset, count in pieces:
        file = await call.store.offload(_open_blob, call, segment)
        try:
            transport = call.request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client is gone")
            sent = await loop.sendfile(transport, file, offset, count)
        finally:
            file.close()
        if sent != count:
            call.cut()
            raise ConnectionResetError(f"the blob {segment.blob} is shorter than the index says")
    await response.write_eof()
    return response


def _answer(call: Call, reading: _Reading) -> _Answer:
    stored = reading.stored
    headers = {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": http_date(stored.modified_ms),
        "Accept-Ranges": "bytes",
    }
    outcome = conditions.read_outcome(conditions.read(call.headers), stored.etag, stored.modified_ms // 1000)
    if outcome == 412:
        raise S3Error("PreconditionFailed", "At least one of the preconditions you specified did not hold.")
    headers |= stored.headers
    for parameter, name in OVERRIDES.items():
        if parameter in call.query:
            headers[name] = _safe(parameter, call.query[parameter])
    if outcome == 304:
        return _Answer(304, {k: v for k, v in headers.items() if k.lower() != "content-type"}, (0, 0), reading)
    piece = ranges.resolve(_range_header(call, stored), stored.size_bytes)
    if piece is not None:
        offset, length = piece
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{stored.size_bytes}"
        return _Answer(206, headers, piece, reading)
    if call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers |= stored.checksums
    return _Answer(200, headers, (0, stored.size_bytes), reading)


def _range_header(call: Call, stored: Stored) -> str | None:
    """The Range header, unless If-Range says that the client's piece is of another object."""
    if_range = call.headers.get("if-range")
    if if_range is not None:
        same = if_range.strip('"') == stored.etag or if_range == http_date(stored.modified_ms)
        if not same:
            return None
    return call.headers.get("range")


def _safe(name: str, value: str) -> str:
    if not value.isprintable():
        raise S3Error("InvalidArgument", f"{name} may not have control characters.")
    return value
