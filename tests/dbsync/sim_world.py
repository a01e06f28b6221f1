"""A deterministic world: an event loop and blocking threads that take turns on a virtual clock.

Coroutines run on the world's loop; what blocks runs in threads. Only one of them all runs at a time: whenever a thread
sleeps and the loop has nothing more to do, a seeded choice says who goes on. The same seed gives the same run, however
busy the machine is, and no time passes while everybody waits.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import selectors
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_MS = 1_750_000_000_000
NEVER_S = float("inf")
HANG_S = 120.0  # of real time: a thread waits for something that is not of this world


class World:
    """Time, chance and turns."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loop = _Loop(_Turns(self))
        self.moment = 0  # counts what was seen, so that two things have an order
        self.lines: list[str] | None = None  # what happened, when somebody wants to read it
        self._now_s = 0.0
        self._until_s = NEVER_S  # when the loop must run again
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._idle: list[_Thread] = []
        self._busy: list[_Thread] = []
        self._current: _Thread | None = None
        self._main = threading.Lock()
        self._main.acquire()
        self._stuck = False

    def now_s(self) -> float:
        """Seconds since the world began."""
        return self._now_s

    def tick(self) -> int:
        """The number of this moment; later ones are higher."""
        self.moment += 1
        return self.moment

    def strikes(self, chance: float) -> bool:
        """Whether something of that probability happens now."""
        return self.random.random() < chance

    def say(self, line: str) -> None:
        """Notes what happened."""
        if self.lines is not None:
            self.lines.append(f"{self._now_s:9.3f} {line}")

    def sleep(self, seconds: float) -> None:
        """Lets others go on; for threads of this world only."""
        thread = self._current
        if thread is None:
            raise RuntimeError("something blocks the event loop")
        thread.wake_s = self._now_s + max(0.0, seconds)
        following = self._next()
        if following is not thread:
            self._give(following)
            thread.turn.acquire()
        self._current = thread

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Something that happens by itself."""
        heapq.heappush(self._events, (self._now_s + seconds, next(self._numbers), event))

    def start(self, work: Callable[[], None], owner: object) -> None:
        """Runs the work in a thread of the owner's, soon."""
        thread = self._idle.pop() if self._idle else _Thread(self)
        thread.work, thread.owner, thread.wake_s = work, owner, self._now_s
        self._busy.append(thread)

    def working(self, owner: object) -> bool:
        """Whether a thread of the owner's is at work."""
        return any(thread.owner is owner for thread in self._busy)

    def wake(self, owner: object) -> None:
        """Ends the sleep of all threads of the owner's."""
        for thread in self._busy:
            if thread.owner is owner:
                thread.wake_s = self._now_s

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs the coroutine to its end, with everything that it starts."""
        return self.loop.run_until_complete(main)

    def close(self) -> None:
        """Ends the loop and the threads; what was under way is given up."""
        self.loop.close()
        for thread in self._idle:
            thread.turn.release()
            thread.thread.join()

    def turn(self, timeout_s: float | None) -> None:
        """The loop has nothing to do for so long: others go on, until it has."""
        if timeout_s is not None and timeout_s <= 0:
            return
        self._until_s = NEVER_S if timeout_s is None else self._now_s + timeout_s
        self.loop.called = False
        following = self._next()
        if following is not None:
            self._give(following)
            if not self._main.acquire(timeout=HANG_S):
                raise RuntimeError("a thread waits for something that is not of this world")
        self._current = None
        if self._stuck:
            raise RuntimeError("everybody waits for another")

    def ended(self, thread: _Thread) -> None:
        """The thread has done its work."""
        self._busy.remove(thread)
        self._idle.append(thread)
        self._give(self._next())

    def _give(self, following: _Thread | None) -> None:
        self._current = following
        (self._main if following is None else following.turn).release()

    def _next(self) -> _Thread | None:
        """Who goes on, None for the loop; moves the clock there."""
        while True:
            while self._events and self._events[0][0] <= self._now_s:
                heapq.heappop(self._events)[2]()
            if self.loop.called:
                return None
            ready = [thread for thread in self._busy if thread.wake_s <= self._now_s]
            if ready:
                return ready[0] if len(ready) == 1 else self.random.choice(ready)
            if self._until_s <= self._now_s:
                return None
            self._now_s = min(
                self._until_s,
                self._events[0][0] if self._events else NEVER_S,
                min((thread.wake_s for thread in self._busy), default=NEVER_S),
            )
            if self._now_s == NEVER_S:
                self._stuck = True
                return None


class Pool(ThreadPoolExecutor):
    """A pool whose threads are the world's."""

    def __init__(self, world: World, owner: object) -> None:
        super().__init__(1)
        self._world = world
        self._owner = owner

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Runs it in a thread of the world's."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._world.start(work, self._owner)
        return future


class _Thread:
    """A thread that does one work after the other, whenever it has its turn."""

    def __init__(self, world: World) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.work: Callable[[], None] | None = None
        self.owner: object = None
        self.wake_s = 0.0
        self._world = world
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        while True:
            self.turn.acquire()
            if self.work is None:
                return
            self.work()
            self.work = self.owner = None
            self._world.ended(self)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop on the world's time, which nothing from outside ever wakes."""

    def __init__(self, turns: _Turns) -> None:
        super().__init__(turns)
        self._turns = turns
        self.called = False  # whether there is something to do since the loop rested

    def time(self) -> float:
        return self._turns.world.now_s()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.called = True
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)


class _Turns(selectors.BaseSelector):
    """What the loop waits with: it gives the turn to others instead of looking at files."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.world.turn(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys
