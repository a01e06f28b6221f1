"""What happened in a simulation, and an independent judge of it.

The judge knows nothing of SQLite or of the protocol: it reads which idempotency keys the log holds in which order,
replays what those operations mean on plain dictionaries, and holds every answer against that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dbsync.conflicts import Conflict
from dbsync.log_format import decode
from dbsync.requests import CommitRequest, CommitResult, QueryResult
from dbsync.slots import slot_version
from tests.dbsync.memory_store import MemoryStore

MUTANT_FAILED = "a mutant says that it failed"
# What a client of a simulation may rightly be told; anything else is a fault of the service.
REFUSALS = {"requirement_unmet", "schema_mismatch", "schema_newer", MUTANT_FAILED}


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True)
class Meaning:
    """What an operation does: adds or drops a mark, adds one to a counter, or sets the schema version."""

    add: str = ""
    drop: str = ""
    bump: int | None = None
    migrate: int | None = None
    needs: int | None = None  # a counter that it depends on

    @property
    def rows(self) -> set[tuple[str, object]]:
        """The rows that it changes."""
        marks: set[tuple[str, object]] = {("marks", mark) for mark in (self.add, self.drop) if mark}
        return marks | ({("counters", self.bump)} if self.bump is not None else set())

    @property
    def watched(self) -> set[tuple[str, object]]:
        """The rows over which it may conflict."""
        return self.rows | ({("counters", self.needs)} if self.needs is not None else set())


@dataclass
class Write:
    """A commit as its client saw it. `answer` stays None when the client gave up without knowing."""

    request: CommitRequest
    meaning: Meaning
    began: int
    ended: int = 0
    answer: CommitResult | Conflict | str | None = None  # a str is the reason of a definite refusal


@dataclass
class Read:
    """A read as its client saw it; `bound` is its min_version, None for a linearizable read."""

    bound: int | None
    began: int
    ended: int
    result: QueryResult


@dataclass
class Record:
    """Everything that the clients saw, in no order."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)


@dataclass
class State:
    """The database at a version, as the meanings have it."""

    marks: frozenset[str]
    counters: Mapping[int, int]
    schema_version: int

    def after(self, meaning: Meaning) -> State:
        """The state once the operation took place; Violation when it could not have."""
        marks, counters, schema = set(self.marks), dict(self.counters), self.schema_version
        if meaning.add:
            expect(meaning.add not in marks, f"{meaning.add} was added twice")
            marks.add(meaning.add)
        if meaning.drop:
            expect(meaning.drop in marks, f"{meaning.drop} was dropped, but is not there")
            marks.remove(meaning.drop)
        if meaning.bump is not None:
            counters[meaning.bump] += 1
        if meaning.migrate is not None:
            expect(meaning.migrate == schema + 1, f"a migration to {meaning.migrate} of schema {schema}")
            schema = meaning.migrate
        return State(frozenset(marks), counters, schema)


@dataclass(frozen=True)
class Step:
    """One sub-commit of the log."""

    version: int
    key: bytes
    author: str
    quiet: bool


def expect(holds: bool, otherwise: str) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(otherwise)


def read_log(store: MemoryStore, database: str) -> list[Step]:
    """The sub-commits of the log, oldest first; Violation when a version is missing, or was ever won twice."""
    found: dict[int, bytes] = {}
    for key, body in store.journal:
        version = slot_version(database, key)
        if version is not None:
            expect(version not in found, f"version {version} was won twice")
            found[version] = body
    steps: list[Step] = []
    for version in range(1, max(found, default=0) + 1):
        expect(version in found, f"version {version} is missing")
        entry = decode(found[version], database=database, version=version)
        steps.extend(Step(version, sub.idempotency_key, sub.author, sub.system or sub.migration) for sub in entry.subs)
    return steps


def judge(record: Record, steps: Sequence[Step], first: State) -> None:
    """Holds every answer against the log; raises Violation."""
    writes = {write.request.idempotency_key: write for write in record.writes}
    seen: set[bytes] = set()
    states = [first]
    for step in steps:
        expect(step.key not in seen, f"version {step.version} repeats a key")
        seen.add(step.key)
        expect(step.key in writes, f"version {step.version} is nobody's")
        while len(states) <= step.version:
            states.append(states[-1])
        states[step.version] = states[step.version].after(writes[step.key].meaning)
    for write in record.writes:
        _judge_write(write, steps, writes, states)
    for read in record.reads:
        _judge_read(read, states, _acknowledged(record, read.began))
    _judge_order(record.writes)


