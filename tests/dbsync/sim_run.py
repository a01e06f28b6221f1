"""Servers and clients of a simulation: real committers on real SQLite files, over the store of a `World`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chassis.faults import Fault
from dbsync import query, snapshots
from dbsync.cold_open import cold_open
from dbsync.commit import Committer, Spent
from dbsync.conflicts import Conflict
from dbsync.gate import GateVfs
from dbsync.requests import CommitRequest, QueryRequest, QueryResult, RowKey, Statement
from dbsync.slots import Patience, Slots, StoreUnavailable, Undecided
from dbsync.sqlguard import Broken, Limits
from dbsync.transaction import Answer
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_record import Meaning, Read, Record, Write
from tests.dbsync.sim_world import Crash, SimStore, World

DATABASE = "user-1"
COUNTERS = 3
DEADLINE_S = 12.0
PATIENCE = Patience(attempt_s=3.0)
READS = (Statement("SELECT id FROM marks"), Statement("SELECT id, n FROM counters"))


class Gone(Exception):
    """The server crashed or cannot say: the client does not know."""


@dataclass
class Parts:
    """What a mutant replaces."""

    slots: type[Slots] = Slots
    committer: type[Committer] = Committer
    trim: Callable[[MemoryStore, int], None] | None = None  # after a snapshot of that version
    probe: bool = True  # a linearizable read asks the log
    patches: tuple[tuple[object, str, object], ...] = ()  # attribute of an object or module, and what it becomes


@dataclass
class _Asked:
    request: CommitRequest
    answer: Answer | None = None
    gone: bool = False


@dataclass
class Server:
    """One process: a committer on a file of its own, which a crash loses."""

    world: World
    store: SimStore
    raw: MemoryStore
    vfs: GateVfs
    folder: Path
    parts: Parts
    compact_after: int = 8
    committer: Committer | None = None
    busy: bool = False
    snapshot_version: int = 0
    waiting: list[_Asked] = field(default_factory=list)
    lives: itertools.count[int] = field(default_factory=itertools.count)

    def commit(self, request: CommitRequest) -> Answer:
        """The answer; Gone when there is none."""
        asked = _Asked(request)
        self.waiting.append(asked)
        self.world.wait_for(lambda: not self.busy or asked.answer is not None or asked.gone)
        if asked.answer is None and not asked.gone:
            self._alone(self._run_group)
        if asked.answer is None:
            raise Gone
        return asked.answer

    def read(self, bound: int | None) -> QueryResult:
        """The marks and counters at a version no older than `bound`, or the head; Gone."""
        request = QueryRequest(DATABASE, READS, min_version=bound)
        for _ in range(3):
            committer = self.committer
            if committer is None:
                self.world.wait_for(lambda: not self.busy)
                self._alone(lambda: None)
                continue
            version = committer.replica.version
            moved: object = version < bound if bound is not None else None
            try:
                if bound is None and self.parts.probe:
                    moved = self._slots().read(version + 1, self.world.now_s() + DEADLINE_S)
                if moved:
                    self.world.wait_for(lambda: not self.busy)
                    if not self._alone(self._catch_up):
                        raise Gone
                if self.committer is not None:
                    return query.run(self.committer.replica, request)
            except (StoreUnavailable, Broken) as error:
                raise Gone from error
            except Crash:
                if self.busy:
                    raise Gone from None  # the writer of this process is in the middle: only the connection breaks
                self.crash()
        raise Gone

    def _slots(self) -> Slots:
        return self.parts.slots(self.store, self.world, DATABASE, PATIENCE)

    def _alone(self, work: Callable[[], None]) -> bool:
        """Whether it was done."""
        self.busy = True
        try:
            if self.committer is None:
                self._open()
            work()
            return True
        except Crash:
            self.crash()
        except (StoreUnavailable, Undecided, Broken):
            self._drop_waiting()
        finally:
            self.busy = False
        return False

    def _open(self) -> None:
        opened = cold_open(
            self._slots(),
            self.world,
            Limits(),
            self.vfs,
            lambda: self.folder / str(next(self.lives)),
            self.world.now_s() + DEADLINE_S,
        )
        old = opened.committer
        self.committer = self.parts.committer(old.replica, self._slots(), self.world, Limits(), old._history)
        self.snapshot_version = opened.snapshot_version

    def _run_group(self) -> None:
        if self.committer is None or not self.waiting:
            return
        size = self.world.random.randint(1, 4)
        group = self.waiting[:1] if self.waiting[0].request.migration else self.waiting[:size]
        group = group[:1] if any(asked.request.migration for asked in group) else group
        answers = self.committer.commit([asked.request for asked in group], self.world.now_s() + DEADLINE_S, Spent())
        for asked, answer in zip(group, answers, strict=True):
            asked.answer = answer
            self.waiting.remove(asked)
        if self.committer.replica.version - self.snapshot_version >= self.compact_after:
            self._compact(self.committer)

    def _compact(self, committer: Committer) -> None:
        image = committer.replica.image()
        self.snapshot_version = image.version
        try:
            done = snapshots.publish(self.store, DATABASE, image, 3.0)
        except Undecided:
            return
        if done and self.parts.trim is not None:
            self.parts.trim(self.raw, image.version)

    def _catch_up(self) -> None:
        if self.committer is not None:
            self.committer.catch_up(self.world.now_s() + DEADLINE_S, Spent())

    def crash(self) -> None:
        """The process ends, and its disk with it; who waits is told nothing."""
        committer, self.committer = self.committer, None
        self._drop_waiting()
        if committer is not None:
            committer.replica.close()

    def _drop_waiting(self) -> None:
        for asked in self.waiting:
            asked.gone = True
        self.waiting.clear()

    def close(self) -> None:
        """Removes the files."""
        if self.committer is not None:
            self.committer.replica.close()


@dataclass
class Client:
    """One page: an author with a base, doing this and that on any server."""

    name: str
    world: World
    servers: list[Server]
    record: Record
    schema_version: list[int]  # what all clients' code is at: shared
    operations: int
    base: int = 0
    known: int = 0
    marks: list[str] = field(default_factory=list)
    serial: itertools.count[int] = field(default_factory=itertools.count)

    def live(self) -> None:
        """Does its operations, one after the other."""
        for _ in range(self.operations):
            self.world.sleep(self.world.random.expovariate(2.0))
            if self.world.random.random() < 0.3:
                self._read()
            else:
                self._write()

    def _read(self) -> None:
        bound = self.known if self.world.random.random() < 0.4 else None
        began = self.world.steps
        try:
            result = self._server().read(bound)
        except Gone:
            return
        self.world.sleep(0)
        self.record.reads.append(Read(bound, began, self.world.steps, result))
        self.base = max(self.base, result.version)
        self.known = max(self.known, result.version)

    def _write(self) -> None:
        request, meaning = self._make(self.world.random)
        write = Write(request, meaning, self.world.steps)
        self.record.writes.append(write)
        for _ in range(self.world.random.randint(1, 6)):
            try:
                answer = self._server().commit(request)
            except Gone:
                answer = None
            self.world.sleep(self.world.random.uniform(0, 0.5))
            if answer is None or (isinstance(answer, Fault) and answer.kind == "unavailable"):
                continue
            self._learn(write, answer)
            return

    def _learn(self, write: Write, answer: Answer) -> None:
        write.ended = self.world.steps
        if isinstance(answer, Fault):
            write.answer = answer.reason
            if answer.reason == "schema_mismatch":
                self.schema_version[0] = max(self.schema_version[0], int(answer.metadata["actual"]))
        elif isinstance(answer, Conflict):
            write.answer = answer
            self.base = answer.head_version  # the page reads again, and decides again
        else:
            write.answer = answer
            self.known = max(self.known, answer.version)
            if write.request.base_version is not None:
                self.base = max(self.base, answer.base_version)
            if write.meaning.add:
                self.marks.append(write.meaning.add)
            if write.meaning.migrate is not None:
                self.schema_version[0] = max(self.schema_version[0], write.meaning.migrate)

    def _make(self, rng: random.Random) -> tuple[CommitRequest, Meaning]:
        name = f"{self.name}.{next(self.serial)}"
        kind = rng.choices(("add", "bump", "strict", "system", "drop", "needs", "migrate"), (30, 25, 5, 10, 15, 10, 3))[
            0
        ]
        counter = rng.randrange(COUNTERS)
        adds = Statement("INSERT INTO marks VALUES (?)", (name,))
        bumps = Statement("UPDATE counters SET n = n + 1 WHERE id = ?", (counter,), 1)
        schema = self.schema_version[0]
        base: int | None = self.base
        if kind == "migrate":
            table = Statement(f"CREATE TABLE added_{schema + 1} (id INTEGER PRIMARY KEY)")
            target = schema + 1
            return self._request((table,), None, set_schema_version=target), Meaning(migrate=target)
        if kind == "drop" and self.marks:
            mark = self.marks.pop(rng.randrange(len(self.marks)))
            statement = Statement("DELETE FROM marks WHERE id = ?", (mark,), 1)
            return self._request((statement,), base), Meaning(drop=mark)
        if kind in ("bump", "strict"):
            return self._request((bumps,), base, scope_database=kind == "strict"), Meaning(bump=counter)
        if kind == "system":
            return self._request((bumps,), None, author=""), Meaning(bump=counter)
        needs = counter if kind == "needs" else None
        depends_on = () if needs is None else (RowKey("Counters", (needs,)),)
        return self._request((adds,), base, depends_on=depends_on), Meaning(add=name, needs=needs)

    def _request(
        self, statements: tuple[Statement, ...], base: int | None, *, author: str | None = None, **more: object
    ) -> CommitRequest:
        return CommitRequest(
            DATABASE,
            statements,
            new_key(self.world),
            author=self.name if author is None else author,
            schema_version=self.schema_version[0],
            base_version=base,
            **more,  # type: ignore[arg-type]
        )

    def _server(self) -> Server:
        return self.world.random.choice(self.servers)


def new_key(world: World) -> bytes:
    """A UUIDv7 of the world's time."""
    return world.wall_ms().to_bytes(6, "big") + world.random.randbytes(10)
