"""The judge of the storm: reads the log of a database from the bucket itself and holds it to the book.

It trusts no service: pages, checksums, rows, conflicts, reads and their order are worked out again from the log's
bytes and from what authors noted down; only the format's decoder is the service's own. What it finds wrong, it says.
"""

from __future__ import annotations

import bisect
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence

import xxhash

from dbsync import pages
from dbsync.log_format import Entry, SubCommit, decode, read_tombstone
from tests.chaos.storm.deeds import Book, Content, Deed, Done, Kind, PastCommit, Refused, Row
from tests.chaos.storm.model import COUNTER, Model, Touch

SLOTS = 1 << 40
CONFLICT = "conflict"
LOOK_EVERY = 50  # versions at which the whole content is compared, beside those that somebody read


def slot_key(database: str, version: int) -> str:
    """Where a version's entry is."""
    return f"{database}/db/{SLOTS - 1 - version:010x}"


class Judge:
    """Judges one database; may be asked again when its log has grown."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.model = Model()
        self.faults: list[str] = []
        self._image: list[bytes] = []
        self._sums: list[int] = []
        self._checksum = 0
        self._seen: dict[str, int] = {}
        self._counted: dict[str, object] = {}
        self._shown_commits: dict[int, tuple[PastCommit, ...]] = {}
        self._pasts_checked = 0
        self.shared = 0  # versions that hold several commits
        self._unfit: set[str] = set()  # undos that did not fit the head that they were refused at
        self._kinds: dict[str, Kind] = {}  # by commit
        self._expected_base: dict[str, int] = {}
        self._contents = {0: self.model.content()}  # by version
        self._readings_checked = 0
        self._read: set[int] = set()  # versions
        self._refused: dict[int, list[Deed]] = {}  # as stale, by the head that they were refused at

    @property
    def version(self) -> int:
        """Up to where the log was judged."""
        return self.model.version

    def judge(self, log: Iterable[bytes]) -> list[str]:
        """What is wrong, given the slots after `version`, oldest first; all of what was asked must have been answered
        or given up by now.
        """
        self.faults = [*self.book.faults]
        self._refused = defaultdict(list)
        self._read = {reading.version for reading in self.book.readings}
        for deed in self.book.deeds.values():
            if isinstance(deed.answer, Refused) and deed.answer.reason == CONFLICT:
                self._refused[deed.answer.head_version].append(deed)
        self._check_refusals()
        for body in log:
            version = self.model.version + 1
            try:
                self._take(decode(body, database=self.book.database, version=version))
            except Exception as error:
                self.faults.append(f"version {version} cannot be followed: {type(error).__name__}: {error}")
                break
        self._check_file(self.version)
        self._check_readings()
        self._check_answers()
        self._check_pasts()
        self._check_order()
        return [f"{self.book.database}: {fault}" for fault in self.faults]

    def _take(self, entry: Entry) -> None:
        self._turn_pages(entry)
        self.shared += len(entry.subs) > 1
        taken: list[tuple[Deed, Touch]] = []
        undos = [deed for deed in self._refused.get(entry.version, ()) if deed.kind is Kind.UNDO]
        for sub in entry.subs:
            deed = self.book.deeds.get(_uuid(sub.idempotency_key))
            if deed is None:
                self._wrong(entry, f"holds a commit that nobody asked for, of {sub.author!r}")
                self.model.version = entry.version
                continue
            taken.append((deed, self._take_commit(entry, sub, deed)))
            self._unfit |= {deed.key for deed in undos if not self.model.undoable(deed.target_commit)}
        self._shown_commits[entry.version] = tuple(
            PastCommit(
                sub.commit_id.hex(),
                deed.author,
                deed.kind,
                touch.rows,
                deed.target_commit if deed.kind is Kind.UNDO else "",
                deed.target_version if deed.kind is Kind.RESTORE else 0,
            )
            for sub, (deed, touch) in zip(entry.subs, taken, strict=False)
        )
        for deed, touch in taken:  # all that shares the version is in the past of each
            self._expected_base[deed.key] = self._next_base(deed, touch)
        if entry.schema_version != self.model.schema:
            self._wrong(entry, f"has schema {entry.schema_version}, not {self.model.schema}")
        self._check_refusals()
        self._contents[entry.version] = self.model.content()
        if entry.version % LOOK_EVERY == 0 or entry.version in self._read:
            self._check_file(entry.version)

    def _turn_pages(self, entry: Entry) -> None:
        if entry.before != self._checksum:
            self._wrong(entry, "does not begin where the one before it ends")
        delta = pages.unpack(entry.pages, lambda number: self._image[number - 1] if number <= len(self._image) else b"")
        for number in range(delta.page_count, len(self._sums)):
            self._checksum ^= self._sums[number]
        del self._image[delta.page_count :], self._sums[delta.page_count :]
        for number, page in sorted(delta.pages.items()):
            value = xxhash.xxh3_64_intdigest(bytes(page), seed=number)
            if number > len(self._image):
                self._image.append(b"")
                self._sums.append(0)
            self._checksum ^= self._sums[number - 1] ^ value
            self._image[number - 1], self._sums[number - 1] = bytes(page), value
        if entry.after != self._checksum or len(self._image) != delta.page_count:
            self._wrong(entry, "does not end in the checksum that it names")

    def _take_commit(self, entry: Entry, sub: SubCommit, deed: Deed) -> Touch:
        if deed.key in self._seen:
            self._wrong(entry, f"holds {_name(deed)} again, which version {self._seen[deed.key]} has")
        self._seen[deed.key] = entry.version
        if isinstance(deed.answer, Refused):
            self._wrong(entry, f"holds {_name(deed)}, which was refused as {deed.answer.reason}")
        kinds = (sub.migration, bool(sub.undoes), bool(sub.restores))
        if kinds != (deed.kind is Kind.MIGRATION, deed.kind is Kind.UNDO, deed.kind is Kind.RESTORE):
            self._wrong(entry, f"says that {_name(deed)} is another kind of commit")
        if sub.author != deed.author or sub.system != (deed.kind is Kind.SYSTEM):
            self._wrong(entry, f"says that {_name(deed)} is of {sub.author!r}, system {sub.system}")
        if deed.kind is Kind.UNDO and not self.model.undoable(deed.target_commit):
            self._wrong(entry, f"holds {_name(deed)}, whose rows no longer held what was to be undone")
        self._kinds[sub.commit_id.hex()] = deed.kind
        touch = self.model.apply(entry.version, sub.commit_id.hex(), deed)
        if stale := self.model.clashes(deed, touch.rows, own=touch):
            self._wrong(entry, f"holds {_name(deed)}, which was stale: {_who(stale)}")
        rows = [(row.table, tuple(row.key)) for row in sub.rows]
        if len(rows) != len(touch.rows) or set(rows) != touch.rows:
            self._wrong(
                entry, f"names other rows than {_name(deed)} changed: {rows}, not {sorted(map(str, touch.rows))}"
            )
        if deed.bumps:
            self._counted[deed.key] = self.model.rows[COUNTER]
        return touch

    def _next_base(self, deed: Deed, own: Touch) -> int:
        if deed.base is None:
            return 0
        between = (touch for touch in self.model.others(deed.base, deed.author) if touch is not own)
        return deed.base if any(between) else own.version

    def _check_refusals(self) -> None:
        """Those that named this version as their head, of which all is in the past by now."""
        for deed in self._refused.pop(self.version, ()):
            self._check_refusal(deed)

    def _check_refusal(self, deed: Deed) -> None:
        """A conflict must be one by the rules, and what it names must be so."""
        refused = deed.answer
        assert isinstance(refused, Refused) and deed.base is not None
        head = refused.head_version
        others = list(self.model.others(deed.base, deed.author))
        if deed.key in self._unfit or (deed.kind is Kind.UNDO and not self.model.undoable(deed.target_commit)):
            return
        if deed.strict or deed.kind is Kind.RESTORE or any(touch.everything for touch in others):
            if not others:
                self.faults.append(f"{_name(deed)} was refused as stale at {head}, and nobody had changed anything")
            return
        if not refused.rows:
            self.faults.append(f"{_name(deed)} was refused as stale at {head} over no row")
        wanted = {*self._rows_wanted(deed), *(("notes", (note,)) for note in deed.depends_on)}
        for row, version, author in refused.rows:
            if row not in wanted or not any(
                touch.version == version and touch.author == author and row in touch.rows for touch in others
            ):
                self.faults.append(
                    f"{_name(deed)} was refused as stale at {head} over {row}, which {author!r} did not change in "
                    f"{version}, or which was not its own to change"
                )

    def _rows_wanted(self, deed: Deed) -> set[Row]:
        if deed.kind is Kind.UNDO:
            touch = self.model.by_commit.get(deed.target_commit)
            return set(touch.rows) if touch else set()
        return {("notes", (note,)) for note in deed.notes}

    def _check_readings(self) -> None:
        for reading in self.book.readings[self._readings_checked :]:
            content = self._contents.get(reading.version)
            if content is None:
                self.faults.append(f"version {reading.version} was read, and the log ends at {self.version}")
            elif reading.content != content:
                self.faults.append(
                    f"version {reading.version} was read as {_shown(reading.content)}, and is {_shown(content)}"
                )
        self._readings_checked = len(self.book.readings)

    def _check_file(self, version: int) -> None:
        """Compares the database's file with what the commits of the log make of it."""
        try:
            found = rows_of(b"".join(self._image))
        except (sqlite3.Error, ValueError) as error:
            self.faults.append(f"version {version}: the file cannot be read: {error}")
            return
        if found != self.model.rows:
            wrong = {row for row in {*found, *self.model.rows} if found.get(row) != self.model.rows.get(row)}
            self.faults.append(f"version {version}: the file differs from its commits in {sorted(map(str, wrong))[:5]}")

    def _check_answers(self) -> None:
        for version, deeds in self._refused.items():
            for deed in deeds if version > self.model.version else ():
                self.faults.append(f"{_name(deed)} was refused at head {version}; the log ends at {self.model.version}")
        for deed in self.book.deeds.values():
            answer = deed.answer
            if isinstance(answer, Refused) and answer.reason == "not_undoable":
                kind = self._kinds.get(deed.target_commit)
                if answer.why != {Kind.MIGRATION: "migration", Kind.RESTORE: "restore", Kind.SYSTEM: "system"}.get(
                    kind or Kind.WRITE, "schema"
                ):
                    self.faults.append(f"{_name(deed)} was refused because of {answer.why}; it was a {kind}")
            if not isinstance(answer, Done):
                continue
            if self._seen.get(deed.key) != answer.version:
                there = self._seen.get(deed.key, "nowhere")
                self.faults.append(f"{_name(deed)} was acknowledged as version {answer.version}, and is in {there}")
                continue
            if answer.counter != self._counted.get(deed.key):
                self.faults.append(f"{_name(deed)} counted {answer.counter}, and it is {self._counted.get(deed.key)}")
            if deed.kind is not Kind.RESTORE and answer.base_version != self._expected_base[deed.key]:
                expected = self._expected_base[deed.key]
                self.faults.append(f"{_name(deed)} was given the base {answer.base_version}, and it is {expected}")

    def _check_pasts(self) -> None:
        """The history must show what is in the log, and nothing must be missing."""
        for past in self.book.pasts[self._pasts_checked :]:
            newest = past.head_version
            if [version for version, _ in past.versions] != list(range(newest, newest - len(past.versions), -1)):
                self.faults.append(f"the history showed {[version for version, _ in past.versions]} up to {newest}")
            for version, commits in past.versions:
                if version <= self.version and self._shown_commits.get(version) != commits:
                    self.faults.append(
                        f"the history showed {commits} in {version}, and it is {self._shown_commits.get(version)}"
                    )
        self._pasts_checked = len(self.book.pasts)

    def _check_order(self) -> None:
        """What began after something was known must be after it."""
        known = [
            (deed.ended_s, deed.answer.version) for deed in self.book.deeds.values() if isinstance(deed.answer, Done)
        ]
        known += [(reading.ended_s, reading.version) for reading in self.book.readings]
        known += [(past.ended_s, past.head_version) for past in self.book.pasts]
        times, floors = [], [0]
        for ended_s, version in sorted(known):
            times.append(ended_s)
            floors.append(max(floors[-1], version))

        def floor_at(began_s: float) -> int:
            return floors[bisect.bisect_left(times, began_s)]

        for deed in self.book.deeds.values():
            place = self._seen.get(deed.key, SLOTS)
            if place <= floor_at(deed.began_s):
                self.faults.append(f"{_name(deed)} is in {place}, and {floor_at(deed.began_s)} was known before it")
        for reading in self.book.readings:
            least = floor_at(reading.began_s) if reading.min_version is None else reading.min_version
            if reading.version < least:
                self.faults.append(f"a read answered version {reading.version}, and {least} was due")
        for past in self.book.pasts:
            if past.head_version < floor_at(past.began_s):
                self.faults.append(f"the history ended at {past.head_version} after {floor_at(past.began_s)} was known")

    def _wrong(self, entry: Entry, words: str) -> None:
        self.faults.append(f"version {entry.version} {words}")


