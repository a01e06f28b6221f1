"""A route as a value: from the same table are made the server's routes and the OpenAPI document, so the two cannot
differ.

What a route asks and answers is read from its handler's signature, `async def f(call: Call[Asked]) -> Reply[Answer]`:
there is no second place where it could be said otherwise.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gateway.actions.parts import Parts
from gateway.actions.sessions import Identity
from gateway.domain.actor import Actor, Stamp
from gateway.http.types import Nothing

A = TypeVar("A")
R = TypeVar("R")
S = TypeVar("S")

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
UNSAFE_METHODS = BODY_METHODS | {"DELETE"}


@dataclass(frozen=True)
class Call(Generic[A]):
    """A request that was checked: who acts, on what, with what."""

    parts: Parts
    identity: Identity | None  # None: nobody is known, on the routes that anyone may call
    actor: Actor
    path: Mapping[str, str]
    asked: A  # the body of a POST, PUT or PATCH; the query of a GET or DELETE
    token: str  # of the session; empty without one


@dataclass(frozen=True)
class Reply(Generic[R]):
    """What a handler answers."""

    value: R
    stamp: Stamp | None = None
    status: int | None = None  # None: the route's
    headers: Mapping[str, str] = field(default_factory=dict)
    cookie: str | None = None  # a new session's token; empty ends the session's cookie


def reply(shape: type[S], value: object, stamp: Stamp | None = None) -> Reply[S]:
    """The domain's value in the shape of the API, field by field of the same name."""
    return Reply(msgspec.convert(value, shape, from_attributes=True), stamp)


def redirect(url: str, stamp: Stamp) -> Reply[None]:
    """Sends the client to a presigned URL, which nobody may keep."""
    return Reply(None, stamp, headers={"Location": url})


def done(stamp: Stamp | None = None) -> Reply[None]:
    """Nothing to say but that it is done."""
    return Reply(None, stamp)


Handler = Callable[[Call[Any]], Awaitable[Reply[Any]]]


@dataclass(frozen=True)
class Route:
    """One method of one path.

    `who` is user (a session, or the development user) or anyone. `versioned` routes write what exists and need
    If-Match. `errors` are the statuses that it answers beside those of every route.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    status: int = 200
    errors: tuple[int, ...] = ()
    who: Literal["user", "anyone"] = "user"
    versioned: bool = False

    @cached_property
    def asked(self) -> Any:
        """The type of the body (of the query, of a GET or DELETE)."""
        return typing.get_args(typing.get_type_hints(self.handler)["call"])[0]

    @cached_property
    def answer(self) -> Any:
        """The type of the answer's body; NoneType for none."""
        return typing.get_args(typing.get_type_hints(self.handler)["return"])[0]

    @property
    def operation_id(self) -> str:
        """The handler's name."""
        return getattr(self.handler, "__name__", "")

    @property
    def has_body(self) -> bool:
        """Whether it takes a request body with something in it."""
        return self.method in BODY_METHODS and self.asked is not Nothing

    @property
    def needs_key(self) -> bool:
        """Whether an Idempotency-Key is required."""
        return self.method == "POST"
