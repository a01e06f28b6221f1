"""Connections that cannot be held open for nothing: headers within a time, a bound on their number, and problems even
for what is no HTTP.

aiohttp closes idle connections; what it does not do is end a client that sends its headers one byte at a time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from chassis import tracing
from gateway.http import problems

HEADERS_S = 10.0
IDLE_S = 75.0
LINGER_S = 2.0
MAX_CONNECTIONS = 2000


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_headers_timer",)

    def __init__(self, server: web.Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuses one too many; gives the first headers their time."""
        super().connection_made(transport)
        if self._manager is not None and len(self._manager.connections) > MAX_CONNECTIONS:
            self.force_close()
            return
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Stops the time when a request's headers are whole, starts it at the first byte of the next ones."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_waiting()
        elif self._headers_timer is None and self._current_request is None and not self._messages:
            self._await_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forgets the time."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP request, as a problem; nothing of it is logged: the internet is full of it."""
        detail = (
            "This is not a request that can be understood." if status < 500 else "Something went wrong on our side."
        )
        with tracing.span("HTTP", kind="server", attributes={"http.response.status_code": status}, parent={}):
            answer = problems.response(status, "bad_request" if status < 500 else "internal", detail)
        answer.headers["Server"] = "reel"
        answer.force_close()
        return answer

    def _await_headers(self) -> None:
        self._headers_timer = self._loop.call_later(HEADERS_S, self.force_close)

    def _stop_waiting(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None


class Listener:
    """A listening socket for an application."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=8.0)
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; the bound port. OSError when the address is taken."""
        await self._runner.setup()
        server = self._runner.server
        if server is None:
            raise RuntimeError("the application was not set up")
        loop = asyncio.get_running_loop()

        def connect() -> Connection:
            return Connection(
                server,
                loop=loop,
                keepalive_timeout=IDLE_S,
                lingering_time=LINGER_S,
                auto_decompress=False,
                access_log=None,
            )

        self._server = await loop.create_server(connect, host, port, backlog=512)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Takes no new connection, lets requests end, closes the rest."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
