"""One entry of the log as bytes: what a version changed, who asked for it, and what proves that it is whole.

1. What is decoded is what was encoded: any other bytes are refused, never read in part
   (test_log_format.py::test_any_damage_is_refused, ::test_every_truncation_is_refused).
2. An entry names its database and its version: a copy in another place is refused
   (test_log_format.py::test_a_foreign_entry_is_refused).
3. Decoding is bounded by the bytes given and by MAX_RAW_BYTES, whatever they announce
   (test_log_format.py::test_a_bomb_is_refused).

Layout: MAGIC; the fields below, compressed, with their length; the chunks of packed pages, each with its length;
SHA-256 over all. The magic's last byte counts formats; a reader refuses one that it does not know. A sub-commit's flags
say which of its fields follow; a reader refuses flags that it does not know, so that new ones need no new format.

A tombstone stands where an entry of a deleted database was: TOMBSTONE_MAGIC; database, version, and the version that
ended the database; SHA-256 over all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

import zstandard

from dbsync import wire
from dbsync.pages import Body, Packed
from dbsync.requests import RowKey

MAGIC = b"reel-db\x01"
TOMBSTONE_MAGIC = b"reel-db\x00"
HASH_BYTES = 32
COMMIT_ID_BYTES = 16
KEY_BYTES = 16
TOMBSTONE_MAX_BYTES = 1024
MAX_RAW_BYTES = 1 << 30  # of the fields: changesets are as large as what they change
_SYSTEM, _MIGRATION, _UNDO, _RESTORE, _TERMINAL, _VIRTUAL = 1, 2, 4, 8, 16, 32
_FLAGS = _SYSTEM | _MIGRATION | _UNDO | _RESTORE | _TERMINAL | _VIRTUAL
_LEVEL = 3


class BadEntry(Exception):
    """An object in the log that is not an entry of this place."""


@dataclass(frozen=True, slots=True)
class SubCommit:
    """One caller's commit inside an entry. Requests that wait for the same write share an entry.

    `system`: made for no page, it makes nobody stale. `migration`: its rows are not recorded. `undoes`: the commit that
    an undo put back. `restores`: the version whose content a restore brought back; its rows are not recorded either.
    `terminal`: the database ends here; the entry has no pages. `virtual`: the virtual tables that it wrote to, whose
    content no changeset holds.
    """

    commit_id: bytes
    author: str
    idempotency_key: bytes
    system: bool
    migration: bool
    rows: tuple[RowKey, ...]
    changeset: bytes
    undoes: bytes = b""
    restores: int = 0
    terminal: bool = False
    virtual: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one database. Checksums are of the whole database before and after; times are Unix ms."""

    database: str
    version: int
    commit_id: bytes
    before: int
    after: int
    schema_version: int
    committed_ms: int
    subs: tuple[SubCommit, ...]
    pages: Packed

    @property
    def terminal(self) -> bool:
        """Whether the database was deleted by this version."""
        return any(sub.terminal for sub in self.subs)


def encode(entry: Entry) -> bytes:
    """The entry's bytes; ValueError for one that breaks the format's own bounds."""
    return b"".join(parts(entry))


def parts(entry: Entry) -> Iterator[bytes]:
    """The entry's bytes, piece by piece: a large entry need not be in memory."""
    proof = hashlib.sha256()
    for part in _parts(entry):
        proof.update(part)
        yield part
    yield proof.digest()


def _parts(entry: Entry) -> Iterator[bytes]:
    out = wire.Writer()
    out.text(entry.database)
    out.uint(entry.version)
    out.raw(_sized(entry.commit_id, COMMIT_ID_BYTES))
    out.fixed64(entry.before)
    out.fixed64(entry.after)
    out.uint(entry.schema_version)
    out.uint(entry.committed_ms)
    out.uint(len(entry.subs))
    for sub in entry.subs:
        _write_sub(out, sub)
    out.uint(entry.pages.page_count)
    out.uint(len(entry.pages.numbers))
    last = 0
    for number in entry.pages.numbers:
        out.uint(number - last)
        last = number
    out.uint(len(entry.pages.chunks))
    raw = out.finish()
    if len(raw) > MAX_RAW_BYTES:
        raise ValueError(f"an entry of {len(raw)} bytes")
    yield MAGIC
    yield _blob(zstandard.ZstdCompressor(level=_LEVEL).compress(raw))
    for chunk in entry.pages.chunks:
        yield _blob(chunk)


def _blob(data: bytes | memoryview) -> bytes:
    out = wire.Writer()
    out.blob(data)
    return out.finish()


