"""Chunks rendered by several child processes of this one, in its process group and with its limits.

1. None of them outlives this process, or its group (tests/render/test_chunks.py::test_a_crew_dies_with_its_worker).
2. The first failure is the export's; what the others had finished stays.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from render.products import ChunkTask

WAIT_S = 1.0


class CrewFailed(Exception):
    """A child told a failure, or died."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class Crew:
    """One child for each task. Begun, told and ended by one thread: children die with the thread that began them."""

    def __init__(self, tasks: Sequence[ChunkTask]) -> None:
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._children = []
        self._running = len(tasks)
        for task in tasks:
            child = subprocess.Popen(
                [sys.executable, "-m", "render.worker", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._children.append(child)
            threading.Thread(target=self._follow, args=(child, pickle.dumps(task)), daemon=True).start()

    def tell(self, told: Callable[[int], None], *, wait: bool) -> bool:
        """Passes on how many frames were encoded since; with `wait`, until there is something to tell. False when all
        have ended. CrewFailed.
        """
        while self._running:
            try:
                event = self._events.get(timeout=WAIT_S if wait else None, block=wait)
            except queue.Empty:
                break
            if event is None:
                self._running -= 1
            elif "error" in event:
                raise CrewFailed(**event["error"])
            elif "frames" in event:
                told(event["frames"])
        return self._running > 0

    def end(self) -> None:
        """Kills what still runs."""
        for child in self._children:
            child.kill()
            child.wait()

    def _follow(self, child: subprocess.Popen[bytes], task: bytes) -> None:
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(task)
            child.stdin.close()
        except BrokenPipeError:
            self._events.put(_death(child.wait()))
            return
        ended = False
        for line in child.stdout:
            event = json.loads(line)
            ended = ended or "chunks" in event or "error" in event
            self._events.put(event)
        status = child.wait()
        self._events.put(None if ended else _death(status))


def _death(status: int) -> dict[str, Any]:
    code = "out_of_memory" if status == -9 else "render_failed"
    message = f"A part of the work ended unexpectedly (status {status})."
    return {"error": {"code": code, "message": message, "retryable": True}}
