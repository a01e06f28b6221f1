"""How long an attempt still takes, by what it has done lately. Pure.

Progress is shown for the job and never goes back; the time that is left is reckoned from this attempt's own progress
alone, which begins anew. What was done before it was followed - chunks that were kept, a remote attempt taken up
again - does not count as speed (tests/render/test_pace.py).
"""

from __future__ import annotations

from collections import deque

SETTLE_S = 1.0  # of a phase: what is found done already is told at once
WINDOW_S = 60.0  # footage may be slow to read here and quick there
ENOUGH = 0.03  # of the whole, before anything is said
STEP_S = 0.5


class Pace:
    """One attempt's progress over time."""

    def __init__(self) -> None:
        self._phase = ""
        self._began_s = 0.0
        self._points: deque[tuple[float, float]] = deque()

    def eta_s(self, now_s: float, phase: str, share: float) -> float | None:
        """How long until all is done, told of a share from 0 to 1 in a phase; None while that is not known."""
        if phase != self._phase:
            self._phase, self._began_s = phase, now_s
        if now_s - self._began_s < SETTLE_S or share < self._points[-1][1]:
            self._points = deque([(now_s, share)])
            return None
        if now_s - self._points[-1][0] >= STEP_S:
            self._points.append((now_s, share))
            while now_s - self._points[1][0] > WINDOW_S:
                self._points.popleft()
        first_s, first = self._points[0]
        return (now_s - first_s) * (1 - share) / (share - first) if share - first >= ENOUGH else None
