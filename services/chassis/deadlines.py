"""The time that is left for the work at hand, carried from hop to hop.

1. A deadline only ever shrinks on its way inwards (tests/chassis/test_deadlines.py).
2. Each hop keeps MARGIN_S for itself, so that the innermost failure still reaches the outermost caller in time.
3. Work that could not finish is refused: less than FLOOR_S left is a TIMEOUT before anything was done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from chassis.faults import Fault, Kind

MARGIN_S = 0.020
FLOOR_S = 0.100

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)  # time.monotonic() seconds


@contextmanager
def scope(seconds: float) -> Iterator[None]:
    """What is inside has at most `seconds`, and never longer than what is outside."""
    mine = time.monotonic() + seconds
    outer = _deadline.get()
    token = _deadline.set(mine if outer is None else min(mine, outer))
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def unbounded() -> Iterator[None]:
    """For background work that outlives the call that began it: it sets deadlines of its own."""
    token = _deadline.set(None)
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining_s(default: float) -> float:
    """Seconds left, less this hop's margin and at most `default`; may be negative."""
    deadline = _deadline.get()
    if deadline is None:
        return default
    return min(default, deadline - time.monotonic() - MARGIN_S)


def budget_s(default: float) -> float:
    """As `remaining_s`, but raises TIMEOUT when too little is left to begin."""
    left = remaining_s(default)
    if left < min(FLOOR_S, default):
        raise Fault(
            Kind.TIMEOUT, "deadline_exceeded", "The time for this request ran out before the work began; try again."
        )
    return left
