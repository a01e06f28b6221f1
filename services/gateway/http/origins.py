"""Who may ask from a browser: CORS on every answer, errors included, and no unsafe request from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.http import problems
from gateway.http.problems import Refusal
from gateway.http.routes import UNSAFE_METHODS

ALLOW_HEADERS = "content-type, if-match, idempotency-key, x-client-id, x-min-version, traceparent, tracestate"
ALLOW_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
EXPOSE_HEADERS = "ETag, X-Database-Version, Retry-After"
PREFLIGHT_S = "7200"

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Origins:
    """The app's origins, exactly."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def allows(self, request: web.Request) -> bool:
        """Whether the request comes from the app, or from no browser at all."""
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site")
        return (origin is None or origin in self._origins) and site != "cross-site"

    def check_unsafe(self, request: web.Request) -> None:
        """Refuses a change that another site's page asks for."""
        if request.method in UNSAFE_METHODS and not self.allows(request):
            raise Refusal(403, "wrong_origin", "This request comes from a page that is not the app's.")

    def middleware(self) -> Middleware:
        """The outermost layer: answers preflights, and marks every answer for the app's origins."""

        @web.middleware
        async def cors(request: web.Request, handler: Next) -> web.StreamResponse:
            asks_leave = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
            response = self._preflight(request) if asks_leave else await handler(request)
            if not response.prepared:
                self._mark(request, response)
            return response

        return cors

    def _preflight(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Origin") not in self._origins:
            return problems.response(403, "wrong_origin", "Pages of this origin may not call the API.")
        headers = {
            "Access-Control-Allow-Methods": ALLOW_METHODS,
            "Access-Control-Allow-Headers": ALLOW_HEADERS,
            "Access-Control-Max-Age": PREFLIGHT_S,
        }
        return web.Response(status=204, headers=headers)

    def _mark(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin")
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = EXPOSE_HEADERS
