"""A deterministic world: actors that take turns, a virtual clock, and an object store that fails in every known way.

Each actor is a thread, but only one runs at a time: whenever it asks the store for something, sleeps or waits, a seeded
choice says who goes on. The same seed gives the same run, however busy the machine is.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dbsync.slots import Blob, Undecided
from tests.dbsync.memory_store import MemoryStore

START_MS = 1_750_000_000_000


class Crash(BaseException):
    """The process in which this is raised ends here."""


@dataclass(frozen=True)
class Faults:
    """How often each fault strikes a request to the store."""

    refused: float = 0.06  # 429 or 5xx, nothing done
    lost_answer: float = 0.06  # done, and then no answer
    late: float = 0.06  # no answer, and a write takes place some time later
    suspended: float = 0.03  # the process sleeps long before the request goes out, and does not notice
    crash: float = 0.02  # the process ends, before the request or after it took place


NO_FAULTS = Faults(0, 0, 0, 0, 0)


class _Actor:
    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.wake_s = 0.0
        self.ready: Callable[[], bool] | None = None


class World:
    """Time and turns. It is a `dbsync.slots.Clock`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.steps = 0
        self.failure: BaseException | None = None
        self._now_s = 0.0
        self._actors: list[_Actor] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._local = threading.local()
        self._finished = threading.Event()
        self._threads: list[threading.Thread] = []

    def now_s(self) -> float:
        return self._now_s

    def wall_ms(self) -> int:
        return START_MS + int(self._now_s * 1000)

    def jitter(self) -> float:
        return self.random.random()

    def sleep(self, seconds: float) -> None:
        self._local.actor.wake_s = self._now_s + max(0.0, seconds)
        self._switch()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Goes on once `ready` holds."""
        self._local.actor.ready = ready
        self._switch()
        self._local.actor.ready = None

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Something that happens by itself."""
        heapq.heappush(self._events, (self._now_s + seconds, next(self._numbers), event))

    def spawn(self, work: Callable[[], None]) -> None:
        """An actor, which begins with `run`."""
        actor = _Actor()
        self._actors.append(actor)

        def live() -> None:
            actor.turn.acquire()
            self._local.actor = actor
            try:
                if self.failure is None:
                    work()
            except BaseException as error:
                self.failure = self.failure or error
            self._actors.remove(actor)
            self._hand_over()

        self._threads.append(threading.Thread(target=live, daemon=True))

    def run(self) -> None:
        """Runs every actor to its end; raises what one of them raised. More may be spawned, and run, afterwards."""
        for thread in self._threads:
            thread.start()
        self._hand_over()
        self._finished.wait()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._finished.clear()
        if self.failure is not None:
            raise self.failure

    def _switch(self) -> None:
        actor: _Actor = self._local.actor
        if self.failure is not None:
            raise Crash
        chosen = self._choose()
        if chosen is not actor:
            chosen.turn.release()
            actor.turn.acquire()
        if self.failure is not None:
            raise Crash

    def _hand_over(self) -> None:
        if not self._actors:
            self._finished.set()
            return
        self._choose().turn.release()

    def _choose(self) -> _Actor:
        self.steps += 1
        while True:
            if self.failure is not None:
                return self._actors[0]
            while self._events and self._events[0][0] <= self._now_s:
                heapq.heappop(self._events)[2]()
            able = [actor for actor in self._actors if actor.ready is None or actor.ready()]
            now = [actor for actor in able if actor.wake_s <= self._now_s]
            if now:
                return self.random.choice(now)
            times = [actor.wake_s for actor in able] + [event[0] for event in self._events[:1]]
            if not times:
                self.failure = AssertionError("every actor waits for another")
                return self._actors[0]
            self._now_s = max(self._now_s, min(times))


class SimStore:
    """The store as one process sees it: a MemoryStore behind faults. `mortal` processes crash."""

    def __init__(self, world: World, store: MemoryStore, faults: Faults, *, mortal: bool = True) -> None:
        self._world = world
        self._store = store
        self._faults = faults
        self._mortal = mortal

    def create(self, key: str, body: bytes, timeout_s: float) -> bool:
        return self._write(lambda: self._store.create(key, body, timeout_s), timeout_s)

    def replace(
        self, key: str, body: bytes, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        return self._write(lambda: self._store.replace(key, body, metadata, expected, timeout_s), timeout_s)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        self._reach(timeout_s)
        return self._store.get(key, timeout_s)

    def head(self, key: str, timeout_s: float) -> Blob | None:
        self._reach(timeout_s)
        return self._store.head(key, timeout_s)

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        return [self.get(key, timeout_s) for key in keys]

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        self._reach(timeout_s)
        return self._store.list_keys(prefix, after, timeout_s)

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        if self._world.random.random() < 0.5:
            return self.get(key, timeout_s), self.list_keys(prefix, "", timeout_s)
        keys = self.list_keys(prefix, "", timeout_s)
        return self.get(key, timeout_s), keys

    def _travel(self) -> None:
        self._world.sleep(self._world.random.uniform(0.01, 0.08))

    def _strikes(self, chance: float) -> bool:
        return self._world.random.random() < chance

    def _reach(self, timeout_s: float) -> None:
        self._travel()
        if self._mortal and self._strikes(self._faults.crash):
            raise Crash
        if self._strikes(self._faults.suspended):
            self._world.sleep(self._world.random.uniform(1, 40))
        if self._strikes(self._faults.refused):
            raise Undecided("503")
        if self._strikes(self._faults.lost_answer):
            self._world.sleep(timeout_s)
            raise Undecided("timeout")

    def _write(self, write: Callable[[], bool], timeout_s: float) -> bool:
        world = self._world
        self._travel()
        if self._mortal and self._strikes(self._faults.crash):
            if self._strikes(0.5):
                world.later(world.random.expovariate(0.2), lambda: _ignore(write()))
            raise Crash
        if self._strikes(self._faults.suspended):
            world.sleep(world.random.uniform(1, 40))
        if self._strikes(self._faults.refused):
            raise Undecided("429")
        if self._strikes(self._faults.late):
            world.later(world.random.expovariate(0.2), lambda: _ignore(write()))
            world.sleep(timeout_s)
            raise Undecided("timeout")
        done = write()
        self._travel()
        if self._strikes(self._faults.lost_answer):
            world.sleep(timeout_s)
            raise Undecided("timeout")
        if not done and self._strikes(self._faults.refused):
            raise Undecided("429")  # the loser of a race may see 429 instead of 412
        return done


def _ignore(_: bool) -> None:
    return None
