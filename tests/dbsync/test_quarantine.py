"""What is damaged: read again, alarmed about once, copied, and never applied."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from chassis.faults import Fault, Kind
from dbsync import snapshots
from dbsync.commit import Spent
from dbsync.log_format import encode
from dbsync.quarantine import COPIES_MAX, Quarantine, quarantine_key
from dbsync.slots import Blob, Damaged, Undecided, slot_key
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.restoring import entries
from tests.dbsync.world import DATABASE, Machine, add_clip

NEWEST = snapshots.snapshot_key(DATABASE)


def alarms(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The alarms raised so far, and about which objects."""
    return [(vars(record)["alarm"], vars(record)["key"]) for record in caplog.records if "alarm" in vars(record)]


def copies(store: MemoryStore) -> dict[str, bytes]:
    """What is in quarantine."""
    return {key: bytes(blob.body) for key, blob in store.objects.items() if "/quarantine/" in key}


def spoil(store: MemoryStore, key: str, damage: Callable[[bytes], bytes] = lambda body: body[:-1]) -> bytes:
    """Damages an object for good; its bytes then."""
    blob = store.objects[key]
    store.objects[key] = replace(blob, body=damage(bytes(blob.body)))
    return bytes(store.objects[key].body)


class Flawed(MemoryStore):
    """Spoils what it answers, so many times for each key."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.flaws: dict[str, int] = {}
        self._times = times

    def get(self, key: str, timeout_s: float) -> Blob | None:
        found = super().get(key, timeout_s)
        self.flaws.setdefault(key, self._times)
        if found is None or self.flaws[key] == 0:
            return found
        self.flaws[key] -= 1
        return replace(found, body=found.body[:-1] + b"?")


def test_an_alarm_is_raised_once(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[str] = []
    quarantine = Quarantine(DATABASE, lambda key, body: kept.append(key))
    for _ in range(3):
        quarantine.take(NEWEST, b"one", "it is bad", "snapshot_refused")
        quarantine.take(NEWEST, b"two", "it is worse", "snapshot_refused")
        quarantine.take(slot_key(DATABASE, 1), None, "it is missing", "database_corrupt")
    assert [key for _, key in alarms(caplog)] == [NEWEST, NEWEST, slot_key(DATABASE, 1)]
    assert all(record.levelno == logging.CRITICAL for record in caplog.records)
    assert len(kept) == 2 and kept[0].startswith(f"{DATABASE}/quarantine/database.sqlite.")


def test_copies_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[str] = []
    quarantine = Quarantine(DATABASE, lambda key, body: kept.append(key))
    for number in range(COPIES_MAX + 5):
        quarantine.take(slot_key(DATABASE, number + 1), b"%d" % number, "bad", "database_corrupt")
    assert len(kept) == COPIES_MAX and len(alarms(caplog)) == COPIES_MAX + 5


@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: b"", lambda body: b"foreign", bytes.swapcase])
def test_a_damaged_slot(machine: Machine, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture) -> None:
    writer, behind = machine.founded(), machine.open()
    for number in range(5):
        machine.ok(writer, add_clip(f"{number}"))
    bad = slot_key(DATABASE, 4)
    body = spoil(machine.store, bad, damage)
    for _ in range(3):
        # Nothing is applied from the damaged slot on: new copies do not open, an old one stays where it is.
        with pytest.raises(Damaged):
            machine.open()
        (answer,) = machine.commit(behind, add_clip("late"))
        assert isinstance(answer, Fault) and (answer.kind, answer.reason) == (Kind.PRECONDITION, "database_corrupt")
        assert behind.replica.version <= 3 and not behind.replica.broken
    assert machine.rows(behind, "SELECT count(*) FROM clips")  # what it has it can still read
    (copy,) = copies(machine.store).items()
    assert copy[1] == body and copy[0].startswith(f"{DATABASE}/quarantine/db-{bad[-10:]}.")
    assert set(alarms(caplog)) == {("database_corrupt", bad)}
    assert len(alarms(caplog)) == 4  # once for each process: `behind`, and the three that did not open
    # The copy at the head goes on, and once it has published a snapshot, so does everybody.
    assert machine.ok(writer, add_clip("more")).version == 7
    assert snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    assert machine.open().replica.version == 7
    assert len(alarms(caplog)) == 4


def test_an_entry_that_does_not_follow(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Whole in itself, and of another history: never applied, alarmed about and copied."""
    writer, behind = machine.founded(), machine.open()
    machine.ok(writer, add_clip("a"))
    machine.ok(writer, add_clip("b"))
    forged = encode(replace(entries(machine.store)[2], before=7))
    spoil(machine.store, slot_key(DATABASE, 3), lambda _: forged)
    for _ in range(2):
        (answer,) = machine.commit(behind, add_clip("late"))
        assert isinstance(answer, Fault) and answer.reason == "database_corrupt"
    assert alarms(caplog) == [("database_corrupt", slot_key(DATABASE, 3))]
    assert list(copies(machine.store).values()) == [forged]
    assert machine.rows(behind, "SELECT count(*) FROM clips") == [(1,)]


