"""The object store of a simulation as one process sees it: a store in memory that fails in every known way.

A request may be refused, lose its answer, take place long after its sender gave up, or meet the end of its process at
any step; a process may also sleep for long before the request goes out, and not notice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from dbsync.pages import Body
from dbsync.slots import Blob, Hopeless, Undecided, slot_version
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_world import World

REFUSALS = ("429", "500", "503")


class Crash(BaseException):
    """The process in which this is raised ends here."""


@dataclass(frozen=True)
class Faults:
    """How often each fault strikes a request to the store."""

    refused: float = 0.06  # 429 or 5xx, nothing done
    lost_answer: float = 0.06  # done, and then no answer
    late: float = 0.06  # no answer, and a write takes place some time later
    suspended: float = 0.03  # the process sleeps long before the request goes out, and does not notice
    crash: float = 0.02  # the process ends, before the request, after it took place, or with it on its way
    denied: float = 0.005  # 403: asking again will not help


NO_FAULTS = Faults(0, 0, 0, 0, 0, 0)


@dataclass
class Bucket:
    """The store itself, which processes share; `seen` counts what was exercised."""

    raw: MemoryStore = field(default_factory=MemoryStore)
    seen: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)  # keys of writes that are still on their way
    struck_max: int | None = None  # later ones are let off


class SimStore:
    """A `dbsync.slots.Store` behind faults; `die` ends the process that it belongs to, None for one that never does."""

    def __init__(
        self,
        world: World,
        bucket: Bucket,
        faults: Faults,
        name: str,
        die: Callable[[], None] | None = None,
        dead: Callable[[], bool] = lambda: False,
    ) -> None:
        self.bucket = bucket
        self.world = world
        self._raw = bucket.raw
        self._faults = faults
        self._name = name
        self._die = die
        self._dead = dead

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        return self._write("PUT", key, lambda: self._raw.create(key, body, timeout_s), timeout_s)

    def replace(
        self, key: str, body: Body, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        return self._write("PUT", key, lambda: self._raw.replace(key, body, metadata, expected, timeout_s), timeout_s)

    def overwrite(self, objects: Mapping[str, bytes], metadata: Mapping[str, str], timeout_s: float) -> None:
        """Beside each other: of a call that fails, some took place, in any order."""
        keys = list(objects)
        self.world.random.shuffle(keys)
        for some in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            if some:
                put = partial(self._put_all, some, objects, metadata, timeout_s)
                self._write("PUT", some[0], put, timeout_s)

    def remove(self, keys: Sequence[str], timeout_s: float) -> None:
        self._write("DELETE", keys[0], lambda: self._remove(keys, timeout_s), timeout_s)

    def presign(self, key: str, name: str, lifetime_s: int) -> tuple[str, int]:
        return self._raw.presign(key, name, lifetime_s)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        self._reach("GET", key, timeout_s)
        return self._got(key, timeout_s)

    def head(self, key: str, timeout_s: float) -> Blob | None:
        self._reach("HEAD", key, timeout_s)
        return self._raw.head(key, timeout_s)

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        """Beside each other: some of them see the store before what happens meanwhile, and some after."""
        self._reach("GET", keys[0], timeout_s)
        if len(keys) == 1:
            return [self._got(keys[0], timeout_s)]
        first = [key for key in keys if self.world.strikes(0.5)]
        found = {key: self._got(key, timeout_s) for key in first}
        self._travel()
        return [found[key] if key in found else self._got(key, timeout_s) for key in keys]

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        self._reach("LIST", prefix, timeout_s)
        if after:
            self.bucket.seen["read: a further page of a list"] += 1
        return self._raw.list_keys(prefix, after, timeout_s)

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        self.bucket.seen["opens"] += 1
        if self.world.strikes(0.5):
            return self.get(key, timeout_s), self.list_keys(prefix, "", timeout_s)
        keys = self.list_keys(prefix, "", timeout_s)
        return self.get(key, timeout_s), keys

    def _put_all(
        self, keys: Sequence[str], objects: Mapping[str, bytes], metadata: Mapping[str, str], timeout_s: float
    ) -> bool:
        self._raw.overwrite({key: objects[key] for key in keys}, metadata, timeout_s)
        return True

    def _remove(self, keys: Sequence[str], timeout_s: float) -> bool:
        self._raw.remove(keys, timeout_s)
        return True

    def _got(self, key: str, timeout_s: float) -> Blob | None:
        blob = self._raw.get(key, timeout_s)
        if blob is None and self.bucket.unclear[key]:
            self.bucket.seen["fault: 404 after a PUT without an answer"] += 1
        return blob

    def _travel(self) -> None:
        self.world.sleep(self.world.random.uniform(0.01, 0.08))
        if self._dead():
            raise Crash

    def _wait(self, seconds: float) -> None:
        self.world.sleep(seconds)
        if self._dead():
            raise Crash

    def _strikes(self, chance: float, what: str) -> bool:
        if not self.world.strikes(chance):
            return False
        bucket = self.bucket
        if bucket.struck_max is not None and bucket.seen["faults"] >= bucket.struck_max:
            return False
        bucket.seen["faults"] += 1
        bucket.seen[f"fault: {what}"] += 1
        self.world.say(f"{self._name}: {what}")
        return True

    def _crash(self, when: str) -> Crash:
        if self._die is None:
            raise AssertionError("an immortal process crashes")
        self.bucket.seen[f"kill: {when}"] += 1
        self.world.say(f"{self._name} ends: {when}")
        self._die()
        return Crash()

    def _mortal(self, what: str) -> bool:
        return self._die is not None and self._strikes(self._faults.crash, what)

    def _reach(self, method: str, key: str, timeout_s: float) -> None:
        self._travel()
        if self._mortal("crash"):
            raise self._crash(f"in {_step(method, key)}")
        self._delay()
        self._refuse(method)
        if self._strikes(self._faults.lost_answer, f"{method} without an answer"):
            self._wait(timeout_s)
            raise Undecided("timeout")

    def _write(self, method: str, key: str, write: Callable[[], bool], timeout_s: float) -> bool:
        world, step = self.world, _step(method, key)
        self._travel()
        if self._mortal("crash"):
            if world.strikes(0.5):
                self._late(key, write)
                raise self._crash(f"in {step}, sent and on its way")
            raise self._crash(f"before {step}")
        self._delay()
        self._refuse(method)
        if self._strikes(self._faults.late, f"{method} that takes place late"):
            self._late(key, write)
            self._wait(timeout_s)
            raise Undecided("timeout")
        done = write()
        world.say(f"{self._name}: {method} {key} {'done' if done else 'exists'}")
        self._travel()
        if self._mortal("crash"):
            raise self._crash(f"after {step}, before anything local")
        if self._strikes(self._faults.lost_answer, f"{method} done without an answer"):
            self._wait(timeout_s)
            raise Undecided("timeout")
        if not done and self._strikes(self._faults.refused, f"{method} lost and answered 429"):
            raise Undecided("429")  # the loser of a race may see 429 instead of 412
        return done

    def _late(self, key: str, write: Callable[[], bool]) -> None:
        bucket, world = self.bucket, self.world
        bucket.unclear[key] += 1

        def arrive() -> None:
            bucket.unclear[key] -= 1
            won = write()
            world.say(f"late PUT {key} {'done' if won else 'exists'}")
            bucket.seen[f"late: a PUT that {'takes' if won else 'finds'} its slot{'' if won else ' taken'}"] += 1
            database = key.partition("/")[0]
            if 0 < (slot_version(database, key) or 0) < bucket.raw.heads[database]:
                bucket.seen["late: a PUT below the newest version"] += 1

        world.later(world.random.expovariate(0.2), arrive)

    def _delay(self) -> None:
        if self._strikes(self._faults.suspended, "a suspended process"):
            self._wait(self.world.random.uniform(1, 40))

    def _refuse(self, method: str) -> None:
        if self._strikes(self._faults.refused, f"{method} refused"):
            raise Undecided(self.world.random.choice(REFUSALS))
        if self._strikes(self._faults.denied, f"{method} denied"):
            raise Hopeless("403")


def _step(method: str, key: str) -> str:
    """What a request is for."""
    if "/quarantine/" in key:
        return "quarantine"
    if method == "DELETE":
        return "a deletion"
    if "/db/" in key and method != "LIST":
        return "a commit's PUT" if method == "PUT" else "reading the log"
    return {"PUT": "a snapshot's PUT", "HEAD": "compaction", "LIST": "a cold open"}.get(method, "a cold open")