def decode(data: Body, *, database: str, version: int) -> Entry:
    """The entry of that database and version; BadEntry says what is wrong with anything else."""
    # Of what is mapped into memory nothing is copied: the chunks stay where they are.
    whole = memoryview(data) if isinstance(data, mmap) else data
    body, proof = whole[:-HASH_BYTES], whole[-HASH_BYTES:]
    if body[: len(MAGIC)] != MAGIC:
        raise BadEntry("it does not begin as a log entry of a known format")
    if hashlib.sha256(body).digest() != proof:
        raise BadEntry("its hash does not match its bytes")
    try:
        outer = wire.Reader(body[len(MAGIC) :])
        entry = _read(wire.Reader(_decompress(outer.blob())), outer)
        outer.end()
    except wire.Malformed as error:
        raise BadEntry(f"it is malformed: {error}") from error
    if entry.database != database or entry.version != version:
        raise BadEntry(f"it is version {entry.version} of {entry.database!r}, copied from elsewhere")
    return entry


def tombstone(database: str, version: int, terminal: int) -> bytes:
    """What stands in the place of that version of a database that `terminal` ended."""
    out = wire.Writer()
    out.raw(TOMBSTONE_MAGIC)
    out.text(database)
    out.uint(version)
    out.uint(terminal)
    body = out.finish()
    return body + hashlib.sha256(body).digest()


def read_tombstone(data: Body, *, database: str, version: int) -> int | None:
    """The version that ended the database; None for bytes that are no tombstone of that place."""
    if len(data) > TOMBSTONE_MAX_BYTES or data[: len(TOMBSTONE_MAGIC)] != TOMBSTONE_MAGIC:
        return None
    body, proof = data[:-HASH_BYTES], data[-HASH_BYTES:]
    if hashlib.sha256(body).digest() != proof:
        return None
    read = wire.Reader(body[len(TOMBSTONE_MAGIC) :])
    try:
        named, place, terminal = read.text(), read.uint(), read.uint()
        read.end()
    except wire.Malformed:
        return None
    return terminal if (named, place) == (database, version) else None


def _decompress(data: bytes | memoryview) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= MAX_RAW_BYTES:
            raise wire.Malformed(f"{size} bytes announced")
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise wire.Malformed(f"zstd: {error}") from error
    return raw


def _read(read: wire.Reader, outer: wire.Reader) -> Entry:
    database = read.text()
    version = read.uint()
    commit_id = read.raw(COMMIT_ID_BYTES)
    before, after = read.fixed64(), read.fixed64()
    schema_version, committed_ms = read.uint(), read.uint()
    subs = tuple(_read_sub(read) for _ in range(read.count()))
    page_count = read.uint()
    numbers: list[int] = []
    last = 0
    for _ in range(read.count()):
        step = read.uint()
        if step == 0:
            raise wire.Malformed("page numbers that do not ascend")
        last += step
        numbers.append(last)
    chunk_count = read.uint()
    read.end()
    if chunk_count > len(numbers):
        raise wire.Malformed(f"{chunk_count} chunks for {len(numbers)} pages")
    chunks = tuple(outer.piece() for _ in range(chunk_count))
    pages = Packed(page_count, tuple(numbers), chunks)
    return Entry(database, version, commit_id, before, after, schema_version, committed_ms, subs, pages)


def _write_sub(out: wire.Writer, sub: SubCommit) -> None:
    out.raw(_sized(sub.commit_id, COMMIT_ID_BYTES))
    out.raw(_sized(sub.idempotency_key, KEY_BYTES))
    out.text(sub.author)
    out.uint(
        (_SYSTEM if sub.system else 0)
        | (_MIGRATION if sub.migration else 0)
        | (_UNDO if sub.undoes else 0)
        | (_RESTORE if sub.restores else 0)
        | (_TERMINAL if sub.terminal else 0)
        | (_VIRTUAL if sub.virtual else 0)
    )
    if sub.undoes:
        out.raw(_sized(sub.undoes, COMMIT_ID_BYTES))
    if sub.restores:
        out.uint(sub.restores)
    if sub.virtual:
        out.uint(len(sub.virtual))
        for name in sub.virtual:
            out.text(name)
    out.uint(len(sub.rows))
    for row in sub.rows:
        out.text(row.table)
        out.values(row.key)
    out.blob(sub.changeset)


def _read_sub(read: wire.Reader) -> SubCommit:
    commit_id = read.raw(COMMIT_ID_BYTES)
    key = read.raw(KEY_BYTES)
    author = read.text()
    flags = read.uint()
    if flags & ~_FLAGS:
        raise wire.Malformed(f"unknown flags {flags:#x}")
    undoes = read.raw(COMMIT_ID_BYTES) if flags & _UNDO else b""
    restores = read.uint() if flags & _RESTORE else 0
    virtual = tuple(read.text() for _ in range(read.count())) if flags & _VIRTUAL else ()
    rows = tuple(RowKey(read.text(), read.values()) for _ in range(read.count()))
    return SubCommit(
        commit_id=commit_id,
        author=author,
        idempotency_key=key,
        system=bool(flags & _SYSTEM),
        migration=bool(flags & _MIGRATION),
        rows=rows,
        changeset=read.blob(),
        undoes=undoes,
        restores=restores,
        terminal=bool(flags & _TERMINAL),
        virtual=virtual,
    )


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes where {size} belong")
    return data
