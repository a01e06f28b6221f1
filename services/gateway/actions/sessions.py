"""Who is asking: opaque sessions in the directory, and the development user on one's own machine.

A token is 256 random bits; only its SHA-256 is stored. A session ends IDLE after its last use, ABSOLUTE after it
began, or within CACHE_S of being revoked.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from chassis import faults
from chassis.ids import uuid7
from gateway.library import directory as rows
from gateway.library.store import Store

CACHE_S = 45.0
CACHE_ENTRIES = 10_000
IDLE_MS = 30 * 86_400_000
ABSOLUTE_MS = 90 * 86_400_000
TOUCH_MS = 86_400_000  # the idle time is kept to the day: one write a day and session
TOKEN_CHARS = 43  # of 32 bytes in base64url
DEV_USER = "dev-local"


@dataclass(frozen=True)
class Identity:
    """A verified user; `kind` is development or anonymous."""

    user_id: str
    kind: str


def development() -> Identity:
    """The user of one's own machine."""
    return Identity(DEV_USER, "development")


class Sessions:
    """Sessions of one environment, verified ones remembered for CACHE_S."""

    def __init__(
        self, store: Store, environment: str, *, wall_ms: Callable[[], int], clock_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._database = rows.database_id(environment)
        self._wall_ms = wall_ms
        self._clock_s = clock_s
        self._verified: OrderedDict[str, tuple[float, Identity]] = OrderedDict()

    async def verify(self, token: str) -> Identity:
        """The user of a token; UNAUTHENTICATED `no_session` when it is unknown, ended or revoked."""
        digest = _digest(token)
        held = self._verified.get(digest)
        if held is not None and self._clock_s() < held[0]:
            return held[1]
        self._verified.pop(digest, None)
        if len(token) != TOKEN_CHARS:
            raise no_session()
        reading = await self._store.read(self._database, [rows.find_session(digest)])
        row = rows.read_session(reading.results[0])
        now_ms = self._wall_ms()
        if row is None or now_ms - row.seen_ms > IDLE_MS or now_ms - row.created_ms > ABSOLUTE_MS:
            raise no_session()
        if now_ms - row.seen_ms > TOUCH_MS:
            await self._store.system_write(self._database, rows.touch_session(digest, now_ms))
        identity = Identity(row.user_id, row.kind)
        self._verified[digest] = (self._clock_s() + CACHE_S, identity)
        while len(self._verified) > CACHE_ENTRIES:
            self._verified.popitem(last=False)
        return identity

    async def create(self) -> tuple[Identity, str]:
        """A new anonymous user, and the token of their session."""
        identity, token = Identity(uuid7(), "anonymous"), secrets.token_urlsafe(32)
        steps = rows.insert_session(identity.user_id, identity.kind, _digest(token), self._wall_ms())
        await self._store.system_write(self._database, steps)
        return identity, token

    async def revoke(self, token: str) -> None:
        """Ends a session; here at once, elsewhere within CACHE_S."""
        digest = _digest(token)
        await self._store.system_write(self._database, rows.revoke_session(digest, self._wall_ms()))
        self._verified.pop(digest, None)


def no_session() -> faults.Fault:
    """The fault of a request without a valid session."""
    return faults.unauthenticated("no_session", "There is no valid session; begin one with POST /api/session.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
