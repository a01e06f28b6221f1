"""The protocol between a copy and the log, one situation at a time."""

from __future__ import annotations

import logging

import apsw
import pytest

from chassis.faults import Fault
from dbsync.commit import Spent
from dbsync.conflicts import Conflict
from dbsync.requests import CommitResult
from dbsync.slots import Undecided, slot_key
from dbsync.sqlguard import Broken
from tests.dbsync.test_slots import ScriptedStore
from tests.dbsync.world import DATABASE, Machine, add_clip, migration, rename_clip, request, sql


class ViaStore(ScriptedStore):
    """A scripted view of another store's objects."""

    def __init__(self, machine: Machine, *script: str) -> None:
        super().__init__(*script)
        self.objects = machine.store.objects


def refused(answer: object) -> str:
    """The reason of a refusal."""
    assert isinstance(answer, Fault), repr(answer)
    return answer.reason


def test_one_put_and_nothing_else(machine: Machine) -> None:
    writer = machine.founded()
    machine.store.counts.clear()
    spent = Spent()
    writer.commit([add_clip("a", author="me", base_version=1)], machine.clock.now_s() + 5, spent)
    assert machine.store.counts == {"put": 1}
    assert spent.run_ms > 0 and spent.catch_up_ms == 0


def test_a_lost_slot_runs_again(machine: Machine) -> None:
    writer, other = machine.founded(), machine.open()
    machine.ok(other, add_clip("a", author="you", base_version=1))
    machine.store.counts.clear()
    assert machine.ok(writer, add_clip("b", author="me", base_version=1)).version == 3
    assert machine.store.counts == {"put": 2, "get": 2}  # lost, what has it, nothing after it, won
    assert machine.rows(writer, "SELECT id FROM clips ORDER BY id") == [("a",), ("b",)]
    (answer,) = machine.commit(other, rename_clip("b", "x", author="you", base_version=2))
    assert isinstance(answer, Conflict)


def test_lost_to_own_retry(machine: Machine) -> None:
    writer, other = machine.founded(), machine.open()
    one = add_clip("a")
    first = machine.ok(other, one)  # the client's retry went elsewhere and was faster
    answer = machine.ok(writer, one)
    assert answer.replayed and answer.version == first.version
    assert machine.rows(writer, "SELECT count(*) FROM clips") == [(1,)]


def test_unknown_is_suspect(machine: Machine) -> None:
    machine.founded()
    store = ViaStore(machine)
    writer = machine.open(store)
    for lands in (True, False):
        store.script.extend(["lost" if lands else "timeout", *["timeout"] * 500])
        one = add_clip(f"clip {lands}", author="me", base_version=1)
        (answer,) = machine.commit(writer, one, seconds=0.2)
        assert refused(answer) == "outcome_unknown" and writer.suspect
        assert machine.rows(writer, "SELECT count(*) FROM clips WHERE id = ?", f"clip {lands}") == [(0,)]
        store.script.clear()
        again = machine.ok(writer, one)
        assert again.replayed is lands and not writer.suspect
    assert machine.rows(writer, "SELECT id FROM clips ORDER BY id") == [("clip False",), ("clip True",)]


def test_a_zombie_lands_before_the_retry(machine: Machine) -> None:
    machine.founded()
    store = ViaStore(machine)
    writer = machine.open(store)
    store.script.extend(["timeout"] * 500)
    one = add_clip("a")
    machine.commit(writer, one, seconds=0.2)
    zombie = store.sent[0]
    store.script.clear()
    machine.ok(machine.open(), add_clip("b"))  # another process takes the slot meanwhile
    assert not machine.store.create(slot_key(DATABASE, 2), zombie, 1)
    assert machine.ok(writer, one).version == 3


def test_a_refusal_is_confirmed(machine: Machine) -> None:
    writer, other = machine.founded(), machine.open()
    machine.ok(other, add_clip("a"))
    # By its own copy the row is not there; by the log it is.
    assert machine.ok(writer, rename_clip("a", "x")).version == 3
    machine.ok(other, request(sql("DELETE FROM clips")))
    machine.store.counts.clear()
    (answer,) = machine.commit(writer, rename_clip("a", "y"))
    assert refused(answer) == "requirement_unmet"
    assert machine.store.counts["get"] == 2 and writer.replica.version == 4
    machine.ok(other, add_clip("c"))
    assert machine.ok(writer, request(sql("SELECT id FROM clips"))).results[0].rows.rows == (("c",),)


def test_a_stale_schema_is_confirmed(machine: Machine) -> None:
    writer, other = machine.founded(), machine.open()
    machine.ok(other, migration(2, "ALTER TABLE clips ADD COLUMN note TEXT"))
    one = request(sql("INSERT INTO clips VALUES ('a', 'x', 1, 'note')"), schema_version=2)
    assert machine.ok(writer, one).version == 3


def test_racing_migrations_agree(machine: Machine) -> None:
    writer, other = machine.founded(), machine.open()
    machine.ok(other, migration(2, "ALTER TABLE clips ADD COLUMN note TEXT"))
    (answer,) = machine.commit(writer, migration(2, "ALTER TABLE clips ADD COLUMN note TEXT"))
    assert isinstance(answer, Fault) and answer.reason == "schema_mismatch"
    assert answer.metadata["actual"] == "2" and writer.replica.schema_version == 2