def test_a_missing_slot(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    writer = machine.founded()
    for number in range(4):
        machine.ok(writer, add_clip(f"{number}"))
    del machine.store.objects[slot_key(DATABASE, 3)]
    with pytest.raises(Damaged, match="missing"):
        machine.open()
    assert alarms(caplog) == [("database_corrupt", slot_key(DATABASE, 3))] and not copies(machine.store)


def test_below_a_good_snapshot_nothing_is_felt(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    writer = machine.founded()
    for number in range(5):
        machine.ok(writer, add_clip(f"{number}"))
    snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    machine.ok(writer, add_clip("after"))
    spoil(machine.store, slot_key(DATABASE, 4))
    fresh = machine.open()
    assert fresh.replica.version == 7 and machine.ok(fresh, add_clip("more")).version == 8
    assert not alarms(caplog) and not copies(machine.store)


def test_a_flaw_of_the_wire_is_no_damage(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Every object comes spoilt the first time: slots, the snapshot, and what won a slot before us."""
    machine.store = Flawed(times=0)
    writer, behind = machine.founded(), machine.open()
    for number in range(5):
        machine.ok(writer, add_clip(f"{number}"))
    snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    machine.ok(writer, add_clip("after"))
    machine.store._times = 1
    machine.store.flaws.clear()
    assert machine.open().replica.checksum == writer.replica.checksum
    machine.store.flaws.clear()
    assert machine.ok(behind, add_clip("from behind")).version == 8
    machine.store.flaws.clear()
    writer.catch_up(machine.clock.now_s() + 5, Spent())
    assert writer.replica.version == 8
    assert not alarms(caplog) and not copies(machine.store)


def test_what_stays_spoilt_is_damage(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    store = Flawed(times=9)
    store.objects = machine.store.objects
    with pytest.raises(Damaged):
        machine.open(store)
    assert [alarm for alarm, _ in alarms(caplog)] == ["database_corrupt"] and len(copies(store)) == 1


def test_a_store_that_refuses_the_copy(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    spoil(machine.store, slot_key(DATABASE, 2))

    class Full(MemoryStore):
        def replace(self, *arguments: object) -> bool:
            raise Undecided("507")

    store = Full()
    store.objects = machine.store.objects
    with pytest.raises(Damaged):
        machine.open(store)
    assert alarms(caplog) == [("database_corrupt", slot_key(DATABASE, 2))] and not copies(store)


def test_evidence_outlives_a_compaction(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A bad newest snapshot is copied before the next compaction writes over it, whatever version it claimed."""
    writer = machine.founded()
    for number in range(5):
        machine.ok(writer, add_clip(f"{number}"))
    snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    blob = machine.store.objects[NEWEST]
    machine.store.objects[NEWEST] = replace(
        blob, body=blob.body[:-1] + b"?", etag='"other"', metadata={**blob.metadata, "reel-version": "999"}
    )
    body = machine.store.objects[NEWEST].body
    opened = machine.open()
    assert opened.replica.version == 6
    digest = quarantine_key(DATABASE, NEWEST, "")
    assert list(copies(machine.store).values()) == [body] and next(iter(copies(machine.store))).startswith(digest)
    assert not snapshots.publish(machine.store, DATABASE, opened.replica.image(), 1)
    assert snapshots.publish(machine.store, DATABASE, opened.replica.image(), 1, refused='"other"')
    assert list(copies(machine.store).values()) == [body]
    assert machine.open().replica.version == 6 and len(alarms(caplog)) == 1


def test_older_snapshots_stand_in(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """With the newest snapshot bad, what is kept of older ones saves reading the log from its beginning."""
    writer = machine.founded()
    for number in range(40):
        machine.ok(writer, add_clip(f"{number}"))
        if writer.replica.version in (12, 25):
            snapshots.keep(machine.store, DATABASE, writer.replica.image(), 10, 1)
    snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    spoil(machine.store, NEWEST)
    asked: list[Sequence[str]] = []

    class Watched(MemoryStore):
        def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
            asked.append(keys)
            return super().get_many(keys, timeout_s)

    store = Watched()
    store.objects = machine.store.objects
    fresh = machine.open(store)
    assert fresh.replica.checksum == writer.replica.checksum
    assert [key for keys in asked for key in keys] == [slot_key(DATABASE, version) for version in range(26, 42)]
    assert alarms(caplog) == [("snapshot_refused", NEWEST)]
    assert machine.ok(fresh, add_clip("more")).version == 42


def test_a_snapshot_of_another_history(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot that is whole, but not of this log, does not keep the database from opening."""
    writer = machine.founded()
    machine.ok(writer, add_clip("ours"))
    machine.ok(writer, add_clip("ours too"))
    elsewhere = Machine(machine.folder / "elsewhere")
    stranger = elsewhere.founded()
    elsewhere.ok(stranger, add_clip("theirs"))
    snapshots.publish(machine.store, DATABASE, stranger.replica.image(), 1)
    elsewhere.close()
    fresh = machine.open()
    assert machine.rows(fresh, "SELECT id FROM clips ORDER BY id") == [("ours",), ("ours too",)]
    assert alarms(caplog) == [("snapshot_refused", NEWEST)] and len(copies(machine.store)) == 1
