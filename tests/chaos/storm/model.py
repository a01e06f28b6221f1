"""What a database must be after each commit of its log, and when a commit is stale: the rules once more, in the judge's
own words and with none of the service's code."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tests.chaos.storm.deeds import Content, Deed, Kind, Row

COUNTER: Row = ("counters", (1,))


@dataclass(frozen=True)
class Touch:
    """What one commit of the log changed, and whom that makes stale."""

    version: int
    author: str
    quiet: bool  # nobody
    everything: bool  # everybody, whatever they do
    rows: frozenset[Row]
    before: dict[Row, object]
    after: dict[Row, object]


@dataclass
class Model:
    """A database after so many commits. A row that is not there is not in `rows`."""

    version: int = 0
    schema: int = 0
    rows: dict[Row, object] = field(default_factory=dict)
    past: list[Touch] = field(default_factory=list)
    by_commit: dict[str, Touch] = field(default_factory=dict)

    def content(self) -> Content:
        """As a read shows it."""
        notes = {str(key[0]): str(value) for (table, key), value in self.rows.items() if table == "notes"}
        done = sum(1 for table, _ in self.rows if table == "done")
        counter = self.rows.get(COUNTER, 0)
        assert isinstance(counter, int)
        return Content(notes, done, counter)

    def apply(self, version: int, commit_id: str, deed: Deed) -> Touch:
        """The next commit of the log takes place."""
        after = self._changes(deed)
        changed = {row: value for row, value in after.items() if self.rows.get(row) != value}
        before = {row: self.rows.get(row) for row in changed}
        touch = Touch(
            version=version,
            author=deed.author,
            quiet=deed.kind in (Kind.SYSTEM, Kind.MIGRATION),
            everything=deed.kind is Kind.RESTORE,
            rows=frozenset() if deed.kind in (Kind.MIGRATION, Kind.RESTORE) else frozenset(changed),
            before=before,
            after=changed,
        )
        for row, value in changed.items():
            if value is None:
                self.rows.pop(row, None)
            else:
                self.rows[row] = value
        self.version = version
        self.past.append(touch)
        self.by_commit[commit_id] = touch
        return touch

    def at(self, version: int) -> dict[Row, object]:
        """The rows as they were after that version."""
        rows = dict(self.rows)
        for touch in reversed(self.past):
            if touch.version <= version:
                break
            rows.update(touch.before)
        return {row: value for row, value in rows.items() if value is not None}

    def clashes(self, deed: Deed, rows: Collection[Row], own: Touch | None = None) -> list[Touch]:
        """The commits after the deed's base, its `own` excepted, for which it is stale when it changes these rows."""
        if deed.base is None:
            return []
        wanted = {*rows, *(("notes", (note,)) for note in deed.depends_on)}
        return [
            touch
            for touch in self.others(deed.base, deed.author)
            if touch is not own
            and (deed.strict or deed.kind is Kind.RESTORE or touch.everything or not wanted.isdisjoint(touch.rows))
        ]

    def others(self, base: int, author: str) -> Iterator[Touch]:
        """What was done after the base that an author who has read up to there does not know, the newest first."""
        for touch in reversed(self.past):
            if touch.version <= base:
                return
            if not touch.quiet and (touch.everything or not author or touch.author != author):
                yield touch

    def undoable(self, commit_id: str) -> bool:
        """Whether the rows of a commit hold what it left."""
        touch = self.by_commit.get(commit_id)
        return touch is not None and all(self.rows.get(row) == value for row, value in touch.after.items())

    def _changes(self, deed: Deed) -> dict[Row, object]:
        if deed.kind is Kind.UNDO:
            touch = self.by_commit.get(deed.target_commit)
            return dict(touch.before) if touch else {}
        if deed.kind is Kind.RESTORE:
            old = self.at(deed.target_version)
            return {**dict.fromkeys(self.rows), **old}
        after: dict[Row, object] = {("notes", (note,)): value for note, value in deed.notes.items()}
        if deed.marks:
            after[("done", (deed.key,))] = deed.author
        if deed.kind is Kind.MIGRATION:
            self.schema = deed.schema + 1
            if deed.schema == 0:
                after[COUNTER] = 0
        if deed.bumps:
            counted = self.rows.get(COUNTER, 0)
            assert isinstance(counted, int)
            after[COUNTER] = counted + 1
        return after
