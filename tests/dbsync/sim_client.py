"""A page of a simulation: an author with a base, doing this and that on any server, and noting what it is told."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chassis.faults import Fault
from dbsync.conflicts import Conflict
from dbsync.database import Database
from dbsync.requests import (
    CommitRequest,
    CommitResult,
    HistoryRequest,
    QueryRequest,
    QueryResult,
    RowKey,
    Statement,
    Target,
)
from dbsync.restore import Migration, RestoreRequest
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_process import Gone, Process
from tests.dbsync.sim_record import COUNTERS, NOTES, Looked, Meaning, Read, Record, Row, Seen, Write, expect
from tests.dbsync.sim_shape import Shape
from tests.dbsync.sim_world import START_MS, World

T = TypeVar("T")

MARKS = 12  # names that pages share
READS = (
    Statement("SELECT id FROM marks"),
    Statement("SELECT id, n FROM counters"),
    Statement("SELECT id, text FROM notes"),
    Statement("SELECT count(*) FROM sqlite_master WHERE name GLOB 'added_*' AND type = 'table'"),
)
SCHEMA = (
    Statement("CREATE TABLE marks (id TEXT NOT NULL PRIMARY KEY)"),
    Statement("CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"),
    Statement("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"),
    *(Statement("INSERT INTO counters VALUES (?, 0)", (number,)) for number in range(COUNTERS)),
    *(Statement("INSERT INTO notes VALUES (?, '')", (number,)) for number in range(NOTES)),
)


@dataclass
class User:
    """What the pages of one user share: a database, the schema that their code is at, and what they saw."""

    record: Record
    raw: MemoryStore
    schema: int = 1
    requests: list[tuple[Write, CommitRequest | RestoreRequest]] = field(default_factory=list)
    gone: int = 0  # how often somebody was told that the database was deleted

    @property
    def head(self) -> int:
        """The newest version that there is, whoever knows of it."""
        return self.raw.heads[self.record.database]

    @property
    def ended(self) -> bool:
        """Whether the database was ended, whoever knows of it."""
        return self.raw.ended(self.record.database)


@dataclass
class Page:
    """One author."""

    name: str
    world: World
    processes: list[Process]
    user: User
    shape: Shape
    seen: Counter[str]
    audit: Callable[[], None]
    base: int = 0
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def live(self, operations: int) -> None:
        """Does its operations, one after the other; of a deleted database only some more."""
        kinds, weights = list(self.shape.weights), list(self.shape.weights.values())
        rng = self.world.random
        for _ in range(operations):
            await asyncio.sleep(rng.expovariate(1 / self.shape.think_s))
            if self.user.gone > 10:
                return
            if rng.random() < 0.05:
                self.audit()
            self.seen["operations"] += 1
            await self._do(rng.choices(kinds, weights)[0])

    async def migrate(self) -> None:
        """Brings the database to the next schema version; for a new one, the first."""
        await self._write("migrate")

    async def _do(self, kind: str) -> None:
        if kind in ("read here", "read the newest", "head", "history", "snapshot"):
            try:
                await self._read(kind)
            except (Gone, TimeoutError):
                self.seen["reads: unanswered"] += 1
            except Fault as fault:
                self._refused_read(fault)
        elif kind == "delete":
            await self._delete()
        elif kind in ("again", "twist"):
            await self._again(twisted=kind == "twist")
        elif kind in ("undo", "restore"):
            await (self._undo() if kind == "undo" else self._restore())
        else:
            await self._write(kind)

    async def _read(self, kind: str) -> None:
        record, user, floor = self.user.record, self.user, self.user.record.known
        if kind == "history":
            asked = self._look()
            page, _ = await self._ask(lambda database: database.history(asked))
            # An older page may come from a copy that knows so much.
            floor = min(floor, asked.before_version - 1) if asked.before_version else floor
            record.looks.append(Looked(floor, user.head, asked, page))
            version = page.head_version
        elif kind == "snapshot":
            found, _ = await self._ask(lambda database: database.snapshot("mine.sqlite", 60))
            expect(floor <= found.version <= user.head, f"a snapshot of version {found.version}, known was {floor}")
            version = found.version
        elif kind == "head":
            head, _ = await self._ask(lambda database: database.head())
            record.reads.append(Read(floor, user.head, head))
            version = head.version
        else:
            bound = self.base if kind == "read here" else None
            request = QueryRequest(record.database, READS, min_version=bound)
            result, _ = await self._ask(lambda database: database.query(request))
            record.reads.append(Read(floor if bound is None else bound, user.head, seen(result)))
            version = result.version
            self.base = max(self.base, version)
        self.seen[f"reads: {kind}"] += 1
        record.learn(version)

    def _look(self) -> HistoryRequest:
        rng, row = self.world.random, None
        if rng.random() < 0.3:
            row = RowKey("marks", (f"m{rng.randrange(MARKS)}",))
        before = rng.randint(1, self.user.record.known + 1) if rng.random() < 0.5 else 0
        return HistoryRequest(self.user.record.database, before, rng.choice((1, 5, 20, 100)), row)

    def _refused_read(self, fault: Fault) -> None:
        """A read may be told to come again, or that there is nothing any more, and nothing else."""
        self.seen[f"reads: answered {fault.reason}"] += 1
        if fault.reason == "database_deleted":
            self.user.gone += 1
            expect(self.user.ended, "a read was told that the database is deleted, and it is not")
        elif fault.reason == "database_corrupt":
            expect(self.user.record.damaged, "a read was told that the log is damaged, and it is not")
        else:
            expect(comes_again(fault), f"a read was refused: {fault!r}")

    async def _again(self, *, twisted: bool) -> None:
        """Repeats an operation of before, as a page does that was reloaded; or uses its key for another."""
        rng = self.world.random
        if not self.user.requests:
            return
        first, request = rng.choice(self.user.requests[-40:])
        known = isinstance(first.answer, CommitResult)
        if not known and (twisted or not first.over or first.answer is not None):
            return  # what was refused may be done now, and would be new
        write = replace(first, first=first, answer=None, twisted=twisted, unclear=False, over=False)
        if twisted:
            if isinstance(request, RestoreRequest) or request.undo is not None:
                return
            request = replace(request, statements=(*request.statements, READS[0]))
        await self._send(write, request)

    async def _delete(self) -> None:
        for _ in range(self.world.random.randint(1, 6)):
            try:
                version, _ = await self._ask(lambda database: database.delete())
            except (Gone, TimeoutError):
                continue
            except Fault as fault:
                expect(comes_again(fault), f"a deletion was refused: {fault!r}")
                continue
            self.seen["deletions"] += 1
            record = self.user.record
            expect(record.deleted in (0, version), "a database was ended twice")
            record.deleted = version
            record.learn(version)
            left = self.user.raw.left(record.database)
            expect(not left, f"a deletion was acknowledged, and {left} are still there")
            return

    async def _undo(self) -> None:
        rng = self.world.random
        done = [w.answer for w, _ in self.user.requests[-30:] if isinstance(w.answer, CommitResult)]
        if not done:
            return
        answer = rng.choice(done)
        target = Target(answer.version, answer.commit_id or rng.randbytes(16))
        if rng.random() < 0.05:
            target = Target(answer.version + rng.choice((-1, 1, 1000)), answer.commit_id)
        meaning = Meaning(undo=(target.version, target.commit_id))
        await self._commit(meaning, base=self.base if rng.random() < 0.8 else None, undo=target)

    async def _restore(self) -> None:
        rng, record, schema = self.world.random, self.user.record, self.user.schema
        version = rng.randint(1, max(1, record.known)) if rng.random() < 0.95 else record.known + 1000
        path = tuple(Migration(n, n + 1, migration_to(n + 1)) for n in range(rng.choice((0, 0, 0, 1)), schema))
        base = self.base if rng.random() < 0.8 else None
        keeps = rng.choice(((), (), ("marks",), ("counters", "notes")))
        write = Write(self._key(), self.name, base, Meaning(restore=version, keeps=keeps), schema=schema)
        asked = RestoreRequest(record.database, version, schema, write.key, path, base, self.name, keeps)
        await self._first(write, asked)

    async def _write(self, kind: str) -> None:
        quiet = kind in ("system", "migrate", "migrate badly")
        await self._commit(
            self._meaning(kind),
            author="" if quiet else self.name,
            base=None if quiet or kind == "blind" else self.base,
            strict=kind == "strict",
        )

    async def _commit(
        self,
        meaning: Meaning,
        *,
        base: int | None,
        author: str | None = None,
        strict: bool = False,
        undo: Target | None = None,
    ) -> None:
        author = self.name if author is None else author
        write = Write(self._key(), author, base, meaning, schema=self.user.schema, strict=strict)
        request = CommitRequest(
            self.user.record.database,
            () if undo else statements_of(meaning),
            write.key,
            author=author,
            schema_version=write.schema,
            base_version=base,
            scope_database=strict,
            depends_on=tuple(RowKey("Counters", (row[1],)) for row in meaning.needed),  # type: ignore[arg-type]
            set_schema_version=meaning.migrate,
            undo=undo,
        )
        await self._first(write, request)

    async def _first(self, write: Write, request: CommitRequest | RestoreRequest) -> None:
        if not write.meaning.idle:
            self.user.requests.append((write, request))
        await self._send(write, request)
        write.over = True

    def _meaning(self, kind: str) -> Meaning:
        rng = self.world.random
        if kind in ("migrate", "migrate badly"):
            return Meaning(migrate=self.user.schema + 1, fails=kind == "migrate badly")
        if kind == "idle":
            return Meaning(idle=True)
        mark, counter = f"m{rng.randrange(MARKS)}", rng.randrange(COUNTERS)
        needs = rng.randrange(COUNTERS) if kind == "needs" else None
        what = rng.choice(("add", "add", "drop", "swap", "bump", "bump", "put", "both"))
        other = f"m{(int(mark[1:]) + rng.randrange(1, MARKS)) % MARKS}"
        text = rng.choice(("a", "b", f"{self.name}.{next(self.numbers)}"))
        return Meaning(
            adds=(mark,) if what in ("add", "both", "swap") else (),
            drops={"drop": (mark,), "swap": (other,)}.get(what, ()),
            bumps=(counter,) if what in ("bump", "both") else (),
            puts=((rng.randrange(NOTES), text),) if what == "put" else (),
            needs=needs,
        )

    async def _send(self, write: Write, request: CommitRequest | RestoreRequest) -> None:
        """Asks until there is an answer, or for so long."""
        rng, record = self.world.random, self.user.record
        write.floor = record.known
        record.writes.append(write)
        for number in range(rng.randint(1, 6)):
            if number:
                self.seen["writes: tried again"] += 1
                write.unclear = True
            try:
                answer = await self._ask(lambda database: asked(database, request))
            except (Gone, TimeoutError):
                await asyncio.sleep(rng.uniform(0, 2.0))
                continue
            except Conflict as conflict:
                self._learn(write, conflict)
            except Fault as fault:
                self.seen[f"writes: answered {fault.reason}"] += 1
                if comes_again(fault):
                    await asyncio.sleep(rng.uniform(0, 0.5))
                    continue
                if fault.reason == "schema_mismatch":
                    self.user.schema = max(self.user.schema, int(fault.metadata["actual"]))
                self.user.gone += fault.reason == "database_deleted"
                self._learn(write, fault.reason)
            else:
                self._learn(write, answer)
            return
        self.seen["writes: given up without an answer"] += 1

    def _learn(self, write: Write, answer: CommitResult | Conflict | str) -> None:
        write.answer, write.ceiling = answer, self.user.head
        self.world.say(f"{self.name}: {write.meaning} at {write.base}: {answer}")
        if isinstance(answer, Conflict):
            self.seen["conflicts"] += 1
            if not write.first:
                self.base = max(self.base, answer.head_version)  # the page reads again, and decides again
        elif isinstance(answer, CommitResult):
            self.seen[
                f"{_noun(write.meaning)}: {'answered from the table of keys' if answer.replayed else 'done'}"
            ] += 1
            self.user.record.learn(answer.version)
            if write.base is not None and not write.first:
                self.base = max(self.base, answer.base_version)
            if write.meaning.migrate is not None:
                self.user.schema = max(self.user.schema, write.meaning.migrate)

    async def _ask(self, call: Callable[[Database], Awaitable[T]]) -> T:
        rng, shape = self.world.random, self.shape
        preferred = self.processes[hash_of(self.user.record.database) % len(self.processes)]
        process = preferred if self.world.strikes(shape.sticky) else rng.choice(self.processes)
        if self.world.strikes(shape.hasty):
            async with asyncio.timeout(rng.uniform(0.05, 2)):
                answer = await process.ask(self.user.record.database, call)
        else:
            answer = await process.ask(self.user.record.database, call)
        if self.world.strikes(0.3):  # the answer is on its way
            await asyncio.sleep(rng.uniform(0, 0.05))
        return answer

    def _key(self) -> bytes:
        """A UUIDv7 of the world's time."""
        return (START_MS + int(self.world.now_s() * 1000)).to_bytes(6, "big") + self.world.random.randbytes(10)


