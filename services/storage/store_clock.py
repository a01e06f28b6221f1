"""The store's own time, learnt from its answers, for signatures that a wrong local clock would spoil.

A machine that was suspended resumes with the time of its suspension, and is set right some time later. Neither is
visible from inside at once: so after a pause, or when the local clock jumped against the monotonic one, the time is
doubtful until the store is heard again.

1. Without reason for doubt, and within TOLERANCE_S of the store, the local clock is used as it is
   (tests/storage/test_store_clock.py).
2. A jump of the local clock after the last answer, forwards or backwards, does not move what is signed out of the
   truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

TOLERANCE_S = 5.0
PAUSE_S = 60.0


class StoreClock:
    """Times are seconds since 1970. Safe to use from several threads: an observation is one assignment."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        # The store's, the local and the monotonic time of the last answer; until one came, the local time stands for
        # the store's.
        self._last = (wall(), wall(), monotonic())

    def observe(self, date_header: str) -> None:
        """Takes the `Date` of an answer that just came; anything but a date is ignored."""
        try:
            store = parsedate_to_datetime(date_header).timestamp()
        except (TypeError, ValueError):
            return
        # A date is cut to the second: half of one is its middle.
        self._last = (store + 0.5, self._wall(), self._monotonic())

    def now_s(self) -> float:
        """The store's time, as well as it is known."""
        store, wall, monotonic = self._last
        anchored = store + self._monotonic() - monotonic
        local = self._wall()
        if self._jumped(local, wall, monotonic):
            # Suspended since, or set right since: in both cases the later of the two is the better guess.
            return max(local, anchored)
        return anchored if abs(anchored - local) > TOLERANCE_S else local

    def paused(self) -> bool:
        """Whether the store was not heard for PAUSE_S: idle connections may be dead, and the time may be wrong."""
        return self._monotonic() - self._last[2] > PAUSE_S

    def doubtful(self) -> bool:
        """Whether the store should be asked before anything is signed."""
        _, wall, monotonic = self._last
        return self.paused() or self._jumped(self._wall(), wall, monotonic)

    def _jumped(self, local: float, wall: float, monotonic: float) -> bool:
        return abs((local - wall) - (self._monotonic() - monotonic)) > TOLERANCE_S
