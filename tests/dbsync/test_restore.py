"""Restore: an old version's content as a new version."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from chassis.faults import Fault, Kind
from dbsync import restore, snapshots
from dbsync.commit import Spent
from dbsync.conflicts import Conflict
from dbsync.restore import Migration, RestoreResult
from dbsync.slots import slot_key
from dbsync.sqlguard import Limits
from tests.dbsync.restoring import (
    KNOWN,
    NOTES,
    PLACES,
    back_to,
    content,
    content_at,
    entries,
    grown,
    refusal,
    restored,
    step,
    workshop,
)
from tests.dbsync.world import DATABASE, Machine, add_clip, migration, rename_clip, request, sql


@pytest.mark.parametrize("version", [1, 2, 9, 16, 17])
def test_what_comes_back(machine: Machine, version: int) -> None:
    writer = grown(machine)
    assert writer.replica.version == 17
    wanted = content_at(machine, version)
    asked = back_to(version, author="page", base_version=17)
    assert restored(machine, writer, asked) == RestoreResult(18)
    assert content(writer.replica) == wanted
    fresh = machine.open()
    assert fresh.replica.version == 18 and content(fresh.replica) == wanted
    assert fresh.replica.checksum == writer.replica.checksum
    (sub,) = entries(machine.store)[-1].subs
    assert (sub.restores, sub.author, sub.rows, sub.changeset) == (version, "page", (), b"")
    with fresh.replica.reader() as (_, head):
        assert (head.version, head.author) == (18, "page")
    # It is a version as any other: it can be committed to, compacted, and be undone by restoring what was before.
    machine.ok(writer, add_clip("after", author="page", base_version=18))
    assert restored(machine, writer, back_to(17, base_version=19, author="page")).version == 20
    assert content(writer.replica) == content_at(machine, 17) == content(machine.open().replica)


def test_only_what_differs_is_written(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, request(*(sql("INSERT INTO clips VALUES (?, ?, 1)", f"{n:04}", "x" * 300) for n in range(400))))
    machine.ok(writer, rename_clip("0007", "wrong"))
    pages = writer.replica.page_count
    assert restored(machine, writer, back_to(2)).version == 4
    assert pages > 30 and len(entries(machine.store)[-1].pages.numbers) < 8


def test_through_snapshots(machine: Machine) -> None:
    """Which snapshots there are changes nothing but what is read."""
    writer = machine.founded()
    kept = {}
    for number in range(60):
        machine.ok(writer, add_clip(f"{number}"))
        if writer.replica.version % 10 == 3:
            image = writer.replica.image()
            assert snapshots.publish(machine.store, DATABASE, image, 1)
            snapshots.keep(machine.store, DATABASE, image, 10, 1)
            kept[image.version] = snapshots.kept_key(DATABASE, image.version - 3)
    assert set(kept) == {3, 13, 23, 33, 43, 53} and set(kept.values()) <= set(machine.store.objects)
    wanted = content_at(machine, 45)

    def fetched(version: int) -> int:
        machine.store.counts.clear()
        found = content_at(machine, version)
        assert version != 45 or found == wanted
        return machine.store.counts["get"]

    assert fetched(45) == 1 + 2  # the snapshot of 43, and two entries
    assert fetched(52) == 1 + 9 and fetched(43) == 1 and fetched(60) == 1 + 7
    assert fetched(42) == 1 + 9  # the one of 43 is kept for 40 and later, and is passed over
    del machine.store.objects[kept[43]]
    assert fetched(45) == 1 + 12
    damaged = machine.store.objects[kept[33]]
    machine.store.objects[kept[33]] = replace(damaged, body=damaged.body[:-1] + b"?")
    assert fetched(45) == 1 + 1 + 1 + 1 + 22  # read, read again, quarantined (no deletion is met), passed over
    for name in kept.values():
        machine.store.objects.pop(name, None)
    assert restored(machine, writer, back_to(45)).version == 62 and content(writer.replica) == wanted


@pytest.mark.parametrize("damage", ["cut", "foreign", "missing"])
def test_a_version_that_is_gone(machine: Machine, damage: str) -> None:
    writer = grown(machine)
    name = slot_key(DATABASE, 5)
    blob = machine.store.objects[name]
    if damage == "missing":
        del machine.store.objects[name]
    else:
        other = blob.body[:-40] if damage == "cut" else machine.store.objects[slot_key(DATABASE, 6)].body
        machine.store.objects[name] = replace(blob, body=other)
    quarantined = {f"{DATABASE}/quarantine/"} if damage != "missing" else set()
    for version in (5, 12):
        with pytest.raises(Fault) as caught:
            restored(machine, writer, back_to(version))
        assert (caught.value.kind, caught.value.reason) == (Kind.PRECONDITION, "version_gone")
    assert {one[: one.rindex("/") + 1] for one in machine.store.objects if "quarantine" in one} == quarantined
    assert restored(machine, writer, back_to(4)).version == 18  # what is below the damage, and the present, are whole
    assert machine.ok(writer, add_clip("more")).version == 19


def test_keys_are_carried_forward(machine: Machine) -> None:
    writer = grown(machine, 3)
    done = add_clip("done once")
    version = machine.ok(writer, done).version
    asked = back_to(2)
    after = restored(machine, writer, asked)
    for committer in (writer, machine.open()):
        again = machine.ok(committer, done)
        assert again.replayed and again.version == version
        assert machine.rows(committer, "SELECT count(*) FROM clips WHERE id = 'done once'") == [(0,)]
        assert restored(machine, committer, asked) == RestoreResult(after.version, replayed=True)
        assert committer.replica.version == after.version
    # A second restore keeps the first one's key, and what was done between them.
    between = add_clip("between")
    machine.ok(writer, between)
    restored(machine, writer, back_to(1))
    assert machine.ok(writer, between).replayed and restored(machine, writer, asked).replayed
    assert refusal(machine, writer, replace(asked, version=3)) == "key_mismatch"
    assert refusal(machine, writer, back_to(3, idempotency_key=done.idempotency_key)) == "key_mismatch"
    (answer,) = machine.commit(writer, replace(add_clip("x"), idempotency_key=asked.idempotency_key))
    assert isinstance(answer, Fault) and answer.reason == "key_mismatch"


def test_many_keys(machine: Machine) -> None:
    writer = machine.founded()
    done = [add_clip(f"{number}") for number in range(450)]
    for at in range(0, 450, 50):
        machine.commit(writer, *done[at : at + 50])
    restored(machine, writer, back_to(2))
    assert machine.rows(writer, "SELECT count(*) FROM clips") == [(50,)]
    answers = [machine.ok(writer, one) for one in done[::37]]
    assert all(answer.replayed for answer in answers)


def test_a_stale_restore(machine: Machine) -> None:
    writer = grown(machine, 3)
    head = writer.replica.version
    machine.ok(writer, add_clip("theirs", author="another"))
    with pytest.raises(Conflict) as caught:
        restored(machine, writer, back_to(2, author="page", base_version=head))
    assert (caught.value.base_version, caught.value.head_version, caught.value.clashes) == (head, head + 1, ())
    machine.ok(writer, add_clip("mine", author="page"))
    with pytest.raises(Conflict):
        restored(machine, writer, back_to(2, author="page", base_version=head))
    assert (
        restored(machine, writer, back_to(2, author="page", base_version=head + 1)).version == head + 3
    )  # own is fine
    assert refusal(machine, writer, back_to(2, base_version=99)) == "invalid_argument"


def test_older_bases_are_stale(machine: Machine) -> None:
    writer = grown(machine, 4)
    head = writer.replica.version
    assert restored(machine, writer, back_to(3, author="page", base_version=head)).version == head + 1
    for committer in (writer, machine.open()):
        for author in ("page", "another", ""):
            (answer,) = machine.commit(committer, add_clip("late", author=author, base_version=head))
            assert isinstance(answer, Conflict) and answer.head_version == head + 1
    assert machine.ok(writer, add_clip("system")).version == head + 2  # without a base nothing is stale
    fresh = add_clip("fresh", author="page", base_version=head + 1)
    assert machine.ok(writer, fresh).base_version == head + 3


def test_migrated_on_the_way(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("old"))
    machine.ok(writer, migration(2, *NOTES))
    machine.ok(writer, request(sql("UPDATE clips SET note = 'mine'"), schema_version=2))
    machine.ok(writer, migration(3, *PLACES))
    machine.ok(writer, request(sql("INSERT INTO places VALUES (2, 'away')"), schema_version=3))
    asked = back_to(2, schema_version=3, migrations=(KNOWN[1], KNOWN[0]))
    assert restored(machine, writer, asked).version == 7
    for committer in (writer, machine.open()):
        assert committer.replica.schema_version == 3
        assert machine.rows(committer, "SELECT id, note FROM clips") == [("old", "none")]
        assert machine.rows(committer, "SELECT name FROM places") == [("home",)]
    # Only what is between runs; and what is restored is as good a base as any for what comes after.
    assert restored(machine, writer, back_to(4, schema_version=3, migrations=KNOWN)).version == 8
    assert machine.rows(writer, "SELECT note FROM clips") == [("mine",)]
    assert restored(machine, writer, back_to(6, schema_version=3)).version == 9
    assert machine.rows(writer, "SELECT count(*) FROM places") == [(2,)]
    machine.ok(writer, request(sql("INSERT INTO clips VALUES ('new', 'n', 1, 'x')"), schema_version=3))
    assert machine.open().replica.checksum == writer.replica.checksum


def test_rows_are_recorded_by_the_restored_schema(machine: Machine) -> None:
    """A table that came back is watched by row again, though the schema version is the same number."""
    writer, reader = machine.founded(), machine.open()
    machine.ok(writer, request(sql("INSERT INTO tags VALUES ('a', 'goal', 1.0)")))
    machine.ok(writer, migration(2, "DROP TABLE tags"))
    reader.catch_up(machine.clock.now_s() + 5, Spent())
    machine.ok(reader, add_clip("x", schema_version=2))
    same = Migration(1, 2, (sql("CREATE INDEX by_name ON clips (name)"),))
    restored(machine, writer, back_to(2, schema_version=2, migrations=(same,)))
    reader.catch_up(machine.clock.now_s() + 5, Spent())
    for committer in (reader, writer):
        committer.catch_up(machine.clock.now_s() + 5, Spent())
        insert = sql("INSERT INTO tags VALUES (?, 'goal', 1.0)", f"{id(committer)}")
        machine.ok(committer, request(insert, schema_version=2, author="page", base_version=5))
        assert [row.table for row in entries(machine.store)[-1].subs[0].rows] == ["tags"]


@pytest.mark.parametrize(
    ("migrations", "reason"),
    [
        ((), "schema_mismatch"),
        ((KNOWN[0],), "schema_mismatch"),
        ((KNOWN[1],), "schema_mismatch"),
        ((KNOWN[0], Migration(2, 4, KNOWN[1].statements)), "schema_mismatch"),
        ((KNOWN[0], step(3, "CREATE TABLE places (id TEXT)")), "invalid_argument"),
        ((KNOWN[0], step(3, "SELECT nothing")), "sql_error"),
        ((KNOWN[0], step(3, "PRAGMA user_version = 9")), "sql_forbidden"),
        ((KNOWN[0], step(3, "INSERT INTO _dbsync_keys VALUES (x'00', x'00', 1, x'00')")), "sql_forbidden"),
        ((KNOWN[0], step(3, "INSERT INTO clips (id, name) SELECT id, name FROM clips")), "constraint"),
        (
            (KNOWN[0], step(3, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n")),
            "too_many_steps",
        ),
        ((KNOWN[0], Migration(2, 3, (sql("UPDATE clips SET name = 'x'", rows=7),))), "requirement_unmet"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_failing_migration(machine: Machine, migrations: tuple[Migration, ...], reason: str) -> None:
    machine.limits = replace(machine.limits, steps=1_000_000)
    writer = machine.founded()
    machine.ok(writer, add_clip("old"))
    machine.ok(writer, migration(2, *NOTES))
    machine.ok(writer, migration(3, *PLACES))
    assert refusal(machine, writer, back_to(2, schema_version=3, migrations=migrations)) == reason


def test_what_is_refused(machine: Machine) -> None:
    empty = machine.open()
    assert refusal(machine, empty, back_to(1, schema_version=0)) == "no_such_version"
    writer = grown(machine, 2)
    head = writer.replica.version
    assert refusal(machine, writer, back_to(head + 1)) == "no_such_version"
    assert refusal(machine, writer, back_to(0)) == "no_such_version"
    assert refusal(machine, writer, back_to(2, schema_version=2)) == "schema_mismatch"
    assert refusal(machine, writer, back_to(2, schema_version=0)) == "schema_newer"
    machine.limits = replace(machine.limits, database_bytes=16_384)
    assert refusal(machine, writer, back_to(2)) == "database_full"


def test_a_migrated_content_that_is_too_large(machine: Machine) -> None:
    machine.limits = Limits(database_bytes=1 << 20)
    writer = machine.founded()
    machine.ok(writer, migration(2, *NOTES))
    large = step(2, *NOTES, "CREATE TABLE large (id INTEGER PRIMARY KEY, body BLOB)", *(
        f"INSERT INTO large VALUES ({n}, zeroblob(300000))" for n in range(4)
    ))  # fmt: skip
    assert refusal(machine, writer, back_to(1, schema_version=2, migrations=(large,))) == "database_full"


def test_prepared_copies_are_removed(machine: Machine) -> None:
    writer = grown(machine, 3)
    machine.ok(writer, migration(2, *NOTES))
    folders = itertools.count()

    def new_folder() -> Path:
        return machine.folder / f"workshop-{next(folders)}"

    made = replace(workshop(machine), new_folder=new_folder)
    until_s = machine.clock.now_s() + 5
    restore.whole(writer, made, back_to(2, schema_version=2, migrations=KNOWN), until_s, Spent())
    with pytest.raises(Fault):
        failing = back_to(2, schema_version=2, migrations=(step(2, "SELECT nothing"),))
        restore.whole(writer, made, failing, until_s, Spent())
    assert next(folders) == 2 and not list(machine.folder.glob("workshop-*"))
