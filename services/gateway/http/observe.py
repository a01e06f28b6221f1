"""Around every request: its span, its deadline, its faults as problems, and the log lines that operators watch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from chassis import deadlines, tracing
from chassis.faults import Fault, Kind
from gateway.http import problems
from gateway.library import sync_time

log = logging.getLogger(__name__)

REQUEST_S = 25.0
SLOW_SYNC_S = 0.5
SLOW_REQUEST_S = 0.2
QUIET = frozenset({"/healthz", "/readyz", "/ws"})  # probes say nothing, a WebSocket has spans of its own

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def template(request: web.Request) -> str:
    """The path of the route, with its parameters' names; empty for no route."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


@web.middleware
async def observe(request: web.Request, handler: Next) -> web.StreamResponse:
    """The middleware."""
    route = template(request)
    if route in QUIET:
        return await _answer(request, handler)
    carrier = {name: request.headers[name] for name in ("traceparent", "tracestate") if name in request.headers}
    attributes = {
        "http.request.method": request.method,
        "url.path": request.path[:500],
        "url.scheme": request.scheme,
        "server.address": request.host[:200],
        "client.address": request.remote or "",
        "network.protocol.version": f"{request.version.major}.{request.version.minor}",
        "user_agent.original": request.headers.get("User-Agent", "")[:200],
    }
    if route:
        attributes["http.route"] = route
    with tracing.span(
        f"{request.method} {route}".strip(), kind="server", attributes=attributes, parent=carrier
    ) as span:
        clock, began_s = sync_time.start(), time.perf_counter()
        response = await _answer(request, handler)
        _note(request, time.perf_counter() - began_s, clock.seconds)
        span.set("http.response.status_code", response.status)
        if response.status >= 500:
            span.set("error.type", str(response.status))
            span.fail(f"answered {response.status}")
    return response


async def _answer(request: web.Request, handler: Next) -> web.StreamResponse:
    try:
        with deadlines.scope(REQUEST_S):
            return await handler(request)
    except problems.Refusal as refusal:
        return problems.of_refusal(refusal)
    except Fault as fault:
        if fault.kind in (Kind.INTERNAL, Kind.UNAVAILABLE, Kind.TIMEOUT):
            level = logging.ERROR if fault.kind is Kind.INTERNAL else logging.WARNING
            extra = {"reason": fault.reason, **{f"fault_{key}": value for key, value in fault.metadata.items()}}
            log.log(
                level,
                "%s %s: %s",
                request.method,
                request.path,
                fault,
                extra=extra,
                exc_info=fault.kind is Kind.INTERNAL,
            )
        return problems.of_fault(fault)
    except web.HTTPException as error:
        return problems.of_http(error)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        log.error("%s %s failed: %s", request.method, request.path, error, exc_info=error)
        return problems.response(500, "internal", "Something went wrong on our side; it was noted. Try again.")


def _note(request: web.Request, total_s: float, sync_s: float) -> None:
    if sync_s > SLOW_SYNC_S:
        log.warning("[SLOW DB SYNC] %s %s - sync took %.2fs", request.method, request.path, sync_s)
    if total_s > SLOW_REQUEST_S:
        log.warning("[SLOW REQUEST] %s %s - total %.2fs (sync: %.2fs)", request.method, request.path, total_s, sync_s)
