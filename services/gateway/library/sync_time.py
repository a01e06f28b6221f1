"""How long the request at hand has waited for the database, for the log lines that operators watch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Clock:
    """Adds up seconds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


_clock: ContextVar[Clock | None] = ContextVar("sync_clock", default=None)


def start() -> Clock:
    """A clock for what follows in this task and the tasks it starts."""
    clock = Clock()
    _clock.set(clock)
    return clock


@contextmanager
def measured() -> Iterator[None]:
    """Counts what is inside as waiting for the database."""
    began = time.perf_counter()
    try:
        yield
    finally:
        clock = _clock.get()
        if clock is not None:
            clock.seconds += time.perf_counter() - began
