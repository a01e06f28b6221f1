"""A gateway for the browser tests: the product in memory, exact conflicts, events, and every failure on demand.

It exists for what the real one cannot be asked to do at will: to vanish, to lose an answer, to conflict, to answer 500.
The story that proves the app runs on the real services.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.web.fake_product import Faulty, Json, Product

BODY = web.RequestKey("body", dict)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
ALLOWED_HEADERS = "content-type, idempotency-key, if-match, traceparent, tracestate, x-client-id, x-min-version"
PROBLEMS = "https://reelballers.com/problems/"


@dataclass
class Failure:
    """What the next requests that match get instead of their answer: a status, or no answer at all."""

    match: str
    status: int = 0
    reason: str = ""
    detail: str = ""
    times: int = 1
    lose: str = ""  # "before" or "after" the work is done


@dataclass
class FakeGateway:
    """The server, its product, and its knobs."""

    product: Product
    app_origin: str = ""
    failures: list[Failure] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], Json]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    refuse_sockets: bool = False
    signed_in: bool = True
    _runner: web.AppRunner | None = None
    port: int = 0

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    async def start(self) -> None:
        """Listens, on the same port as before when it ran already."""
        self._runner = web.AppRunner(self._application(), shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "localhost", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Vanishes; what it holds stays."""
        for socket in self.sockets:
            await socket.close()
        self.sockets.clear()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    def fail(self, match: str, **how: Any) -> None:
        """`match` is a part of "METHOD /path"."""
        self.failures.append(Failure(match, **how))

    def requests(self, match: str) -> list[tuple[str, dict[str, str], Json]]:
        """What was asked, as ("METHOD /path", headers, body)."""
        return [one for one in self.seen if match in one[0]]

    async def tell(self, message: Json) -> None:
        """To every live page."""
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_json(message)

    async def advance(self, export_id: str, **news: Any) -> None:
        """Moves an export on, and tells."""
        export = self.product.advance(export_id, **news)
        await self.tell({"type": "export", "export": export})

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/healthz", self._healthy)
        app.router.add_get("/ws", self._socket)
        app.router.add_route("*", "/api/{path:.*}", self._api)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/ws":
            return await handler(request)
        if request.method == "OPTIONS":
            return self._with_cors(web.Response(status=204))
        line = f"{request.method} {request.path}"
        body = await request.json() if request.can_read_body else {}
        request[BODY] = body
        self.seen.append((line, dict(request.headers), body))
        failure = next((one for one in self.failures if one.match in line and one.times > 0), None)
        if failure is None:
            return self._with_cors(await handler(request))
        failure.times -= 1
        if failure.lose == "after":
            await handler(request)
        if failure.lose and request.transport is not None:
            request.transport.abort()
        return self._with_cors(problem(failure.status or 500, failure.reason or "internal", failure.detail))

    def _with_cors(self, answer: web.StreamResponse) -> web.StreamResponse:
        answer.headers.update(
            {
                "Access-Control-Allow-Origin": self.app_origin,
                "Access-Control-Allow-Credentials": "true",
                "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Expose-Headers": "ETag, X-Database-Version, Retry-After",
                "Access-Control-Max-Age": "600",
                "Vary": "Origin",
            }
        )
        return answer

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _api(self, request: web.Request) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        if line == "POST /api/session":
            self.signed_in = True
        elif not self.signed_in:
            return problem(401, "no_session", "Begin a session first.")
        try:
            done = self.product.handle(
                request.method, request.path, dict(request.query), request[BODY], dict(request.headers)
            )
        except Faulty as fault:
            return problem(fault.status, fault.reason, fault.detail, **fault.extra)
        if done.location:
            return web.Response(status=302, headers={"Location": done.location})
        headers = {"ETag": f'"{done.base}"', "X-Database-Version": str(done.version)}
        if done.wrote:
            await self.tell(
                {"type": "version", "version": done.version, "author": request.headers.get("X-Client-Id", "")}
            )
        if done.body is None:
            return web.Response(status=204, headers=headers)
        return web.json_response(done.body, status=done.status, headers=headers)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_sockets:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.seen.append(("WS /ws", {}, json.loads(message.data)))
        return socket


def problem(status: int, reason: str, detail: str, **extra: Any) -> web.Response:
    """An RFC 9457 answer."""
    body = {
        "type": PROBLEMS + reason,
        "title": reason.replace("_", " "),
        "status": status,
        "detail": detail,
        "trace_id": TRACE_ID,
        **extra,
    }
    return web.Response(status=status, text=json.dumps(body), content_type="application/problem+json")


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Waits until the condition holds; raises TimeoutError when it does not come about."""
    ends_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends_s:
            raise TimeoutError(f"not within {limit_s:g} s")
        await asyncio.sleep(0.02)
