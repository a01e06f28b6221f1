"""Real time, real waiting and real randomness, behind the port that simulations replace."""

from __future__ import annotations

import random
import time


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Blocks this thread."""
        time.sleep(seconds)

    def jitter(self) -> float:
        """A random number in [0, 1)."""
        return random.random()  # noqa: S311 - spaces retries, guards nothing
