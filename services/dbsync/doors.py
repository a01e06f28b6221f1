"""Who may use a local copy: many readers beside each other, or one who changes it under them.

A reader holds a catch-up up for as long as it runs, which a call's own bound on time limits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Doors:
    """Many inside, or one with the doors closed; who closes them waits for those inside and goes before the next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """One of many; waits while the doors are closed, or somebody waits to close them."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody inside, and nobody comes in."""
        with self._changed:
            self._closing += 1
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closing -= 1
                self._changed.notify_all()
