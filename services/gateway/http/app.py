"""The application: the route table as aiohttp routes, under CORS and observation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from gateway.actions.parts import Parts
from gateway.http import openapi, requests
from gateway.http.identity import Identities
from gateway.http.limits import MAX_BODY_BYTES, Buckets
from gateway.http.observe import observe
from gateway.http.origins import Origins
from gateway.http.routes import Call, Reply, Route
from gateway.http.table import ROUTES
from gateway.http.websocket import Sockets

ADDRESS_FACTOR = 4  # people behind one address


@dataclass(frozen=True)
class Front:
    """What stands between the network and the handlers."""

    parts: Parts
    origins: Origins
    identities: Identities
    sockets: Sockets
    by_user: Buckets
    by_address: Buckets
    new_sessions: Buckets  # by address: each makes a user
    wall_ms: Callable[[], int]
    trusts_proxy: bool  # the platform's proxy names the client's address

    def address(self, request: web.Request) -> str:
        """The client's address."""
        named = request.headers.get("Fly-Client-IP", "") if self.trusts_proxy else ""
        return named[:64] or request.remote or ""


def build(front: Front) -> web.Application:
    """The application."""
    app = web.Application(middlewares=[front.origins.middleware(), observe], client_max_size=MAX_BODY_BYTES)
    for route in ROUTES:
        serve = _serve(front, route)
        if route.method == "GET":
            app.router.add_get(route.path, serve)
        else:
            app.router.add_route(route.method, route.path, serve)
    document = msgspec.json.encode(openapi.document(ROUTES))

    async def get_document(request: web.Request) -> web.StreamResponse:
        return web.Response(body=document, content_type="application/json")

    async def open_socket(request: web.Request) -> web.StreamResponse:
        front.by_address.take(front.address(request))
        return await front.sockets.serve(request)

    app.router.add_get("/api/openapi.json", get_document)
    app.router.add_get("/ws", open_socket, allow_head=False)
    app.on_response_prepare.append(_harden(front.trusts_proxy))
    app.on_shutdown.append(front.sockets.close)
    return app


def _serve(front: Front, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        front.origins.check_unsafe(request)
        if route.tag == "health":
            return _answer(front, route, await route.handler(await _call(front, route, request, anonymous=True)))
        front.by_address.take(front.address(request))
        if route.method == "POST" and route.tag == "session":
            front.new_sessions.take(front.address(request))
        return _answer(front, route, await route.handler(await _call(front, route, request)))

    return serve


async def _call(front: Front, route: Route, request: web.Request, *, anonymous: bool = False) -> Call[Any]:
    """The request checked, in this order: who, how often, where, by which headers, with what."""
    identity = None
    if not anonymous:
        identity = await (
            front.identities.verified(request) if route.who == "user" else front.identities.known(request)
        )
    if identity is not None:
        front.by_user.take(identity.user_id)
    path = requests.path(request)
    actor = requests.actor(request, route, identity.user_id if identity else "", front.wall_ms)
    asked = await requests.asked(request, route)
    return Call(front.parts, identity, actor, path, asked, front.identities.token(request))


def _answer(front: Front, route: Route, reply: Reply[Any]) -> web.Response:
    status = reply.status or route.status
    response = web.Response(status=status, headers=reply.headers)
    if reply.value is not None:
        response.body = msgspec.json.encode(reply.value)
        response.content_type = "application/json"
    if reply.stamp is not None:
        if reply.stamp.base_version is not None:
            response.headers["ETag"] = f'"{reply.stamp.base_version}"'
        response.headers["X-Database-Version"] = str(reply.stamp.version)
    if reply.cookie is not None:
        front.identities.set_cookie(response, reply.cookie)
    response.headers["Cache-Control"] = "no-store"
    return response


def _harden(https: bool) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def harden(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "reel"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-site"
        response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        if https:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"

    return harden
