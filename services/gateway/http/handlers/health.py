"""Whether the gateway lives, and whether it can work."""

from __future__ import annotations

from gateway.http import types
from gateway.http.routes import Call, Reply, Route


async def get_health(call: Call[types.Nothing]) -> Reply[types.Health]:
    return Reply(types.Health("ok"))


async def get_readiness(call: Call[types.Nothing]) -> Reply[types.Readiness]:
    services = await call.parts.readiness.ask()
    ready = all(services.values())
    named = types.Readiness(ready, {name: "ready" if ok else "unreachable" for name, ok in services.items()})
    return Reply(named, status=200 if ready else 503)


ROUTES = (
    Route("GET", "/healthz", get_health, "Whether the process lives", "health", who="anyone"),
    Route("GET", "/readyz", get_readiness, "Whether each service behind it answers", "health", who="anyone"),
)
