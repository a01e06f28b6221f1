"""The child process that does an attempt: reads its task from standard input, tells events as JSON lines, holds no
secret.

It dies with its parent, and its FFmpeg with it (their pipe closes); it cannot grow beyond its limits.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from typing import Any

from chassis.faults import Fault
from render.crew import CrewFailed
from render.products import ChunkTask
from render.remote import SourceError

MEMORY_LIMIT_BYTES = 8 << 30  # of addresses, which decoder threads reserve generously
FILE_LIMIT_BYTES = 16 << 30
BEAT_S = 2.0
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs one task: a pickled Task or ChunkTask, or (url, Source) to probe. The parent is trusted: it is this very
    program.
    """
    _contain()
    task = pickle.load(sys.stdin.buffer)  # noqa: S301
    try:
        _run(task)
    except (SourceError, CrewFailed) as error:
        return _failed(error.code, str(error), retryable=error.retryable)
    except Fault as fault:
        return _failed(fault.reason, fault.message, retryable=False)
    except MemoryError:
        return _failed("out_of_memory", "The video needs more memory than a render may use.", retryable=False)
    except Exception as error:
        traceback.print_exc()
        return _failed("render_failed", f"Rendering failed: {error}", retryable=True)
    return 0


def _run(task: Any) -> None:
    if isinstance(task, ChunkTask):
        from render.chunk import render_chunks

        chunks = render_chunks(task, _say_frames, _Beat().beat)
        _say({"chunks": [asdict(one) for one in chunks]})
        return
    from render.produce import probe, produce

    if isinstance(task, tuple):
        facts = probe(*task)
        _say({"facts": asdict(facts)})
        return
    tempfile.tempdir = task.folder
    products = produce(task, lambda phase, progress: _say({"phase": phase, "progress": round(progress, 4)}))
    _say({"products": [asdict(product) for product in products]})


def _contain() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if len(sys.argv) > 1 and os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # the parent died before it could be watched
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES))


def _say(event: dict[str, Any]) -> None:
    """One line, whole, whichever thread says it."""
    sys.stdout.write(json.dumps(event, default=str) + "\n")
    sys.stdout.flush()


def _say_frames(frames: int) -> None:
    _say({"frames": frames})


class _Beat:
    """Says now and then that no more frames were encoded, but that it lives."""

    def __init__(self) -> None:
        self._at_s = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._at_s > BEAT_S:
            self._at_s = time.monotonic()
            _say_frames(0)


def _failed(code: str, message: str, *, retryable: bool) -> int:
    _say({"error": {"code": code, "message": message, "retryable": retryable}})
    return 1


if __name__ == "__main__":
    sys.exit(main())
