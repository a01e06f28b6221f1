"""The decoders under thousands of seeded damages: never a wrong decode, never another exception than the typed one."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zstandard

from dbsync import deletion, pages, restore, snapshots, wire
from dbsync.commit import Spent
from dbsync.log_format import HASH_BYTES, MAGIC, BadEntry, Entry, decode, encode, read_tombstone, tombstone
from dbsync.pages import BadDelta
from dbsync.replica import NotNext, Replica
from dbsync.requests import Target, decode_results
from dbsync.restore import RestoreRequest, Workshop
from dbsync.slots import Blob, DatabaseDeleted, slot_key
from tests.dbsync.world import DATABASE, SCHEMA, Machine, add_clip, key, migration, rename_clip, request, sql

BLOCKS, CASES = 8, 400


@dataclass(frozen=True)
class Sample:
    """Every kind of object, as the service itself made it: entries by version, and a snapshot."""

    entries: dict[int, bytes]
    snapshot: Blob


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        writer = machine.open()
        machine.ok(writer, migration(1, *SCHEMA, "CREATE VIRTUAL TABLE words USING fts5(name)"))
        machine.ok(writer, add_clip("a", author="me", base_version=1))
        clip = machine.ok(writer, rename_clip("a", "other", author="me", base_version=2))
        machine.commit(writer, *(add_clip(f"{number}") for number in range(5)))
        machine.ok(writer, request(sql("INSERT INTO words VALUES ('one')"), sql("DELETE FROM clips WHERE id = '3'")))
        machine.ok(
            writer, request(sql("INSERT INTO clips VALUES ('big', ?, 1)", random.Random(1).randbytes(20_000).hex()))
        )
        machine.ok(writer, request(author="me", base_version=6, undo=Target(clip.version, clip.commit_id)))
        workshop = Workshop(machine.clock, machine.limits, machine.vfs, machine.new_folder)
        asked = RestoreRequest(DATABASE, 2, 1, key(), author="me")
        restore.whole(writer, workshop, asked, machine.clock.now_s() + 5, Spent())
        snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
        snapshot = machine.store.objects[snapshots.snapshot_key(DATABASE)]
        deletion.end(machine.slots(), machine.clock, b"e" * 16, machine.clock.now_s() + 5)
        versions = range(1, machine.store.heads[DATABASE] + 1)
        entries = {version: bytes(machine.store.objects[slot_key(DATABASE, version)].body) for version in versions}
        machine.close()
    assert len(entries) == 9
    yield Sample(entries, snapshot)


def damaged(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The bytes with one to four damages, of every kind."""
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(DAMAGES)(data, rng, others)
    return data


def _flip(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    if not data:
        return b"\0"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ rng.randrange(1, 256)]) + data[place + 1 :]


