"""Sessions, and the whole library at once, over HTTP."""

from __future__ import annotations

import msgspec

from gateway.actions import overview
from gateway.actions.sessions import Identity, no_session
from gateway.http import types
from gateway.http.routes import Call, Reply, Route, reply


async def get_session(call: Call[types.Nothing]) -> Reply[types.Session]:
    if call.identity is None:
        raise no_session()
    return Reply(_session(call, call.identity))


async def create_session(call: Call[types.Nothing]) -> Reply[types.Session]:
    if call.identity is not None and call.token:
        return Reply(_session(call, call.identity), status=200)
    identity, token = await call.parts.sessions.create()
    return Reply(_session(call, identity), cookie=token)


async def delete_session(call: Call[types.Nothing]) -> Reply[None]:
    if call.token:
        await call.parts.sessions.revoke(call.token)
    return Reply(None, cookie="")


async def get_library(call: Call[types.Nothing]) -> Reply[types.Library]:
    found, stamp = await overview.read(call.parts.library, call.parts.exports, call.actor)
    return reply(types.Library, found, stamp)


def _session(call: Call[types.Nothing], identity: Identity) -> types.Session:
    seen = {"user_id": identity.user_id, "kind": identity.kind, "environment": call.parts.environment}
    return msgspec.convert(seen, types.Session)


SESSION = "/api/session"

ROUTES = (
    Route("GET", SESSION, get_session, "Who is asking", "session", errors=(401,), who="anyone"),
    Route(
        "POST",
        SESSION,
        create_session,
        "Begin as an anonymous user; with a session it answers that one",
        "session",
        201,
        who="anyone",
    ),
    Route("DELETE", SESSION, delete_session, "End the session", "session", 204, who="anyone"),
    Route("GET", "/api/library", get_library, "Everything of the user, at one version", "library"),
)