def downloaded(image: bytes) -> tuple[int, Content]:
    """The version and the content of a file; ValueError when SQLite cannot make sense of it."""
    try:
        rows = rows_of(image)
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(image)
            (version,) = database.execute("SELECT version FROM _dbsync_state").fetchone()
    except sqlite3.Error as error:
        raise ValueError(f"SQLite cannot read it: {error}") from error
    return version, Model(rows=rows).content()


def ended(bodies: Sequence[bytes], book: Book) -> list[str]:
    """What is wrong with the log of a deleted database: its last entry ends it, and all before it is wiped."""
    faults = list(book.faults)
    if len(bodies) != book.deleted_by:
        faults.append(f"the log ends at {len(bodies)}, and {book.deleted_by} was said to be the end")
    for version, body in enumerate(bodies, 1):
        if version == len(bodies):
            if not decode(body, database=book.database, version=version).terminal:
                faults.append(f"the last version, {version}, does not end it")
        elif read_tombstone(body, database=book.database, version=version) != len(bodies):
            faults.append(f"version {version} is not wiped")
    return [f"{book.database}: {fault}" for fault in faults]


def rows_of(image: bytes) -> dict[Row, object]:
    """The rows of a database's file, by what the storm's tables hold; and that SQLite finds it sound."""
    if not image:
        return {}
    database = sqlite3.connect(":memory:")
    try:
        # In the log a database is in WAL mode, which one in memory cannot be.
        database.deserialize(image[:18] + b"\x01\x01" + image[20:])
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            raise ValueError(f"SQLite finds the file unsound: {sound}")
        rows: dict[Row, object] = {}
        for table, text in (
            ("notes", "SELECT id, value FROM notes"),
            ("done", "SELECT key, author FROM done"),
            ("counters", "SELECT id, n FROM counters"),
        ):
            rows.update(((table, (key,)), value) for key, value in database.execute(text))
        return rows
    finally:
        database.close()


def _uuid(key: bytes) -> str:
    text = key.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _name(deed: Deed) -> str:
    return f"the {deed.kind.value} {deed.key} of {deed.author!r} from base {deed.base}"


def _who(touches: Iterable[Touch]) -> str:
    return ", ".join(f"{touch.author!r} in {touch.version}" for touch in list(touches)[:3])


def _shown(content: Content) -> str:
    return f"{content.done} commits, counter {content.counter}, notes {dict(sorted(content.notes.items()))}"[:300]
