"""What a request says, checked: its headers as an actor, its body or query as the route's type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from chassis.ids import uuid7, uuid7_time_ms
from gateway.domain.actor import Actor
from gateway.domain.ids import is_id
from gateway.http.limits import read_body
from gateway.http.problems import Refusal
from gateway.http.routes import BODY_METHODS, Route
from gateway.http.types import Nothing

DAY_MS = 86_400_000
KEY_PAST_MS = 29 * DAY_MS  # dbsync forgets keys after 30 days
KEY_FUTURE_MS = DAY_MS
MAX_VERSION_DIGITS = 15

_ETAG = re.compile(rf'(?:W/)?"?(\d{{1,{MAX_VERSION_DIGITS}}})"?')
_CLIENT_ID = re.compile(r"[\x21-\x7e]{0,100}")
_WHERE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_REQUIRED = re.compile(r"missing required field `(?P<name>[^`]*)`")


def actor(request: web.Request, route: Route, user_id: str, wall_ms: Callable[[], int]) -> Actor:
    """Who acts and on what they have read, by the headers; refuses what is missing or malformed."""
    headers = request.headers
    client_id = headers.get("X-Client-Id", "")
    if not _CLIENT_ID.fullmatch(client_id):
        raise _header("X-Client-Id", "is a random text of at most 100 printable ASCII characters without blanks")
    base_version = None
    if request.method in ("POST", "PUT", "PATCH", "DELETE"):
        base_version = _version(headers.get("If-Match"), "If-Match")
    if route.versioned and base_version is None:
        raise Refusal(
            428, "if_match_missing", 'Say which version you have read: If-Match: "<the ETag of your last answer>".'
        )
    return Actor(
        user_id=user_id,
        # Without the page's own id each request is its own author: it conflicts even with what the same page did.
        client_id=client_id or uuid7(),
        key=_key(headers.get("Idempotency-Key"), route, wall_ms),
        base_version=base_version,
        min_version=_version(headers.get("X-Min-Version"), "X-Min-Version"),
    )


def path(request: web.Request) -> Mapping[str, str]:
    """The ids in the path; what is no id names nothing."""
    for value in request.match_info.values():
        if not is_id(value):
            raise Refusal(404, "not_found", "There is nothing with this id; it may have been deleted.")
    return dict(request.match_info)


async def asked(request: web.Request, route: Route) -> Any:
    """The body or the query in the route's type; 400 with the field that is wrong."""
    if request.method in BODY_METHODS:
        return await _body(request, route)
    return _query(request, route)


async def _body(request: web.Request, route: Route) -> Any:
    body = await read_body(request)
    if not body and route.asked is Nothing:
        return Nothing()
    if request.content_type != "application/json":
        raise Refusal(415, "unsupported_media_type", "Send JSON, with Content-Type: application/json.")
    try:
        return msgspec.json.decode(body, type=route.asked)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _malformed("invalid_body", str(error)) from error


def _query(request: web.Request, route: Route) -> Any:
    query = request.query
    if len(query) > 20 or len(set(query)) != len(query):
        raise Refusal(400, "invalid_query", "A query names each of its parameters once.")
    try:
        return msgspec.convert(dict(query), route.asked, strict=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _malformed("invalid_query", str(error)) from error


def _malformed(reason: str, text: str) -> Refusal:
    where = _WHERE.search(text)
    named = _UNKNOWN.search(text) or _REQUIRED.search(text)
    field = ".".join(part for part in (where["path"] if where else "", named["name"] if named else "") if part)
    return Refusal(400, reason, f"{_WHERE.sub('', text)}."[:300], None, field=field[:200])


def _version(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    match = _ETAG.fullmatch(text.strip())
    if match is None:
        raise _header(name, "is a database version, such as the ETag of an answer")
    return int(match[1])


def _key(text: str | None, route: Route, wall_ms: Callable[[], int]) -> str:
    if text is None:
        if route.needs_key:
            raise Refusal(
                400,
                "idempotency_key_missing",
                "Every POST carries an Idempotency-Key: a new UUIDv7, the same when it is repeated.",
            )
        return uuid7()
    try:
        made_ms = uuid7_time_ms(text.strip().lower())
    except ValueError as error:
        raise _header("Idempotency-Key", "is a UUIDv7") from error
    if not wall_ms() - KEY_PAST_MS <= made_ms <= wall_ms() + KEY_FUTURE_MS:
        raise _header("Idempotency-Key", "is a UUIDv7 made in the last 29 days; set the clock and make a new one")
    return text.strip().lower()


def _header(name: str, must: str) -> Refusal:
    return Refusal(400, "invalid_header", f"{name} {must}.", None, field=name)
