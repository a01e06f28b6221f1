"""The local copy: it is exactly one version, or it is given up."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from dbsync import query
from dbsync.log_format import Entry
from dbsync.pages import Packed, PageSums, split
from dbsync.replica import NotNext, Replica
from dbsync.requests import QueryRequest
from dbsync.sqlguard import Broken
from tests.dbsync.world import DATABASE, Machine, add_clip, migration, rename_clip, request, sql


def entry_of(machine: Machine, version: int) -> Entry:
    """What the log holds."""
    entry = machine.slots().read(version, machine.clock.now_s() + 1)
    assert entry is not None
    return entry


def whole(replica: Replica) -> bytes:
    """The database's file at the copy's version."""
    return bytes(replica.image().body)


def test_entries_must_follow(machine: Machine) -> None:
    writer = machine.founded()
    for clip in "abc":
        machine.ok(writer, add_clip(clip))
    other = machine.open().replica
    follower = Replica(machine.new_folder(), machine.vfs, machine.limits)
    machine.opened.append(follower)
    follower.load(None)
    follower.apply([entry_of(machine, 1)])
    for wrong in (entry_of(machine, 3), entry_of(machine, 1)):
        with pytest.raises(NotNext, match="does not follow"):
            follower.apply([wrong])
    follower.apply([entry_of(machine, 2), entry_of(machine, 3), entry_of(machine, 4)])
    assert whole(follower) == whole(other) == whole(writer.replica)


def test_a_bad_entry_changes_nothing(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    follower = machine.open().replica
    machine.ok(writer, add_clip("b"))
    good = entry_of(machine, 3)
    before = whole(follower)
    chunk = bytes(good.pages.chunks[0])
    bad = [
        replace(good, before=good.before ^ 1),
        replace(good, after=good.after ^ 1),
        replace(good, pages=replace(good.pages, chunks=(chunk[:-1] + bytes([chunk[-1] ^ 1]),))),
        replace(good, pages=replace(good.pages, page_count=good.pages.page_count + 5)),
        replace(good, pages=replace(good.pages, numbers=tuple(n + 1 for n in good.pages.numbers))),
        replace(good, pages=Packed(0, (), ())),
    ]
    for entry in bad:
        with pytest.raises(NotNext):
            follower.apply([entry])
        with pytest.raises(NotNext):
            follower.apply([good, replace(good, version=4)])
        assert follower.version == 2 and whole(follower) == before
    follower.apply([good])
    assert whole(follower) == whole(writer.replica)


def test_a_reader_keeps_its_version(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    with writer.replica.reader() as (guard, head):
        assert head.version == 2
        machine.ok(writer, add_clip("b"))
        assert guard.own("SELECT count(*) FROM clips") == [(1,)]
        assert guard.own("SELECT version FROM _dbsync_state") == [(2,)]
    with writer.replica.reader() as (guard, head):
        assert head.version == 3 and guard.own("SELECT count(*) FROM clips") == [(2,)]


def test_a_catch_up_waits_for_readers(machine: Machine) -> None:
    writer = machine.founded()
    follower = machine.open()
    machine.ok(writer, add_clip("a"))
    done = threading.Event()

    def catch_up() -> None:
        machine.commit(follower, add_clip("b"))
        done.set()

    with follower.replica.reader() as (guard, head):
        thread = threading.Thread(target=catch_up)
        thread.start()
        assert not done.wait(0.1)
        assert head.version == 1 and guard.own("SELECT count(*) FROM clips") == [(0,)]
    assert done.wait(60)
    thread.join()
    assert follower.replica.version == 3
    assert machine.rows(follower, "SELECT id FROM clips ORDER BY id") == [("a",), ("b",)]


def test_a_broken_copy_is_refused(machine: Machine) -> None:
    writer = machine.founded()
    connection, _ = writer.replica.writer()
    connection.execute("INSERT INTO clips VALUES ('x', 'past the gate', 1)")
    for use in (lambda: machine.commit(writer, add_clip("a")), lambda: machine.rows(writer, "SELECT 1")):
        with pytest.raises(Broken):
            use()
    assert machine.rows(machine.open(), "SELECT count(*) FROM clips") == [(0,)]


def test_a_damaged_file_is_noticed(machine: Machine) -> None:
    writer = machine.founded()
    for number in range(60):
        machine.ok(writer, add_clip(f"clip {number:04d}" * 20))
    connection, _ = writer.replica.writer()
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    path = Path(connection.filename)
    data = bytearray(path.read_bytes())
    data[-3000:-2900] = b"?" * 100
    path.write_bytes(data)
    with pytest.raises(Broken):
        connection.cache_flush()
        connection.release_memory()
        writer.replica.image()


def test_random_work_is_the_same_everywhere(machine: Machine) -> None:
    rng = random.Random(11)
    writers = [machine.founded(), machine.open()]
    machine.ok(
        writers[0], migration(2, "CREATE VIRTUAL TABLE found USING fts5(name)", "CREATE INDEX by_name ON clips (name)")
    )
    clips: list[str] = []
    for step in range(120):
        writer = rng.choice(writers)
        kind = rng.random()
        if kind < 0.5 or not clips:
            clips.append(f"clip {step}" * rng.randint(1, 60))
            one = request(
                sql("INSERT INTO clips VALUES (?, ?, ?)", clips[-1], "n" * rng.randint(1, 9000), step),
                sql("INSERT INTO found VALUES (?)", f"words of clip {step}"),
                schema_version=2,
            )
        elif kind < 0.7:
            one = rename_clip(rng.choice(clips), f"name {step}", schema_version=2)
        elif kind < 0.95:
            gone, clips = clips[: len(clips) // 2], clips[len(clips) // 2 :]
            one = request(*(sql("DELETE FROM clips WHERE id = ?", clip) for clip in gone), schema_version=2)
            if not gone:
                continue
        else:
            one = request(
                sql("DELETE FROM found"), sql("INSERT INTO clips SELECT 'x' || random(), 'y', 1"), schema_version=2
            )
        machine.ok(writer, one)
        if rng.random() < 0.1:
            writer.replica.writer()[0].wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    fresh = machine.open()
    for writer in writers:
        machine.ok(writer, request(sql("UPDATE clips SET rating = coalesce(rating, 0) + 1"), schema_version=2))
        machine.ok(
            writer,
            request(
                sql("DELETE FROM clips WHERE id LIKE 'x%'"),
                sql("INSERT INTO clips VALUES ('z', 'z', 1) ON CONFLICT DO UPDATE SET name = 'zz'"),
                schema_version=2,
            ),
        )
    machine.commit(fresh, request(sql("SELECT 1"), schema_version=2))
    machine.commit(writers[0], request(sql("SELECT 1"), schema_version=2))
    images = [whole(writer.replica) for writer in (*writers, fresh)]
    assert images[0] == images[1] == images[2]
    assert PageSums(split(images[0])).checksum == fresh.replica.checksum
    assert machine.query(fresh, sql("SELECT count(*) FROM found('words')")).results[0].rows[0][0] is not None


def test_a_copy_ends_with_its_files(machine: Machine) -> None:
    writer = machine.founded()
    folder = Path(writer.replica.writer()[0].filename).parent
    machine.rows(writer, "SELECT 1")
    writer.replica.close()
    assert not folder.exists()
    with pytest.raises(Broken):
        query.run(writer.replica, QueryRequest(DATABASE, (sql("SELECT 1"),)))
    machine.opened.remove(writer.replica)
