"""How much one client may ask: token buckets in bounded memory, and bodies read at a pace and up to a size."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from chassis.faults import Fault, Kind
from gateway.http.problems import Refusal

MAX_BODY_BYTES = 1 << 20
BODY_GRACE_S = 5.0
MIN_BODY_BYTES_A_S = 1024


@dataclass(frozen=True)
class Rate:
    """So many requests a second in the long run, so many at once."""

    per_s: float
    burst: float


class Buckets:
    """A token bucket for each key, of the `limit` keys seen last."""

    def __init__(self, rate: Rate, limit: int, clock_s: Callable[[], float]) -> None:
        self._rate = rate
        self._limit = limit
        self._clock_s = clock_s
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key → tokens, when

    def take(self, key: str) -> None:
        """Takes a token; EXHAUSTED `rate_limited` with the wait when there is none."""
        now_s = self._clock_s()
        tokens, then_s = self._held.pop(key, (self._rate.burst, now_s))
        tokens = min(self._rate.burst, tokens + (now_s - then_s) * self._rate.per_s)
        enough = tokens >= 1
        self._held[key] = (tokens - 1 if enough else tokens, now_s)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
        if not enough:
            wait_s = (1 - tokens) / self._rate.per_s
            raise Fault(Kind.EXHAUSTED, "rate_limited", "Too many requests; slow down.", retry_after_s=max(1.0, wait_s))

    def __len__(self) -> int:
        return len(self._held)


async def read_body(request: web.Request) -> bytes:
    """The body, at most MAX_BODY_BYTES, at no less than MIN_BODY_BYTES_A_S after a grace."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_encoding", "Send the body as it is, without Content-Encoding.")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    loop = asyncio.get_running_loop()
    began_s, body = loop.time(), bytearray()
    try:
        while True:
            async with asyncio.timeout_at(began_s + BODY_GRACE_S + len(body) / MIN_BODY_BYTES_A_S):
                chunk = await request.content.readany()
            if not chunk:
                return bytes(body)
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
    except TimeoutError as error:
        raise Refusal(408, "body_too_slow", "The body came too slowly; try again.", {"Connection": "close"}) from error


def _too_large() -> Refusal:
    return Refusal(
        413, "body_too_large", f"The body is larger than {MAX_BODY_BYTES >> 20} MiB.", {"Connection": "close"}
    )