def _cut(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    here, there = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice((data[:here], data[here:], data[:here] + data[there:]))


def _splice(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    other = rng.choice([data, *others])
    here, there = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    return rng.choice((data[:here] + other[there:], data[:here] + other[there:] + data[here:]))


def _stuff(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    here = rng.randrange(len(data) + 1)
    stuff = rng.choice((rng.randbytes(rng.randint(1, 9)), b"\xff" * 9, b"\x80" * 10, b"\0" * 300))
    return data[:here] + stuff + data[here + rng.choice((0, len(stuff))) :]


DAMAGES: tuple[Callable[[bytes, random.Random, list[bytes]], bytes], ...] = (_flip, _flip, _cut, _splice, _stuff)


def read_or_refused(data: bytes, version: int) -> Entry | None:
    """The entry; None when it is refused as it should be. Any other exception fails the test."""
    try:
        return decode(data, database=DATABASE, version=version)
    except BadEntry:
        return None


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_damaged_entry_is_refused(sample: Sample, block: int) -> None:
    rng, bodies = random.Random(f"entries {block}"), list(sample.entries.values())
    for _ in range(CASES):
        version = rng.choice(list(sample.entries))
        data = damaged(sample.entries[version], rng, bodies)
        entry = read_or_refused(data, version)
        assert entry is None or data == sample.entries[version], f"block {block}: a damaged entry was read"


@pytest.mark.parametrize("block", range(BLOCKS))
def test_damage_under_a_right_hash_is_refused_or_an_entry(sample: Sample, block: int) -> None:
    """What has a right hash and is read has one encoding, and names its place: nothing was skipped or guessed."""
    rng = random.Random(f"sealed {block}")
    raws = {version: _raw(data) for version, data in sample.entries.items()}
    read = 0
    for _ in range(CASES):
        version = rng.choice(list(raws))
        raw, rest = raws[version]
        if rng.random() < 0.8:
            raw = damaged(raw, rng, [one for one, _ in raws.values()])
        else:
            rest = damaged(rest, rng, [one for _, one in raws.values()])
        entry = read_or_refused(_sealed(raw, rest), version)
        if entry is not None:
            read += 1
            assert (entry.database, entry.version) == (DATABASE, version)
            assert _raw(encode(entry)) == (raw, rest)
    assert read < CASES


def test_an_entry_in_another_place_is_refused(sample: Sample) -> None:
    for version, data in sample.entries.items():
        for place in (*sample.entries, version + 1000):
            assert place == version or read_or_refused(data, place) is None
        with pytest.raises(BadEntry):
            decode(data, database="user-2", version=version)


@pytest.mark.parametrize("size", [1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1])
def test_what_announces_too_much_is_refused(sample: Sample, size: int) -> None:
    """Counts and lengths that no object of this size can hold, wherever one is expected."""
    raw, rest = _raw(sample.entries[4])
    out = wire.Writer()
    out.uint(size)
    huge = out.finish()
    for place in range(len(raw)):
        changed = raw[:place] + huge + raw[place + 1 :]
        entry = read_or_refused(_sealed(changed, rest), 4)
        assert entry is None or _raw(encode(entry)) == (changed, rest)  # some numbers may be as large
    frame = zstandard.ZstdCompressor(write_content_size=True).compress(bytes(64))
    announcing = frame[:4] + b"\xe0" + size.to_bytes(8, "little") + frame[6:]  # a frame that says that it is so large
    whole = wire.Writer()
    whole.raw(MAGIC)
    whole.blob(announcing)
    assert read_or_refused(whole.finish() + hashlib.sha256(whole.finish()).digest(), 4) is None


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_damaged_snapshot_is_refused(sample: Sample, block: int) -> None:
    rng, good = random.Random(f"snapshots {block}"), sample.snapshot
    bodies = [bytes(good.body), *sample.entries.values()]
    image = snapshots.read(DATABASE, good)
    for _ in range(CASES // 4):
        blob = good
        if rng.random() < 0.5:
            blob = replace(blob, body=damaged(bytes(good.body), rng, bodies))
        else:
            name = rng.choice(list(good.metadata))
            text = damaged(good.metadata[name].encode(), rng, bodies).decode("latin-1")
            blob = replace(blob, metadata={**good.metadata, name: rng.choice((text, "", "-1", "1" * 30, "٣"))})
        try:
            found = snapshots.read(DATABASE, blob)
        except (ValueError, BadDelta, DatabaseDeleted):
            continue
        # A version and a schema version are also what the database itself says, which is compared when it is loaded.
        assert (bytes(found.body), found.checksum) == (bytes(image.body), image.checksum)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_damaged_pages_change_nothing(sample: Sample, block: int, machine: Machine) -> None:
    """Entries with right hashes and other pages: none is applied, and the copy is as it was."""
    rng = random.Random(f"pages {block}")
    entries = [decode(data, database=DATABASE, version=version) for version, data in sample.entries.items()][:-1]
    replica = Replica(machine.folder / "copy", machine.vfs, machine.limits)
    replica.load(None)
    for at, entry in enumerate(entries):
        for _ in range(12):
            other = rng.choice(entries)
            others = [bytes(chunk) for chunk in other.pages.chunks]
            chunks = [damaged(bytes(chunk), rng, others) for chunk in entry.pages.chunks]
            packed = rng.choice(
                (
                    replace(entry.pages, chunks=tuple(chunks)),
                    replace(entry.pages, chunks=other.pages.chunks),
                    replace(entry.pages, numbers=other.pages.numbers),
                    replace(entry.pages, page_count=entry.pages.page_count + rng.choice((-1, 1, 1 << 40))),
                    replace(other.pages, page_count=entry.pages.page_count),
                )
            )
            if packed == entry.pages:
                continue
            before = replica.checksum
            with pytest.raises(NotNext):
                replica.apply([*entries[at:at], replace(entry, pages=packed)])
            assert (replica.version, replica.checksum, replica.broken) == (entry.version - 1, before, False)
        replica.apply([entry])
    assert pages.PageSums(pages.split(replica.image().body)).checksum == entries[-1].after
    replica.close()


def test_a_damaged_tombstone_is_none() -> None:
    rng, good = random.Random("tombstones"), tombstone(DATABASE, 7, 9)
    assert read_tombstone(good, database=DATABASE, version=7) == 9
    for _ in range(CASES * BLOCKS):
        data = damaged(good, rng, [tombstone(DATABASE, 8, 9), tombstone("user-2", 7, 9)])
        assert read_tombstone(data, database=DATABASE, version=7) in ((9,) if data == good else (None,))
        sealed = data[:-HASH_BYTES] + hashlib.sha256(data[:-HASH_BYTES]).digest()
        found = read_tombstone(sealed, database=DATABASE, version=7)
        assert found is None or tombstone(DATABASE, 7, found) == sealed


def test_damaged_results_are_refused() -> None:
    rng = random.Random("results")
    out = wire.Writer()
    for number in (3, 1, 2, 1):
        out.uint(number)
    out.text("column")
    out.uint(1)
    out.values((1, "text", None, 2.5, b"blob"))
    good = out.finish()
    assert decode_results(7, good).results[0].rows.rows == ((1, "text", None, 2.5, b"blob"),)
    for _ in range(CASES * BLOCKS):
        try:
            decode_results(7, damaged(good, rng, []))
        except wire.Malformed:
            continue


def _raw(data: bytes) -> tuple[bytes, bytes]:
    read = wire.Reader(data[len(MAGIC) : -HASH_BYTES])
    return zstandard.decompress(read.blob()), read.rest()


def _sealed(raw: bytes, rest: bytes) -> bytes:
    whole = wire.Writer()
    whole.raw(MAGIC)
    whole.blob(zstandard.compress(raw))
    whole.raw(rest)
    body = whole.finish()
    return body + hashlib.sha256(body).digest()