def test_a_migration_makes_no_base_stale(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    machine.ok(writer, migration(2, "UPDATE clips SET rating = 2"))
    assert machine.ok(writer, rename_clip("a", "x", author="me", base_version=2, schema_version=2)).base_version == 4


def test_a_newer_base_catches_up(machine: Machine) -> None:
    writer, other = machine.founded(), machine.open()
    machine.ok(other, add_clip("a", author="me", base_version=1))
    machine.store.counts.clear()
    assert machine.ok(writer, rename_clip("a", "x", author="me", base_version=2)).version == 3
    assert machine.store.counts == {"get": 3, "put": 1}  # what is there, and the two after it


def test_a_group_shares_a_slot(machine: Machine) -> None:
    writer = machine.founded()
    machine.store.counts.clear()
    bad = request(sql("INSERT INTO clips VALUES ('c', NULL, 1)"))
    twice = add_clip("d")
    answers = machine.commit(
        writer,
        add_clip("a", author="me", base_version=1),
        add_clip("b", author="you", base_version=1),
        bad,
        rename_clip("a", "x", author="you", base_version=1),
        twice,
        twice,
        request(sql("SELECT count(*) FROM clips")),
    )
    assert machine.store.counts == {"put": 1}
    assert [getattr(answer, "version", None) for answer in answers] == [2, 2, None, None, 2, 2, 2]
    assert refused(answers[2]) == "constraint"
    conflict = answers[3]
    assert isinstance(conflict, Conflict) and (conflict.base_version, conflict.head_version) == (1, 2)
    assert isinstance(answers[0], CommitResult) and answers[0].base_version == 1  # "you" shares the version
    assert isinstance(answers[1], CommitResult) and answers[1].base_version == 1  # "me" came in between
    assert isinstance(answers[5], CommitResult) and answers[5].replayed
    assert isinstance(answers[6], CommitResult) and answers[6].results[0].rows.rows == ((3,),)


def test_a_group_in_doubt_is_in_doubt_together(machine: Machine) -> None:
    founder = machine.founded()
    known = add_clip("known")
    machine.ok(founder, known)
    store = ViaStore(machine)
    writer = machine.open(store)
    writer.suspect = True  # so that the head is confirmed, and a refusal by itself could be told
    store.script.extend(["ok", *["timeout"] * 500])
    answers = machine.commit(
        writer,
        known,
        add_clip("a", author="me", base_version=2),
        rename_clip("a", "x", author="you", base_version=2),
        seconds=0.2,
    )
    assert isinstance(answers[0], CommitResult) and answers[0].replayed
    assert [refused(answer) for answer in answers[1:]] == ["outcome_unknown", "outcome_unknown"]


def test_one_member_cannot_take_the_group_along(machine: Machine) -> None:
    machine.founded()
    writer = machine.open()
    endless = request(
        sql("INSERT INTO clips WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, n, n FROM c")
    )
    machine.limits = type(machine.limits)(steps=100_000)
    writer = machine.open()
    answers = machine.commit(writer, add_clip("a"), endless, add_clip("b"))
    assert [getattr(answer, "version", None) for answer in answers] == [2, None, 2]
    assert refused(answers[1]) == "too_many_steps"
    assert machine.rows(writer, "SELECT id FROM clips") == [("a",), ("b",)]


def test_a_damaged_slot_stops_everything_but_old_reads(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    writer = machine.founded()
    machine.store.create(slot_key(DATABASE, 2), b"what is this", 1)
    with caplog.at_level(logging.CRITICAL):
        (answer,) = machine.commit(writer, add_clip("a"))
    alarms = [record for record in caplog.records if getattr(record, "alarm", "") == "database_corrupt"]
    assert alarms and slot_key(DATABASE, 2) in alarms[0].getMessage()
    assert refused(answer) == "database_corrupt"
    assert writer.replica.version == 1 and machine.rows(writer, "SELECT count(*) FROM clips") == [(0,)]


def test_an_entry_from_another_database_is_never_applied(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    stranger = machine.open(database="user-2")
    theirs = [
        migration(1, "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, rating INTEGER)"),
        add_clip("z"),
    ]
    for one in theirs:
        machine.ok(stranger, one)
    machine.ok(stranger, add_clip("y"))
    machine.store.objects[slot_key(DATABASE, 3)] = machine.store.objects[slot_key("user-2", 3)]
    (answer,) = machine.commit(writer, add_clip("b"))
    assert refused(answer) == "database_corrupt" and "user-2" in str(answer)
    assert machine.rows(writer, "SELECT id FROM clips") == [("a",)]


def test_the_store_is_away(machine: Machine) -> None:
    machine.founded()

    class Away(ViaStore):
        def get(self, key: str, timeout_s: float) -> None:
            raise Undecided("503")

    writer = machine.open(ViaStore(machine))
    writer.suspect = True
    writer._slots._store = Away(machine)
    (answer,) = machine.commit(writer, add_clip("a"), seconds=0.2)
    assert refused(answer) == "store_unavailable"


def test_a_full_disk_is_no_success(machine: Machine) -> None:
    writer = machine.founded()
    machine.store.counts.clear()

    def full(offset: int, size: int) -> None:
        raise apsw.FullError("the local disk is full")

    writer.replica._gate.wrote = full  # type: ignore[method-assign]
    writer.suspect = True  # even with the head confirmed
    with pytest.raises(Broken):
        machine.commit(writer, add_clip("a"))
    assert machine.store.counts["put"] == 0 and machine.open().replica.version == 1


def test_an_old_base_is_read_from_the_log(machine: Machine) -> None:
    writer = machine.founded()
    for number in range(40):
        machine.ok(writer, add_clip(f"{number}", author="you", base_version=1))
    fresh = machine.open()
    fresh._history._kept.clear()
    machine.store.counts.clear()
    (answer,) = machine.commit(fresh, rename_clip("7", "x", author="me", base_version=1))
    assert isinstance(answer, Conflict) and answer.clashes[0].version == 9
    machine.ok(fresh, rename_clip("7", "x", author="me", base_version=9))
    assert machine.store.counts["put"] == 1
