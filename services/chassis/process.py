"""The life of a service's process: settings, logs, tracing, the event loop, signals, and an orderly end.

At SIGTERM or SIGINT `Life.stopping` is set; `serve` returns; then the callbacks of `on_stop` run, the last added
first, each within STOP_STEP_S; then background tasks are cancelled, and spans are sent. A second signal ends the
process at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from chassis import deadlines, logs, tracing
from chassis.config import Base, ConfigError, Reader
from chassis.loop_watch import LoopWatch

log = logging.getLogger(__name__)

STOP_STEP_S = 12.0
LOOP_BLOCKED_S = 0.25
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h

C = TypeVar("C")


class Life:
    """What a service needs to start things that must end in order."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._callbacks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def on_stop(self, name: str, callback: Callable[[], Awaitable[None]]) -> None:
        """Runs `callback` at the end, before those added earlier."""
        self._callbacks.append((name, callback))

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A background task whose failure is logged, without the deadline of the call that began it."""
        with deadlines.unbounded():
            task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background task %s failed: %s", task.get_name(), task.exception(), exc_info=task.exception())

    async def end(self) -> None:
        """Runs the callbacks, then cancels what still runs."""
        while self._callbacks:
            name, callback = self._callbacks.pop()
            try:
                async with asyncio.timeout(STOP_STEP_S):
                    await callback()
            except Exception as error:
                log.error("stopping %s failed: %s", name, error, exc_info=error)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(
    service: str, read: Callable[[Reader], C], serve: Callable[[C, Life], Awaitable[None]], *, children: bool = False
) -> int:
    """Runs a service until it is told to stop; returns the process's exit status.

    `read` gets a Reader and returns the service's Config with a `base`; `serve` starts everything and returns once
    `life.stopping` is set. Settings that are wrong are listed on standard error, all of them, and nothing is started.
    A service that starts child processes says so with `children`.
    """
    reader = Reader(os.environ)
    try:
        config = read(reader)
        reader.finish()
    except ConfigError as error:
        sys.stderr.write(f"{service}: these settings must be mended before it can start:\n{error}\n")
        return EXIT_CONFIG
    base: Base = config.base  # type: ignore[attr-defined]
    logs.setup(base.service, base.environment, base.log_level)
    tracing.setup(base.service, base.environment, otlp_endpoint=base.otlp_endpoint, trace_dir=base.trace_dir)
    try:
        # uvloop runs Python in the child between fork and exec. There it can wait for ever on a lock that another
        # thread held, while the parent's loop waits for the child; and the child goes on to hold the parent's port.
        runner = asyncio.run if children else uvloop.run
        return runner(_live(config, serve))
    finally:
        tracing.shutdown()


async def _live(config: C, serve: Callable[[C, Life], Awaitable[None]]) -> int:
    loop = asyncio.get_running_loop()
    life = Life()

    def stop(name: str) -> None:
        if life.stopping.is_set():
            log.warning("second %s: ending at once", name)
            os._exit(1)
        log.info("stopping", extra={"signal": name})
        life.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    watch = LoopWatch(loop, limit_s=LOOP_BLOCKED_S)
    watch.start()
    status = 0
    try:
        await serve(config, life)
    except OSError as error:
        log.error("cannot start: %s", error)
        status = 1
    except Exception as error:
        log.critical("failed: %s", error, exc_info=error)
        status = 1
    finally:
        await life.end()
        watch.stop()
    log.info("stopped", extra={"status": status})
    return status
