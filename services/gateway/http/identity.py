"""Who is asking: the session's cookie, or the development user on one's own machine and nowhere else."""

from __future__ import annotations

import ipaddress

from aiohttp import web

from chassis.faults import Fault, Kind
from gateway.actions.sessions import ABSOLUTE_MS, Identity, Sessions, development, no_session

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Identities:
    """Verifies requests. The development user needs all of: the local environment, a loopback listener, a loopback
    Host and peer.
    """

    def __init__(self, sessions: Sessions, *, local: bool, loopback: bool) -> None:
        self._sessions = sessions
        self._secure = not local
        self._development = local and loopback
        # The prefix binds the cookie to this host and to HTTPS; plain HTTP on one's own machine cannot have it.
        self.cookie = "reel_session" if local else "__Host-reel_session"

    def token(self, request: web.Request) -> str:
        """The session's token; empty without one."""
        return request.cookies.get(self.cookie, "")[:100]

    async def verified(self, request: web.Request) -> Identity:
        """The user; UNAUTHENTICATED `no_session` when there is none."""
        token = self.token(request)
        if token:
            return await self._sessions.verify(token)
        if self._development and _is_local(request):
            return development()
        raise no_session()

    async def known(self, request: web.Request) -> Identity | None:
        """The user, or nobody."""
        try:
            return await self.verified(request)
        except Fault as fault:
            if fault.kind is not Kind.UNAUTHENTICATED:
                raise
            return None

    def set_cookie(self, response: web.StreamResponse, token: str) -> None:
        """Gives the client a session, or ends it when the token is empty."""
        if token:
            max_age_s = ABSOLUTE_MS // 1000
            response.set_cookie(
                self.cookie, token, path="/", httponly=True, secure=self._secure, samesite="Lax", max_age=max_age_s
            )
        else:
            response.del_cookie(self.cookie, path="/", httponly=True, secure=self._secure, samesite="Lax")


def _is_local(request: web.Request) -> bool:
    """Whether the request names this machine and comes from it: another name is a page that rebound its own."""
    host = request.host
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host
    try:
        peer = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    return name in LOCAL_NAMES and peer.is_loopback
