"""One authenticated request on its way through the store, and the plain answers to it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from objectstore import payload
from objectstore.errors import S3Error
from objectstore.faults import Fault
from objectstore.signing import Incoming, Verified
from objectstore.store import Store

T = TypeVar("T")
LARGEST_XML_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """A request whose signature held. Header names are in lower case; of a repeated name the first counts.
    `cors` are the headers that an answer to the request's origin carries."""

    store: Store
    request: web.BaseRequest
    incoming: Incoming
    verified: Verified
    bucket: str
    key: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    faults: Sequence[Fault]
    cors: Mapping[str, str]

    async def body(self, checks: payload.Checks) -> AsyncIterator[bytes]:
        """The body in pieces; a client that waits for 100 Continue is told only now."""
        if self.headers.get("expect", "").lower() == "100-continue":
            writer = self.request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0
        idle_s = self.store.settings.body_idle_s
        async for data in payload.stream(self.request.content, checks, self.verified, idle_s):
            yield data

    async def document(self) -> bytes:
        """A small body, whole and held to its claims; raises MaxMessageLengthExceeded when it is not small."""
        headers = self.headers if self.request.body_exists else {"content-length": "0", **self.headers}
        checks = payload.Checks(payload.claims_of(headers, self.verified), etag=False)
        if checks.claims.length > LARGEST_XML_BYTES:
            raise S3Error("MaxMessageLengthExceeded", f"The request body may have {LARGEST_XML_BYTES} bytes at most.")
        pieces = []
        async for data in self.body(checks):
            checks.update(data)
            pieces.append(data)
        checks.finish()
        return b"".join(pieces)

    async def stage(self, name: str) -> None:
        """Lets the armed faults of a stage strike: waits, cuts the connection, or raises the refusal."""
        for fault in self.faults:
            if fault.stage != name:
                continue
            if fault.drop and name == "commit":
                self.cut()
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.status:
                raise S3Error(fault.code, "A fault was injected here.", status=fault.status)
            if fault.drop and name != "commit":
                self.cut()
                raise ConnectionResetError("a fault was injected: the answer is lost")

    def cut(self) -> None:
        """Breaks the connection without an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()

    async def commit(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a change of the index, through the faults of the stage "commit"."""
        await self.stage("commit")
        return await self.store.index.write(change)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query; raises InvalidArgument when it is none or out of bounds."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
            raise S3Error("InvalidArgument", f"{name} must be a whole number from {low} to {high}.")
        return int(text)


def xml_answer(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """200 with an XML document."""
    return web.Response(body=body, headers={"Content-Type": "application/xml", **(headers or {})})


def empty_answer(status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status, headers=headers)