async def asked(database: Database, request: CommitRequest | RestoreRequest) -> CommitResult:
    """The answer to a commit, an undo or a restore."""
    if isinstance(request, CommitRequest):
        return (await database.commit(request))[0]
    done, _ = await database.restore(request)
    return CommitResult(done.version, done.version, (), done.replayed)


def comes_again(fault: Fault) -> bool:
    """Whether the client is told to ask again."""
    return fault.kind in ("unavailable", "timeout") or fault.reason == "busy"


def _noun(meaning: Meaning) -> str:
    if meaning.migrate is not None:
        return "migrations"
    if meaning.undo is not None:
        return "undos"
    return "restores" if meaning.restore is not None else "commits"


def hash_of(database: str) -> int:
    """The process that a gateway prefers for a user."""
    return sum(database.encode())


def seen(result: QueryResult) -> Seen:
    """What a query of `READS` returned."""
    marks, counters, notes, tables = (one.rows for one in result.results)
    rows: dict[Row, object] = {("marks", row[0]): True for row in marks}
    rows |= {("counters", row[0]): row[1] for row in counters}
    rows |= {("notes", row[0]): row[1] for row in notes}
    return Seen(result.version, result.schema_version, rows, int(tables[0][0]))  # type: ignore[arg-type]


def statements_of(meaning: Meaning) -> tuple[Statement, ...]:
    """The SQL that does it."""
    if meaning.migrate is not None:
        return migration_to(meaning.migrate, fails=meaning.fails)
    if meaning.idle:
        return (Statement("UPDATE counters SET n = n + 1 WHERE id = -1"),)
    return (
        *(Statement("DELETE FROM marks WHERE id = ?", (mark,), 1) for mark in meaning.drops),
        *(Statement("INSERT INTO marks VALUES (?)", (mark,)) for mark in meaning.adds),
        *(Statement("UPDATE counters SET n = n + 1 WHERE id = ? RETURNING n", (n,), 1) for n in meaning.bumps),
        *(Statement("UPDATE notes SET text = ? WHERE id = ?", (text, n), 1) for n, text in meaning.puts),
    )


def migration_to(target: int, *, fails: bool = False) -> tuple[Statement, ...]:
    """One step of the schema."""
    if target == 1:
        return SCHEMA
    key = "INTEGER" if fails else "INTEGER PRIMARY KEY"  # a table must have a key
    made = Statement(f"CREATE TABLE added_{target} (id {key})")
    return (made,) if target % 3 else (made, Statement("UPDATE notes SET text = text || '+'"))
