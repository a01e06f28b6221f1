"""Restores that race with others, are not answered, or die on the way."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from chassis.faults import Fault, Kind
from dbsync import snapshots
from dbsync.commit import Spent
from dbsync.conflicts import Conflict
from dbsync.requests import CommitResult
from dbsync.restore import RestoreResult
from dbsync.slots import Store
from tests.dbsync.failing_store import Failure, Unanswered, at_every_request
from tests.dbsync.restoring import (
    KNOWN,
    NOTES,
    Raced,
    back_to,
    content,
    content_at,
    entries,
    grown,
    restored,
)
from tests.dbsync.world import DATABASE, Machine, add_clip, migration, request, sql


def test_a_lost_slot(machine: Machine) -> None:
    machine.store = Raced()
    writer = grown(machine, 4)
    head, other = writer.replica.version, machine.open()
    theirs = [add_clip(f"theirs {n}", author="another") for n in range(3)]
    machine.store.before = [partial(machine.ok, other, one) for one in theirs]
    wanted = content_at(machine, 3)
    asked = back_to(3)
    result = restored(machine, writer, asked)
    assert result.version == head + 4 and content(writer.replica) == wanted == content(machine.open().replica)
    assert all(machine.ok(writer, one).replayed for one in theirs)  # theirs are in the history, and not done twice
    machine.store.before = [lambda: machine.ok(other, add_clip("and again", author="another"))]
    with pytest.raises(Conflict):
        restored(machine, writer, back_to(3, base_version=result.version, author="page"))
    assert not machine.store.before and writer.replica.version == result.version + 1


def test_lost_to_its_own_retry(machine: Machine) -> None:
    machine.store = Raced()
    writer, other = grown(machine, 4), machine.open()
    asked = back_to(3)
    machine.store.before = [lambda: restored(machine, other, asked)]
    head = writer.replica.version
    assert restored(machine, writer, asked) == RestoreResult(head + 1, replayed=True)
    assert sum(sub.restores > 0 for entry in entries(machine.store) for sub in entry.subs) == 1


@pytest.mark.parametrize("lands", [True, False])
def test_an_undecided_slot(machine: Machine, lands: bool) -> None:
    grown(machine, 4)
    wanted, asked = content_at(machine, 3), back_to(3)
    writer = machine.open()
    head = writer.replica.version
    writer._slots = machine.slots(Unanswered(machine.store, lands))
    with pytest.raises(Fault) as caught:
        restored(machine, writer, asked, seconds=0.3)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "outcome_unknown")
    assert writer.suspect and writer.replica.version == head
    writer._slots = machine.slots()
    assert restored(machine, writer, asked) == RestoreResult(head + 1, replayed=lands)
    assert content(writer.replica) == wanted


@pytest.mark.parametrize("failure", list(Failure), ids=lambda one: one.value.replace(" ", "-"))
def test_killed_at_every_step(machine: Machine, failure: Failure) -> None:
    writer = machine.founded()
    for number in range(5):
        machine.ok(writer, add_clip(f"{number}"))
    snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    machine.ok(writer, migration(2, *NOTES))
    machine.ok(writer, request(sql("UPDATE clips SET note = 'mine'"), schema_version=2))
    asked = back_to(4, schema_version=2, migrations=KNOWN, base_version=8, author="page")
    ends = []

    def run(store: Store) -> None:
        committer = machine.open(store)
        assert restored(machine, committer, asked).version == 9

    for store, died in at_every_request(machine.store, failure, run):
        assert died == failure.value.startswith("dies")
        machine.store, before = store, machine.store
        again = machine.open()
        was_durable = again.replica.version == 9
        assert restored(machine, again, asked) == RestoreResult(9, replayed=was_durable)
        assert machine.rows(again, "SELECT id, note FROM clips ORDER BY id") == [(f"{n}", "none") for n in range(3)]
        assert sum(sub.restores > 0 for entry in entries(store) for sub in entry.subs) == 1
        assert machine.open().replica.checksum == again.replica.checksum
        machine.store = before
        ends.append(was_durable)
    assert len(ends) >= 6  # opening, looking, building, writing
    if failure.value.startswith("dies"):
        assert not all(ends) and any(ends) == (failure is Failure.DIES_AFTER)
    else:
        assert all(ends)


def test_two_restores_at_once(machine: Machine) -> None:
    """Two processes restore different versions while a third commits: one order, and everybody sees it."""
    grown(machine, 6)
    committers = [machine.open() for _ in range(3)]
    results: dict[int, object] = {}

    def restoring(place: int, version: int) -> None:
        results[place] = restored(machine, committers[place], back_to(version), seconds=20)

    def committing() -> None:
        results[2] = [machine.commit(committers[2], add_clip(f"new {n}"), seconds=20)[0] for n in range(6)]

    threads = [threading.Thread(target=restoring, args=(place, version)) for place, version in ((0, 2), (1, 5))]
    threads.append(threading.Thread(target=committing))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [result for result in (results[0], results[1]) if isinstance(result, RestoreResult)]
    commits = results[2]
    assert len(done) == 2 and isinstance(commits, list)
    assert all(isinstance(one, CommitResult) for one in commits)
    versions = [one.version for one in done] + [one.version for one in commits]
    assert sorted(versions) == list(range(10, 10 + 8)) or len(set(versions)) == 8
    final = machine.open()
    for committer in committers:
        committer.catch_up(machine.clock.now_s() + 5, Spent())
        assert committer.replica.checksum == final.replica.checksum
    newest = max(done, key=lambda one: one.version)
    wanted = {2: 1, 5: 3}[2 if newest is results[0] else 5]
    later = sum(one.version > newest.version for one in commits)
    assert machine.rows(final, "SELECT count(*) FROM clips") == [(wanted + later,)]
