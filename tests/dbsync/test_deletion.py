"""Deletion: the end of a database, and that nothing of it is left or comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from chassis.faults import Fault, Kind
from dbsync import deletion, snapshots
from dbsync.commit import Committer, Spent
from dbsync.deletion import Ended
from dbsync.log_format import read_tombstone, tombstone
from dbsync.pages import Body
from dbsync.requests import CommitResult
from dbsync.slots import DatabaseDeleted, Hopeless, Slots, Undecided, Verdict, slot_key, slot_version
from tests.dbsync.failing_store import FailingStore, Failure, Unanswered, at_every_request
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.restoring import Raced, back_to, entries, restored
from tests.dbsync.world import DATABASE, Machine, add_clip

EVERY = 5
SECRET = b"her first goal"
NEWEST = snapshots.snapshot_key(DATABASE)


def filled(machine: Machine, versions: int = 14) -> Committer:
    """A database with secrets in entries, snapshots and quarantine."""
    writer = machine.founded()
    for number in range(versions - 1):
        machine.ok(writer, add_clip(f"{SECRET.decode()} {number}"))
        if writer.replica.version in (3, 7, 12):
            image = writer.replica.image()
            snapshots.publish(machine.store, DATABASE, image, 1)
            snapshots.keep(machine.store, DATABASE, image, EVERY, 1)
    machine.slots().quarantine.take(NEWEST, SECRET, "a test", "snapshot_refused")
    return writer


def ended(machine: Machine, store: MemoryStore | FailingStore | None = None, seconds: float = 5.0) -> int:
    """A deletion, whole; Fault."""
    slots, until_s = machine.slots(store), machine.clock.now_s() + seconds
    end = deletion.end(slots, machine.clock, bytes(16), until_s)
    deletion.wipe(slots, machine.clock, end, EVERY, until_s)
    return end.version


def assert_gone(machine: Machine, store: MemoryStore, version: int) -> None:
    """Nothing is left, and whoever looks is told so."""
    places = {key: slot_version(DATABASE, key) for key in store.objects}
    assert {place for place in places.values() if place} == set(range(1, version + 1))
    for key, blob in store.objects.items():
        assert "quarantine" not in key
        place = places[key] or 0
        if place != version:
            assert read_tombstone(blob.body, database=DATABASE, version=place) == version, key
    for slots in (machine.slots(store), Slots(store, machine.clock, DATABASE, machine.slots()._patience)):
        with pytest.raises(DatabaseDeleted) as caught:
            slots.read(version, machine.clock.now_s() + 5)
        assert caught.value.version == version
    with pytest.raises(DatabaseDeleted) as caught:
        machine.open(store)
    assert caught.value.version == version


def test_nothing_is_left(machine: Machine) -> None:
    filled(machine)
    kept = {key for key in machine.store.objects if "/snap/" in key}
    assert len(kept) == 3 and any("/quarantine/" in key for key in machine.store.objects)
    assert ended(machine) == 15
    assert_gone(machine, machine.store, 15)
    assert kept <= {key for key in machine.store.objects if "/snap/" in key}  # overwritten, not removed
    assert not [key for key, blob in machine.store.objects.items() if SECRET in blob.body or len(blob.body) > 400]
    machine.store.counts.clear()
    assert ended(machine) == 15
    assert machine.store.counts == {"head": 1}  # done is done


def test_one_request_says_so(machine: Machine) -> None:
    filled(machine)
    ended(machine)
    machine.store.counts.clear()
    with pytest.raises(DatabaseDeleted):
        machine.open()
    assert machine.store.counts == {"get": 1, "list": 1}


def test_a_database_that_never_was(machine: Machine) -> None:
    assert ended(machine) == 1
    assert_gone(machine, machine.store, 1)
    assert ended(machine) == 1


def test_other_databases_stay(machine: Machine) -> None:
    other = machine.slots(database="user-10")
    assert other.put(1, b"theirs", machine.clock.now_s() + 5)[0] is Verdict.WON
    filled(machine)
    ended(machine)
    assert machine.store.objects[slot_key("user-10", 1)].body == b"theirs"


@pytest.mark.parametrize("what", ["terminal entry", "newest snapshot", "tombstone slots"])
def test_each_sign_is_enough(machine: Machine, what: str) -> None:
    """A process that finds only one of the traces, whichever, does not open the database."""
    filled(machine)
    before = dict(machine.store.objects)
    ended(machine)
    after = dict(machine.store.objects)
    if what == "terminal entry":
        machine.store.objects = {**before, slot_key(DATABASE, 15): after[slot_key(DATABASE, 15)]}
    elif what == "newest snapshot":
        machine.store.objects = {**before, NEWEST: after[NEWEST]}
    else:
        machine.store.objects = {**after, NEWEST: before[NEWEST]}
        del machine.store.objects[slot_key(DATABASE, 15)]
    with pytest.raises(DatabaseDeleted) as caught:
        machine.open()
    assert caught.value.version == 15


def test_a_warm_copy_learns_of_it(machine: Machine) -> None:
    """Copies at the head and far behind it: each is told by the first thing that it asks the log."""
    writers = [filled(machine)]
    behind = machine.slots()
    writers.append(machine.open())
    stale = machine.open()
    for number in range(3):
        machine.ok(writers[0], add_clip(f"more {number}"))
    assert stale.replica.version == 14
    version = ended(machine)
    for committer in (*writers, stale):
        (answer,) = machine.commit(committer, add_clip("late", base_version=2, author="page"))
        assert isinstance(answer, Fault) and (answer.kind, answer.reason) == (Kind.NOT_FOUND, "database_deleted")
        assert committer.gone is not None and committer.gone.version == version
        with pytest.raises(DatabaseDeleted):
            committer.catch_up(machine.clock.now_s() + 5, Spent())
        with pytest.raises(DatabaseDeleted):
            restored(machine, committer, back_to(3))
    with pytest.raises(DatabaseDeleted):
        behind.read(4, machine.clock.now_s() + 5)
    assert_gone(machine, machine.store, version)


def test_commits_race_with_a_deletion(machine: Machine) -> None:
    """What won its slot before the end is ended with it; the end is the last version, and nobody is told otherwise."""
    machine.store = Raced()
    writer, others = filled(machine), [machine.open() for _ in range(2)]
    machine.store.before = [lambda: machine.ok(others[0], add_clip("before the end"))]
    assert ended(machine) == 16 and not machine.store.before
    assert_gone(machine, machine.store, 16)
    (answer,) = machine.commit(writer, add_clip("late"))
    assert isinstance(answer, Fault) and answer.reason == "database_deleted"


def test_writers_and_two_deletions(machine: Machine) -> None:
    filled(machine)
    committers = [machine.open() for _ in range(2)]
    answers: list[object] = []
    versions: list[int] = []

    def committing(place: int) -> None:
        for number in range(30):
            answers.extend(machine.commit(committers[place], add_clip(f"{place} {number}"), seconds=20))

    threads = [threading.Thread(target=committing, args=(place,)) for place in range(2)]
    threads += [threading.Thread(target=lambda: versions.append(ended(machine, seconds=20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(versions)) == 1 and len(answers) == 60
    done = [one.version for one in answers if isinstance(one, CommitResult)]
    assert all(version < versions[0] for version in done) and len(done) == len(set(done)) == versions[0] - 15
    assert {one.reason for one in answers if isinstance(one, Fault)} <= {"database_deleted"}
    assert_gone(machine, machine.store, versions[0])


def test_a_late_write_loses(machine: Machine) -> None:
    """Writes that were on their way when the database was deleted: slots, snapshots, kept snapshots."""
    writer = filled(machine)
    image = writer.replica.image()
    late = entries(machine.store)
    seen = machine.store.head(NEWEST, 1)
    assert seen is not None
    ended(machine)
    before = dict(machine.store.objects)
    for entry in late:
        assert not machine.store.create(slot_key(DATABASE, entry.version), SECRET, 1)
    found = snapshots.metadata(DATABASE, image)
    assert not machine.store.replace(NEWEST, image.body, found, seen.etag, 1)
    assert not machine.store.replace(NEWEST, image.body, found, None, 1)
    for version in range(15):
        key = snapshots.kept_key(DATABASE, version - version % EVERY)
        assert not machine.store.replace(key, image.body, found, None, 1)
    assert machine.store.objects == before


def test_a_late_compaction_leaves_nothing(machine: Machine) -> None:
    image = filled(machine).replica.image()
    ended(machine)
    before = dict(machine.store.objects)
    with pytest.raises(DatabaseDeleted):
        snapshots.publish(machine.store, DATABASE, image, 1)
    snapshots.keep(machine.store, DATABASE, image, EVERY, 1)
    assert machine.store.objects == before


def test_a_late_quarantine_leaves_nothing(machine: Machine) -> None:
    slots = machine.slots()
    filled(machine)
    ended(machine)
    slots.quarantine.take(NEWEST, SECRET + b"?", "met before the end", "snapshot_refused")
    assert_gone(machine, machine.store, 15)


@pytest.mark.parametrize("failure", list(Failure), ids=lambda one: one.value.replace(" ", "-"))
def test_killed_at_every_step(machine: Machine, failure: Failure) -> None:
    filled(machine)
    whole, ends, opened = machine.store, 0, []

    def run(store: FailingStore) -> None:
        assert ended(machine, store) == 15

    for store, died in at_every_request(whole, failure, run):
        assert died == failure.value.startswith("dies")
        newest, oldest = store.objects[NEWEST].body, store.objects[slot_key(DATABASE, 1)].body
        said = read_tombstone(newest, database=DATABASE, version=0)
        assert said == 15 or read_tombstone(oldest, database=DATABASE, version=1) is None  # the first to go
        try:
            # Not ended yet: then it is as it was, and goes on.
            opened.append(machine.ok(machine.open(store), add_clip("between")).version)
        except DatabaseDeleted as error:
            opened.append(-error.version)
        version = ended(machine, store)
        assert version == (15 if opened[-1] < 0 else 16)
        assert_gone(machine, store, version)
        ends += 1
    assert ends >= 10  # looking, ending, wiping slots, snapshots and copies, and saying so between
    if failure.value.startswith("dies"):
        assert set(opened) == {15, -15} and opened == sorted(opened, reverse=True)


@pytest.mark.parametrize("lands", [True, False])
def test_an_undecided_end(machine: Machine, lands: bool) -> None:
    """While it is not known whether the database has ended, nothing of it is wiped."""
    filled(machine)
    before = dict(machine.store.objects)
    with pytest.raises(Fault) as caught:
        ended(machine, Unanswered(machine.store, lands), seconds=0.3)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "delete_unfinished")
    assert before.items() <= machine.store.objects.items() and len(machine.store.objects) - len(before) == lands
    assert ended(machine) == 15
    assert_gone(machine, machine.store, 15)


def test_an_end_that_is_refused(machine: Machine) -> None:
    """The store refuses us at once, with all the time left: still not known, and nothing is wiped."""
    filled(machine)

    class Refusing(FailingStore):
        def create(self, key: str, body: Body, timeout_s: float) -> bool:
            raise Hopeless("403")

    before = dict(machine.store.objects)
    with pytest.raises(Fault) as caught:
        ended(machine, Refusing(machine.store, -1, Failure.UNCLEAR_BEFORE))
    assert caught.value.reason == "delete_unfinished" and machine.store.objects == before


def test_it_goes_on_where_it_stopped(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "AT_ONCE", 2)
    filled(machine, 30)
    slots, now = machine.slots(), machine.clock.now_s
    end = deletion.end(slots, machine.clock, bytes(16), now() + 5)
    assert end == Ended(31)
    steps = 0
    for _ in range(30):
        seen = machine.store.head(NEWEST, 1)
        assert seen is not None
        wiped = snapshots.wiped_to(seen.metadata)
        machine.store.counts.clear()
        clock = _Passing(now(), 4)
        try:
            deletion.wipe(machine.slots(), clock, Ended(31, wiped), EVERY, clock.now + 1.5)  # type: ignore[arg-type]
        except Fault as fault:
            assert (fault.kind, fault.reason) == (Kind.UNAVAILABLE, "delete_unfinished")
            steps += 1
            assert machine.store.counts["put"] <= 2 * 4 + 2  # not from the beginning each time
            continue
        break
    assert steps >= 3
    assert_gone(machine, machine.store, 31)


class _Passing:
    """A clock on which the time is up after so many looks."""

    def __init__(self, now: float, looks: int) -> None:
        self.now = now
        self._looks = looks

    def now_s(self) -> float:
        self._looks -= 1
        return self.now if self._looks >= 0 else self.now + 1.0


def test_a_store_that_is_away(machine: Machine) -> None:
    filled(machine)

    class Away(MemoryStore):
        def head(self, key: str, timeout_s: float) -> None:
            raise Undecided("503")

    with pytest.raises(Fault) as caught:
        ended(machine, Away(), seconds=0.1)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "delete_unfinished")
    assert caught.value.retry_after_s


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_database_can_be_deleted(machine: Machine, damage: bytes | None) -> None:
    filled(machine)
    for version in (14, 9):
        key = slot_key(DATABASE, version)
        if damage is None and version == 9:
            del machine.store.objects[key]
        elif damage is not None:
            machine.store.objects[key] = replace(machine.store.objects[key], body=damage)
    assert ended(machine) == 15
    assert_gone(machine, machine.store, 15)


def test_a_database_that_began_as_a_snapshot(machine: Machine) -> None:
    """Somebody brought a snapshot without the log before it: the end comes after what others may be at."""
    writer = filled(machine)
    snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    newest = machine.store.objects[NEWEST]
    machine.store.objects = {NEWEST: newest}
    brought = machine.open()
    assert brought.replica.version == 14
    assert ended(machine) == 15
    (answer,) = machine.commit(brought, add_clip("late"))
    assert isinstance(answer, Fault) and answer.reason == "database_deleted"
    machine.store.objects = {NEWEST: replace(newest, metadata={**newest.metadata, "reel-version": "9" * 18})}
    assert ended(machine) == 1


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "change",
    [
        lambda stone: stone[:-1],
        lambda stone: stone + b"\0",
        lambda stone: stone[:-40] + bytes(8) + stone[-32:],
        lambda stone: tombstone("user-2", 4, 15),
        lambda stone: tombstone(DATABASE, 5, 15),
        lambda stone: b"",
        lambda stone: stone[:8],
    ],
)
def test_what_is_no_tombstone(change: Change) -> None:
    stone = tombstone(DATABASE, 4, 15)
    assert read_tombstone(stone, database=DATABASE, version=4) == 15
    assert read_tombstone(change(stone), database=DATABASE, version=4) is None
