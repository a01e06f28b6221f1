"""Every refusal as application/problem+json (RFC 9457): a stable type, plain words, the trace id, and what else its
type names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from chassis import tracing
from chassis.faults import Fault, Kind
from gateway.http import types
from gateway.ports import Staleness

TYPE_BASE = "https://reelballers.com/problems/"
CONTENT_TYPE = "application/problem+json"

STATUSES = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.EXISTS: 409,
    Kind.CONFLICT: 409,
    Kind.PRECONDITION: 409,
    Kind.EXHAUSTED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.TIMEOUT: 504,
    Kind.CANCELLED: 503,
    Kind.INTERNAL: 500,
}
# What tells people nothing, or too much: metadata of faults that crossed from an inner service.
PUBLIC_FIELDS = frozenset(
    {"field", "what", "quota", "limit", "video_id", "clip_id", "missing", "missing_count", "allowed", "method"}
)
RETRY_S = 1
TITLES = {
    "stale_session": "Somebody else changed this",
    "not_found": "Not found",
    "no_session": "No session",
    "internal": "Something went wrong",
}


class Refusal(Exception):
    """A request refused by HTTP's own rules, with its status."""

    def __init__(
        self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None, **fields: str
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})
        self.fields = fields


def response(status: int, reason: str, detail: str, fields: Mapping[str, Any] | None = None) -> web.Response:
    """A problem; its title follows from its reason."""
    title = TITLES.get(reason, reason.replace("_", " ").capitalize())
    body = {
        "type": TYPE_BASE + reason,
        "title": title,
        "status": status,
        "detail": detail,
        "trace_id": tracing.trace_id(),
        **(fields or {}),
    }
    answer = web.Response(status=status, body=msgspec.json.encode(body), content_type=CONTENT_TYPE)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def of_refusal(refusal: Refusal) -> web.Response:
    """A refusal as a problem."""
    answer = response(refusal.status, refusal.reason, refusal.detail, refusal.fields)
    answer.headers.update(refusal.headers)
    return answer


def of_fault(fault: Fault) -> web.Response:
    """A fault as a problem; what is ours to mend says nothing of its inside."""
    status = STATUSES[fault.kind]
    if fault.kind is Kind.INTERNAL:
        return response(500, "internal", "Something went wrong on our side; it was noted. Try again.")
    fields: dict[str, Any] = {key: value for key, value in fault.metadata.items() if key in PUBLIC_FIELDS}
    stale = next((detail for detail in fault.details if isinstance(detail, Staleness)), None)
    if stale is not None:
        conflicts = [types.Conflict(row.table, [_plain(part) for part in row.key]) for row in stale.rows]
        fields.update(local_version=stale.base_version, remote_version=stale.head_version, conflicts=conflicts)
    answer = response(status, fault.reason, fault.message, fields)
    if stale is not None:
        answer.headers["X-Database-Version"] = str(stale.head_version)
    if fault.retry_after_s is not None or status in (429, 503):
        answer.headers["Retry-After"] = str(max(1, round(fault.retry_after_s or RETRY_S)))
    return answer


def of_http(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals as problems: unknown path, wrong method, too large a body."""
    if error.status == 404:
        return response(404, "not_found", "There is nothing at this path.")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = response(405, "method_not_allowed", f"This path takes {allowed}.", {"allowed": allowed})
        answer.headers["Allow"] = allowed
        return answer
    if error.status == 413:
        return response(413, "body_too_large", "The body is larger than 1 MiB.")
    return response(error.status, "bad_request" if error.status < 500 else "internal", error.reason)


def _plain(part: object) -> str | int | float | None:
    return part if isinstance(part, str | int | float) or part is None else repr(part)
