"""A store that answers each request as the test says: late, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import formatdate

EMPTY_LIST = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated></ListBucketResult>'


@dataclass(frozen=True)
class Answer:
    """One answer; `status` 0 closes the connection without a word. It is given once `when` is set, if there is one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    when: asyncio.Event | None = None


def never() -> Answer:
    """No answer, for as long as the store lives."""
    return Answer(when=asyncio.Event())


def error(status: int, code: str, **headers: str) -> Answer:
    """An S3 error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, f"<Error><Code>{code}</Code><Message>so the test says</Message></Error>".encode(), named)


@dataclass
class ScriptedStore:
    """Gives `answers` in turn, then `otherwise`; `requests` holds each request's first line and headers."""

    answers: list[Answer] = field(default_factory=list)
    otherwise: Answer = field(default_factory=lambda: Answer(body=EMPTY_LIST))
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    now_s: float | None = None
    url: str = ""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def asked(self, count: int) -> None:
        """Returns once so many requests have come."""
        while len(self.requests) < count:
            self.heard.clear()
            await self.heard.wait()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if task := asyncio.current_task():
            self.tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((first, headers))
        self.heard.set()
        answer = self.answers.pop(0) if self.answers else self.otherwise
        if answer.when is not None:
            await answer.when.wait()
        if not answer.status:
            return False
        body = b"" if first.startswith("HEAD") else answer.body
        date = formatdate(None if self.now_s is None else self.now_s, usegmt=True)
        sent = {"Date": date, "Content-Length": str(len(body)), "Content-Type": "application/xml", **answer.headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        writer.write(f"HTTP/1.1 {answer.status} So\r\n{text}\r\n".encode() + body)
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def scripted_store(*answers: Answer) -> AsyncIterator[ScriptedStore]:
    """A scripted store on a free port of this machine."""
    store = ScriptedStore(list(answers))
    server = await asyncio.start_server(store.handle, "127.0.0.1", 0, limit=1 << 20)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield store
    finally:
        server.close()
        for task in store.tasks:
            task.cancel()
        await asyncio.gather(*store.tasks, return_exceptions=True)
