"""Starting and stopping a store: on a running event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from objectstore import buckets, sweep
from objectstore.faults import Faults
from objectstore.router import Router
from objectstore.settings import Settings, SettingsError, check
from objectstore.store import Store

READ_BYTES = 256 * 1024
IDLE_S = 75
LINGER_S = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A store that answers at `endpoint`."""

    store: Store
    host: str
    port: int
    _runner: web.ServerRunner
    _sweeper: asyncio.Task[None]

    @property
    def endpoint(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def faults(self) -> Faults:
        return self.store.faults

    async def stop(self) -> None:
        """Takes no more requests, gives the running ones `stop_s` to end, closes the index."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._runner.cleanup()
        await asyncio.to_thread(self.store.close)


async def start(settings: Settings, *, clock: Callable[[], float] = time.time) -> Running:
    """Opens the data folder, creates the buckets of the settings, listens (port 0: any free one).

    Raises SettingsError when the settings, the folder or the port cannot be had.
    """
    check(settings)
    for name in settings.buckets:
        buckets.check_name(name)
    store = await asyncio.to_thread(Store, settings, clock)
    runner: web.ServerRunner | None = None
    try:
        for name in settings.buckets:
            await store.index.write(lambda db, name=name: buckets.insert(db, name, store.now_ms))  # type: ignore[misc]
        server = _Server(
            Router(store),
            settings.first_request_s,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            read_bufsize=READ_BYTES,
        )
        runner = web.ServerRunner(server, shutdown_timeout=settings.stop_s)
        await runner.setup()
        site = web.TCPSite(runner, settings.host, settings.port, backlog=512)
        await site.start()
        host, port = runner.addresses[0][:2]
    except OSError as fault:
        await _undo(store, runner)
        raise SettingsError(f"LISTEN: cannot listen on {settings.host}:{settings.port}: {fault.strerror}") from fault
    except BaseException:
        await _undo(store, runner)
        raise
    sweeper = asyncio.create_task(sweep.forever(store), name="objectstore-sweep")
    running = Running(store, host, port, runner, sweeper)
    log.info("object store at %s, data in %s, fsync %s", running.endpoint, settings.data, settings.fsync)
    return running


class _Handler(RequestHandler):
    """aiohttp's, which would wait for ever for the first request's last header."""

    __slots__ = ()

    def give_up(self) -> None:
        """Closes the connection unless a request has come over it."""
        if self._request_count == 0:
            self.force_close()


class _Server(web.Server):
    """aiohttp's low-level server, its connections given up when nothing comes over them."""

    def __init__(self, router: Router, first_request_s: float, **arguments: Any) -> None:
        super().__init__(router, **arguments)
        self._first_request_s = first_request_s
        self._arguments = arguments

    def __call__(self) -> RequestHandler:
        loop = asyncio.get_running_loop()
        handler = _Handler(self, loop=loop, **self._arguments)
        loop.call_later(self._first_request_s, handler.give_up)
        return handler


async def _undo(store: Store, runner: web.ServerRunner | None) -> None:
    if runner is not None:
        await runner.cleanup()
    await asyncio.to_thread(store.close)


@contextmanager
def in_thread(settings: Settings, *, clock: Callable[[], float] = time.time) -> Iterator[Running]:
    """A store on an event loop of its own in a thread, stopped at the end; for tests and tools without a loop."""
    started: Future[tuple[Running, Callable[[], None]]] = Future()

    async def host() -> None:
        try:
            running = await start(settings, clock=clock)
        except BaseException as fault:
            started.set_exception(fault)
            return
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            loop.call_soon_threadsafe(stopping.set)

        started.set_result((running, stop))
        await stopping.wait()
        await running.stop()

    thread = threading.Thread(target=lambda: asyncio.run(host()), name="objectstore-loop", daemon=True)
    thread.start()
    running, stop = started.result(timeout=60)
    try:
        yield running
    finally:
        stop()
        thread.join(timeout=settings.stop_s + 60)
