"""Notices a blocked event loop: a thread asks the loop for a sign of life, and logs where it hangs when none comes."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

log = logging.getLogger(__name__)

MESSAGE = "event loop blocked"


class LoopWatch:
    """Logs MESSAGE with the loop thread's stack when one callback holds the loop for longer than `limit_s`.

    The loop thread must have used CPU time or be asleep meanwhile: a machine that gave the process no CPU at all is
    not our doing, so the wait counts only while this watching thread itself is scheduled on time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, limit_s: float) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._thread_id = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    def start(self) -> None:
        """Begins to watch; call from the loop's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _watch(self) -> None:
        step_s = self._limit_s / 8
        while not self._stop.wait(self._limit_s):
            alive = threading.Event()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # the loop is closed
            waited_s, stack = 0.0, ""
            while not alive.is_set() and not self._stop.is_set():
                began = time.monotonic()
                alive.wait(step_s)
                # A step that itself came late says that the whole process was kept waiting: count it as one step.
                waited_s += min(time.monotonic() - began, step_s)
                if waited_s >= self._limit_s and not stack:
                    stack = self._stack()
            if stack and alive.is_set():
                log.warning(MESSAGE, extra={"blocked_s": round(waited_s, 3), "stack": stack})

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)
        return "".join(traceback.format_stack(frame)) if frame else ""