def _acknowledged(record: Record, before: int) -> int:
    """The newest version that anybody knew of before that moment."""
    versions = [
        write.answer.version
        for write in record.writes
        if isinstance(write.answer, CommitResult) and 0 < write.ended < before
    ]
    return max([*versions, *(read.result.version for read in record.reads if read.ended < before)], default=0)


def _judge_write(write: Write, steps: Sequence[Step], writes: Mapping[bytes, Write], states: Sequence[State]) -> None:
    key, answer = write.request.idempotency_key, write.answer
    places = [number for number, step in enumerate(steps) if step.key == key]
    if isinstance(answer, CommitResult):
        expect(len(places) == 1, f"an acknowledged write is {len(places)} times in the log")
        expect(steps[places[0]].version == answer.version, "an acknowledged write is in another version")
        clashes = _clashes(write, steps[: places[0]], writes)
        expect(not clashes, f"a stale write was accepted over {clashes}")
        _judge_base(write, answer, steps, writes)
    elif answer is not None:
        expect(isinstance(answer, Conflict) or answer in REFUSALS, f"a write was refused: {answer}")
        expect(not places, f"a write was refused ({answer}) and is in the log")
    if isinstance(answer, Conflict):
        past = [step for step in steps if step.version <= answer.head_version]
        expect(bool(_clashes(write, past, writes)), "a write was refused as stale, and nothing of it had changed")
        named = {(clash.row.table, clash.row.key[0]) for clash in answer.clashes}
        expect(write.request.scope_database or named <= write.meaning.watched, f"rows were named for nothing: {named}")
    if answer == "requirement_unmet":
        # At some moment between the question and the answer the row was not there.
        missing = [state for state in states if write.meaning.drop and write.meaning.drop not in state.marks]
        expect(bool(missing), "a write was refused for a row that was there")
        dropped = [s for s in steps if writes[s.key].meaning.drop == write.meaning.drop]
        expect(bool(dropped) or write.meaning.drop == "nothing", "a row was said to be missing that nobody dropped")


def _clashes(write: Write, past: Sequence[Step], writes: Mapping[bytes, Write]) -> set[tuple[str, object]]:
    request = write.request
    base = request.base_version
    if base is None:
        return set()
    clashes: set[tuple[str, object]] = set()
    for step in past:
        if step.version > base and not step.quiet and (not request.author or step.author != request.author):
            if request.scope_database:
                return {("any", step.version)}
            clashes |= writes[step.key].meaning.rows & write.meaning.watched
    return clashes


def _judge_base(write: Write, answer: CommitResult, steps: Sequence[Step], writes: Mapping[bytes, Write]) -> None:
    base = write.request.base_version
    if base is None:
        return
    own = next(number for number, step in enumerate(steps) if step.key == write.request.idempotency_key)
    others = [s for s in steps[:own] if s.version > base and not s.quiet and s.author != write.request.author]
    expect(answer.base_version == (base if others else answer.version), "a wrong base was answered")


def _judge_read(read: Read, states: Sequence[State], acknowledged: int) -> None:
    version = read.result.version
    expect(version < len(states), f"a read saw version {version}, which is not in the log")
    bound = acknowledged if read.bound is None else read.bound
    expect(version >= bound, f"a read saw version {version} after {bound} was known")
    state = states[version]
    marks, counters = read.result.results
    expect(frozenset(str(row[0]) for row in marks.rows) == state.marks, f"a read of version {version} saw other marks")
    expect(dict(counters.rows) == state.counters, f"a read of version {version} saw other counters")  # type: ignore[arg-type]
    expect(read.result.schema_version == state.schema_version, "a read saw another schema version")


def _judge_order(writes: Sequence[Write]) -> None:
    done = sorted(
        (write for write in writes if isinstance(write.answer, CommitResult) and not write.answer.replayed),
        key=lambda write: write.ended,
    )
    newest, position = 0, 0
    for write in sorted(done, key=lambda one: one.began):
        while position < len(done) and done[position].ended < write.began:
            answer = done[position].answer
            newest = max(newest, answer.version if isinstance(answer, CommitResult) else 0)
            position += 1
        if isinstance(write.answer, CommitResult):
            expect(write.answer.version > newest, "a write got a version below one that was acknowledged before it")
