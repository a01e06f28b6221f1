"""The WebSocket: hints of new versions and of exports' progress.

A page says hello with what it has seen, so that resuming needs no memory here. A hint is never the only way to know
something. Bounds: the number of sockets, the size of a message, the time to say hello; a session that has ended ends
its sockets at the next ping.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from chassis import deadlines, tracing
from chassis.faults import Fault, Kind
from gateway.actions.events import ExportHint, Listener, VersionHint
from gateway.actions.parts import Parts
from gateway.domain.actor import Actor
from gateway.http import types
from gateway.http.identity import Identities
from gateway.http.origins import Origins
from gateway.http.routes import reply

log = logging.getLogger(__name__)

HELLO_S = 10.0
PING_S = 20.0
SEND_S = 10.0
CATCH_UP_S = 10.0
MAX_MESSAGE_BYTES = 16 << 10
MAX_MESSAGES_A_MINUTE = 60
SESSION_GONE = 4401


class Sockets:
    """The open WebSockets."""

    def __init__(
        self,
        parts: Parts,
        identities: Identities,
        origins: Origins,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._identities = identities
        self._origins = origins
        self._clock_s = clock_s
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One socket, to its end."""
        identity = await self._identities.verified(request)
        socket = web.WebSocketResponse(heartbeat=30.0, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await socket.prepare(request)
        if not self._origins.allows(request):
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"wrong origin")
            return socket
        try:
            listener = self._parts.hub.join(identity.user_id)
        except Fault:
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too many pages")
            return socket
        self._open.add(socket)
        try:
            with deadlines.unbounded():
                await self._live(request, socket, listener)
        finally:
            self._open.discard(socket)
            self._parts.hub.leave(listener)
        return socket

    async def close(self, app: web.Application) -> None:
        """Sends every page away, to come back to another gateway."""
        sockets = list(self._open)
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY, message=b"restarting") for socket in sockets))

    async def _live(self, request: web.Request, socket: web.WebSocketResponse, listener: Listener) -> None:
        hello = await self._hello(socket)
        if hello is None:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"say hello first")
            return
        listener.knows(hello.version, hello.exports)
        carrier = {"traceparent": hello.traceparent} if hello.traceparent else {}
        with tracing.span("ws hello", kind="server", attributes={"http.route": "/ws"}, parent=carrier):
            await self._catch_up(listener, hello)
        writer = asyncio.create_task(self._write(request, socket, listener))
        try:
            await self._read(socket)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _hello(self, socket: web.WebSocketResponse) -> types.Hello | None:
        try:
            message = await socket.receive(timeout=HELLO_S)
            if message.type is not WSMsgType.TEXT:
                return None
            return msgspec.json.decode(message.data, type=types.Hello)
        except (TimeoutError, msgspec.MsgspecError, ValueError, RecursionError):
            return None

    async def _catch_up(self, listener: Listener, hello: types.Hello) -> None:
        """Tells what the page has missed: a newer version, every unfinished export, and the named ones that moved
        on.
        """
        actor = Actor(listener.user_id, hello.client_id, "")
        try:
            with deadlines.scope(CATCH_UP_S):
                found, stamp = await self._parts.exports.listed(actor, None, "")
                _, author = await self._parts.library.head(listener.user_id)
        except Fault as fault:
            log.info("a page could not be caught up: %s", fault, extra={"reason": fault.reason})
            return
        listener.version(VersionHint(stamp.version, author))
        for export in found:
            if not export.terminal or export.id in hello.exports:
                listener.export(export, again=not export.terminal)

    async def _read(self, socket: web.WebSocketResponse) -> None:
        """Takes what the page says, which is nothing of importance, until it leaves; too much of it ends the socket."""
        since_s, count = self._clock_s(), 0
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                return
            count += 1
            if self._clock_s() - since_s > 60:
                since_s, count = self._clock_s(), 0
            if count > MAX_MESSAGES_A_MINUTE:
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many messages")
                return

    async def _write(self, request: web.Request, socket: web.WebSocketResponse, listener: Listener) -> None:
        try:
            verified_s = self._clock_s()
            while not socket.closed:
                hints = await listener.take(PING_S)
                if self._clock_s() - verified_s >= PING_S:
                    await self._identities.verified(request)
                    verified_s = self._clock_s()
                for text in [_text(hint) for hint in hints] or ['{"type":"ping"}']:
                    async with asyncio.timeout(SEND_S):
                        await socket.send_str(text)
        except Fault as fault:
            gone = fault.kind is Kind.UNAUTHENTICATED
            await socket.close(
                code=SESSION_GONE if gone else WSCloseCode.TRY_AGAIN_LATER, message=fault.reason.encode()
            )
        except (TimeoutError, ConnectionError):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"too slow")


def _text(hint: VersionHint | ExportHint) -> str:
    if isinstance(hint, VersionHint):
        body: dict[str, object] = {"type": "version", "version": hint.version, "author": hint.author}
    else:
        body = {"type": "export", "export": reply(types.Export, hint.export).value}
    return msgspec.json.encode(body).decode()
