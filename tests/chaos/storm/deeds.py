"""What authors ask of a database and what they are told: the storm's record, which the judge holds the log to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Row = tuple[str, tuple[object, ...]]  # a table, and its key

SCHEMA = (
    "CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE done (key TEXT NOT NULL PRIMARY KEY, author TEXT NOT NULL)",
    "CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)",
    "INSERT INTO counters VALUES (1, 0)",
)
SCHEMA_MAX = 6
READ = (
    "SELECT id, value FROM notes",
    "SELECT count(*) FROM done",
    "SELECT n FROM counters",
)


class Kind(Enum):
    """What sort of commit."""

    WRITE = "write"
    SYSTEM = "system write"  # has no base, conflicts with nothing, makes nobody stale
    MIGRATION = "migration"
    UNDO = "undo"
    RESTORE = "restore"


@dataclass(frozen=True)
class Done:
    """A commit was acknowledged. `counter` is what it counted to, when it did."""

    version: int
    base_version: int
    replayed: bool
    counter: int | None = None


@dataclass(frozen=True)
class Refused:
    """A commit was refused: it must never be in the log. For a conflict, the head and the rows that it named, each with
    the version and the author that changed it."""

    reason: str
    head_version: int = 0
    rows: tuple[tuple[Row, int, str], ...] = ()
    why: str = ""  # of what cannot be undone


@dataclass
class Deed:
    """One commit that somebody wants, under one key; times are of the storm's own monotonic clock.

    `notes` are the values that it leaves, None for a note that it deletes; with `marks` it leaves its key in a table of
    them, which could not take it twice. `answer` stays None while nobody knows what
    became of it, which may be for ever. An undo's `target` is a version and a commit's id, a restore's a version.
    """

    key: str
    author: str
    kind: Kind
    base: int | None
    schema: int
    began_s: float
    notes: Mapping[str, str | None] = field(default_factory=dict)
    marks: bool = False
    bumps: bool = False
    depends_on: tuple[str, ...] = ()
    strict: bool = False
    target_version: int = 0
    target_commit: str = ""
    attempts: int = 0
    ended_s: float = float("inf")
    answer: Done | Refused | None = None

    def statements(self) -> list[tuple[str, tuple[str, ...]]]:
        """The SQL of a commit, with its parameters."""
        found: list[tuple[str, tuple[str, ...]]] = []
        if self.kind is Kind.MIGRATION:
            texts = SCHEMA if self.schema == 0 else migration(self.schema + 1)
            found += [(text, ()) for text in texts]
        for note, value in self.notes.items():
            if value is None:
                found.append(("DELETE FROM notes WHERE id = ?", (note,)))
            else:
                upsert = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value"
                found.append((upsert, (note, value)))
        if self.marks:
            found.append(("INSERT INTO done VALUES (?, ?)", (self.key, self.author)))
        if self.bumps:
            found.append(("UPDATE counters SET n = n + 1 WHERE id = 1 RETURNING n", ()))
        return found


@dataclass(frozen=True)
class Reading:
    """What a read answered; `min_version` None: it was linearizable."""

    began_s: float
    ended_s: float
    version: int
    min_version: int | None
    content: Content


@dataclass(frozen=True)
class Content:
    """A database as READ shows it."""

    notes: Mapping[str, str]
    done: int
    counter: int


@dataclass(frozen=True)
class PastCommit:
    """A commit as the history shows it."""

    commit_id: str
    author: str
    kind: Kind
    rows: frozenset[Row]
    undoes: str
    restores: int


@dataclass(frozen=True)
class Past:
    """A page of the history, which began at the newest version."""

    began_s: float
    ended_s: float
    head_version: int
    versions: tuple[tuple[int, tuple[PastCommit, ...]], ...]


@dataclass
class Book:
    """All that concerns one database."""

    database: str
    deeds: dict[str, Deed] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    pasts: list[Past] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # answers that no rule allows
    deleted_by: int = 0  # the version that ended it, when somebody was told so

    def add(self, deed: Deed) -> Deed:
        """Notes down what is about to be asked."""
        self.deeds[deed.key] = deed
        return deed


def migration(schema: int) -> tuple[str, ...]:
    """What brings a database to that schema version, from the one before."""
    return (f"CREATE TABLE extra_{schema} (id INTEGER PRIMARY KEY)",)
