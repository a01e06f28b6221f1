"""What the clients of a simulation saw, and what their operations mean on plain dictionaries.

Nothing here knows SQLite or the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dbsync.conflicts import Conflict
from dbsync.requests import CommitResult, Head, HistoryPage, HistoryRequest

COUNTERS = 3
NOTES = 2
Row = tuple[str, object]  # table and key
Effect = tuple[Row, object, object]  # a row, its value before and its value after; None for no row


class Violation(AssertionError):
    """A promise was broken."""


def expect(holds: bool, otherwise: str) -> None:
    """Raises Violation unless it holds."""
    if not holds:
        raise Violation(otherwise)


@dataclass(frozen=True)
class Meaning:
    """What an operation does. `fails`: its migration cannot work. `idle`: it changes nothing."""

    adds: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    bumps: tuple[int, ...] = ()
    puts: tuple[tuple[int, str], ...] = ()
    needs: int | None = None  # a counter that it depends on
    migrate: int | None = None
    fails: bool = False
    idle: bool = False
    undo: tuple[int, bytes] | None = None  # the version and the id of a commit
    restore: int | None = None  # a version
    keeps: tuple[str, ...] = ()  # tables whose present rows a restore leaves

    @property
    def rows(self) -> set[Row]:
        """The rows that it names and changes."""
        marks: set[Row] = {("marks", mark) for mark in (*self.adds, *self.drops)}
        counters: set[Row] = {("counters", number) for number in self.bumps}
        return marks | counters | {("notes", number) for number, _ in self.puts}

    @property
    def needed(self) -> set[Row]:
        """The rows that it depends on and does not change."""
        return set() if self.needs is None else {("counters", self.needs)}


@dataclass
class Write:
    """A commit as its client saw it. `answer` stays None when the client gave up without knowing."""

    key: bytes
    author: str
    base: int | None
    meaning: Meaning
    schema: int = 1  # what its SQL was written for
    strict: bool = False  # the whole database is its scope
    twisted: bool = False  # it uses the key of another one
    floor: int = 0  # the newest version that anybody knew of when it began
    ceiling: int = 0  # the newest version there was when it was answered
    answer: CommitResult | Conflict | str | None = None  # a str is the reason of a definite refusal
    unclear: bool = False  # an earlier try of it had no answer
    over: bool = False  # its client tries no more
    first: Write | None = None  # it repeats that one, under its key

    @property
    def system(self) -> bool:
        """Whether it is nobody's."""
        return not self.author and self.base is None


@dataclass(frozen=True)
class Seen:
    """The content of a database, as a query returned it."""

    version: int
    schema_version: int
    rows: Mapping[Row, object]
    tables: int  # that migrations added


@dataclass(frozen=True)
class Read:
    """A read as its client saw it; `bound` is the version that it was not to be older than."""

    bound: int
    ceiling: int
    seen: Seen | Head


@dataclass(frozen=True)
class Looked:
    """A page of the history as its client saw it, with what it had asked for."""

    floor: int
    ceiling: int
    asked: HistoryRequest
    page: HistoryPage


@dataclass
class Record:
    """Everything that the clients of one database saw."""

    database: str
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    looks: list[Looked] = field(default_factory=list)
    known: int = 0  # the newest version that anybody was told of
    digests: dict[int, dict[str, str]] = field(default_factory=dict)  # of whole copies: by version, then digest: whose
    damaged: bool = False  # somebody has planted something in its log
    deleted: int = 0  # the version that is said to have ended it

    def learn(self, version: int) -> None:
        """Somebody was told of a version."""
        self.known = max(self.known, version)

    def digest(self, version: int, digest: str, whose: str) -> None:
        """Somebody's copy of a version has these bytes."""
        self.digests.setdefault(version, {}).setdefault(digest, whose)


@dataclass(frozen=True)
class State:
    """A database, as the meanings have it."""

    rows: Mapping[Row, object] = field(default_factory=dict)
    schema_version: int = 0

    def clean(self, meaning: Meaning) -> bool:
        """Whether a plain commit finds the rows that it needs, and not those that it makes."""
        rows = dict(self.rows)
        for mark in meaning.drops:
            if rows.pop(("marks", mark), None) is None:
                return False
        return not any(("marks", mark) in rows for mark in meaning.adds)

    def effects(self, meaning: Meaning) -> list[Effect]:
        """What a plain commit does to the rows; Violation when it could not have."""
        found: list[Effect] = []
        expect(self.clean(meaning), f"{meaning} took place without its rows")
        found.extend((("marks", mark), True, None) for mark in meaning.drops)
        found.extend((("marks", mark), None, True) for mark in meaning.adds)
        for number in meaning.bumps:
            old = self.rows[("counters", number)]
            assert isinstance(old, int)
            found.append((("counters", number), old, old + 1))
        found.extend((("notes", number), self.rows[("notes", number)], text) for number, text in meaning.puts)
        return found

    def after(self, effects: Sequence[Effect]) -> State:
        """The rows after them."""
        rows = dict(self.rows)
        for row, _, value in effects:
            if value is None:
                rows.pop(row, None)
            else:
                rows[row] = value
        return State(rows, self.schema_version)

    def keeping(self, tables: Sequence[str], present: State) -> State:
        """This as restored content, with the rows of the tables that the present has."""
        kept = {row: value for row, value in present.rows.items() if row[0] in tables}
        return State({**self.rows, **kept}, self.schema_version)

    def migrated(self, target: int) -> State:
        """The database at a later schema version."""
        state = self
        while state.schema_version < target:
            state = State(_migrate(state.rows, state.schema_version + 1), state.schema_version + 1)
        return state


def _migrate(rows: Mapping[Row, object], target: int) -> Mapping[Row, object]:
    if target == 1:
        founded: dict[Row, object] = {("counters", number): 0 for number in range(COUNTERS)}
        return founded | {("notes", number): "" for number in range(NOTES)}
    if target % 3:
        return rows
    return {row: f"{value}+" if row[0] == "notes" else value for row, value in rows.items()}
