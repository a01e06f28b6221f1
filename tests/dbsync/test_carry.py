"""What a restore carries forward from the present: the rows of the tables that are named."""

from __future__ import annotations

import pytest

from chassis.faults import Fault
from dbsync import carry, restore
from dbsync.carry import Mark
from dbsync.commit import Committer, Spent
from tests.dbsync.restoring import back_to, content, refusal, restored, workshop
from tests.dbsync.world import Machine, migration, request, sql

MEDIA = (
    "CREATE TABLE media (a TEXT NOT NULL, b INTEGER NOT NULL, state TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID",
    "CREATE TABLE seen (id TEXT NOT NULL PRIMARY KEY)",
)


def founded(machine: Machine) -> Committer:
    """Version 2: media x and y are old, and so is what is seen."""
    writer = machine.founded()
    machine.ok(writer, migration(2, *MEDIA))
    rows = sql("INSERT INTO media VALUES ('x', 1, 'old'), ('y', 1, 'old')"), sql("INSERT INTO seen VALUES ('first')")
    machine.ok(writer, request(*rows, schema_version=2))
    return writer


def rows(committer: Committer, table: str) -> list[tuple[object, ...]]:
    """What a table has."""
    with committer.replica.reader() as (guard, _):
        return guard.own(f'SELECT * FROM "{table}" ORDER BY 1, 2' if table == "media" else f'SELECT * FROM "{table}"')


def later(machine: Machine, writer: Committer) -> int:
    """The version to go back to; since it x was changed, y has gone, z is new, and everything else is another."""
    version = writer.replica.version
    changes = (
        sql("UPDATE media SET state = 'new' WHERE a = 'x'"),
        sql("DELETE FROM media WHERE a = 'y'"),
        sql("INSERT INTO media VALUES ('z', 2, 'new')"),
        sql("DELETE FROM seen"),
        sql("INSERT INTO seen VALUES ('second')"),
    )
    machine.ok(writer, request(*changes, schema_version=2))
    return version


def test_present_rows_win(machine: Machine) -> None:
    writer = founded(machine)
    version = later(machine, writer)
    asked = back_to(version, schema_version=2, present_tables=("media", "seen"))
    restored(machine, writer, asked)
    assert rows(writer, "media") == [("x", 1, "new"), ("y", 1, "old"), ("z", 2, "new")]
    assert sorted(rows(writer, "seen")) == [("first",), ("second",)]
    assert content(machine.open().replica) == content(writer.replica)
    restored(machine, writer, back_to(version, schema_version=2, present_tables=("seen",)))
    assert rows(writer, "media") == [("x", 1, "old"), ("y", 1, "old")]


def test_many_rows(machine: Machine) -> None:
    writer = founded(machine)
    version = writer.replica.version
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 450) "
    machine.ok(writer, request(sql(f"{many} INSERT INTO media SELECT 'm' || n, n % 7, 'new' FROM c"), schema_version=2))
    present = rows(writer, "media")
    restored(machine, writer, back_to(version, schema_version=2, present_tables=("media",)))
    assert rows(writer, "media") == present and len(present) == 452


def test_carried_again(machine: Machine) -> None:
    """A slot was lost: what the first present had and the second has not is not in what becomes durable."""
    writer = founded(machine)
    version = later(machine, writer)
    asked = back_to(version, schema_version=2, present_tables=("media", "seen"))
    built = restore.prepare(machine.slots(), workshop(machine), asked, machine.clock.now_s() + 5, Spent())
    try:
        head = writer.replica.version
        mark = Mark(head + 1, 1, "", (asked.idempotency_key, b"hash", head + 1, b""))
        carried = carry.carry(writer.replica, built, mark, asked.present_tables)
        assert carried
        changes = (
            sql("DELETE FROM media"),
            sql("DELETE FROM seen"),
            sql("INSERT INTO media VALUES ('y', 1, 'third')"),
        )
        machine.ok(writer, request(*changes, schema_version=2))
        carry.carry(writer.replica, built, mark, asked.present_tables, carried)
        with built.reader() as (guard, _):
            assert guard.own("SELECT * FROM media ORDER BY a") == [("x", 1, "old"), ("y", 1, "third")]
            assert guard.own("SELECT * FROM seen") == [("first",)]
    finally:
        built.close()


@pytest.mark.parametrize(
    ("setting", "table"),
    [
        ("SELECT 1", "nothing"),
        ("CREATE VIRTUAL TABLE words USING fts5(word)", "words"),
        ("CREATE TRIGGER noted AFTER UPDATE ON media BEGIN DELETE FROM seen; END", "media"),
    ],
    ids=["unknown", "virtual", "with a trigger"],
)
def test_tables_that_cannot_stay(machine: Machine, setting: str, table: str) -> None:
    writer = founded(machine)
    version = writer.replica.version
    machine.ok(writer, migration(3, setting))
    steps = (restore.Migration(2, 3, (sql(setting),)),)
    asked = back_to(version, schema_version=3, migrations=steps, present_tables=(table,))
    assert refusal(machine, writer, asked) == "invalid_argument"


def test_a_present_row_that_refers_to_nothing(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, migration(2, "CREATE TABLE a (id INTEGER PRIMARY KEY, clip TEXT REFERENCES clips (id))"))
    version = writer.replica.version
    clip = sql("INSERT INTO clips VALUES ('new', 'x', 1)"), sql("INSERT INTO a VALUES (1, 'new')")
    machine.ok(writer, request(*clip, schema_version=2))
    with pytest.raises(Fault) as caught:
        restored(machine, writer, back_to(version, schema_version=2, present_tables=("a",)))
    assert caught.value.reason == "constraint"
    assert restored(machine, writer, back_to(version, schema_version=2, present_tables=("a", "clips"))).version == 4
