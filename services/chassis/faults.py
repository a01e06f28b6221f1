"""The closed set of failures that cross a boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What sort of failure it is; every protocol maps these and no others."""

    INVALID = "invalid"  # the request is wrong, and will be wrong again
    UNAUTHENTICATED = "unauthenticated"  # no valid identity
    FORBIDDEN = "forbidden"  # an identity that may not do this
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    CONFLICT = "conflict"  # somebody else changed it first
    PRECONDITION = "precondition"  # the system is not in the state that this needs
    EXHAUSTED = "exhausted"  # a limit or a quota
    UNAVAILABLE = "unavailable"  # try again, with the same idempotency key
    TIMEOUT = "timeout"  # the deadline passed; the outcome is unknown
    CANCELLED = "cancelled"  # the caller went away
    INTERNAL = "internal"  # a bug


class Fault(Exception):
    """A failure with a stable `reason` (snake_case, for programs) and a `message` (for people: what was wrong, what
    to do).

    `details` are opaque to the chassis: messages that a service adds for its own callers.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        details: Sequence[Any] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.details = tuple(details)

    def __repr__(self) -> str:
        return f"Fault({self.kind}, {self.reason}, {self.message!r})"


def invalid(reason: str, message: str, **metadata: str) -> Fault:
    """The request is wrong."""
    return Fault(Kind.INVALID, reason, message, metadata=metadata)


def unauthenticated(reason: str, message: str, **metadata: str) -> Fault:
    """Who is asking is not known."""
    return Fault(Kind.UNAUTHENTICATED, reason, message, metadata=metadata)


def forbidden(reason: str, message: str, **metadata: str) -> Fault:
    """Who is asking may not do this."""
    return Fault(Kind.FORBIDDEN, reason, message, metadata=metadata)


def not_found(reason: str, message: str, **metadata: str) -> Fault:
    """What was named is not there."""
    return Fault(Kind.NOT_FOUND, reason, message, metadata=metadata)


def conflict(reason: str, message: str, **metadata: str) -> Fault:
    """Somebody else changed it first."""
    return Fault(Kind.CONFLICT, reason, message, metadata=metadata)


def precondition(reason: str, message: str, **metadata: str) -> Fault:
    """Something else must happen first."""
    return Fault(Kind.PRECONDITION, reason, message, metadata=metadata)


def exhausted(reason: str, message: str, **metadata: str) -> Fault:
    """A limit was reached."""
    return Fault(Kind.EXHAUSTED, reason, message, metadata=metadata)


def unavailable(reason: str, message: str, **metadata: str) -> Fault:
    """Not now; the same request may succeed later."""
    return Fault(Kind.UNAVAILABLE, reason, message, metadata=metadata)


def internal(reason: str, message: str, **metadata: str) -> Fault:
    """Ours to mend."""
    return Fault(Kind.INTERNAL, reason, message, metadata=metadata)
