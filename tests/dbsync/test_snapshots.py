"""Snapshots and cold opens."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from dbsync import snapshots
from dbsync.replica import Image
from dbsync.slots import Blob, slot_key
from tests.dbsync.world import DATABASE, Machine, add_clip

KEY = snapshots.snapshot_key(DATABASE)


def filled(machine: Machine, count: int) -> Image:
    """A database with so many versions; its image."""
    writer = machine.founded()
    for number in range(count - 1):
        machine.ok(writer, add_clip(f"{number}"))
    return writer.replica.image()


def test_a_cold_open_reads_the_snapshot_and_what_follows(machine: Machine) -> None:
    writer = machine.founded()
    for number in range(10):
        machine.ok(writer, add_clip(f"{number}"))
    assert snapshots.publish(machine.store, DATABASE, writer.replica.image(), 1)
    for number in range(10, 15):
        machine.ok(writer, add_clip(f"{number}"))
    machine.store.counts.clear()
    fresh = machine.open()
    assert machine.store.counts == {"get": 1 + 5, "list": 1}
    assert fresh.replica.version == 16 and fresh.replica.checksum == writer.replica.checksum
    assert machine.rows(fresh, "SELECT count(*) FROM clips") == [(15,)]
    assert machine.ok(fresh, add_clip("more", author="me", base_version=3)).version == 17


def test_the_snapshot_is_a_plain_file(machine: Machine, tmp_path: Path) -> None:
    snapshots.publish(machine.store, DATABASE, filled(machine, 5), 1)
    blob = machine.store.objects[KEY]
    file = tmp_path / "download.sqlite"
    file.write_bytes(blob.body)
    file.chmod(0o400)
    with sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True) as opened:
        assert opened.execute("SELECT count(*) FROM clips").fetchone() == (4,)
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert opened.execute("PRAGMA user_version").fetchone() == (1,)
    assert blob.metadata["reel-version"] == "5" and blob.metadata["reel-database"] == DATABASE
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("download.sqlite-")]


def _other_body(blob: Blob) -> Blob:
    return replace(blob, body=blob.body[:-1] + b"?")


def _with(**more: str) -> object:
    return lambda blob: replace(blob, metadata={**blob.metadata, **{f"reel-{k}": v for k, v in more.items()}})


@pytest.mark.parametrize(
    "damage",
    [
        _other_body,
        lambda blob: replace(blob, body=b""),
        lambda blob: replace(blob, metadata={}),
        _with(database="user-2"),
        _with(version="3"),
        _with(version="99"),
        _with(version="-1"),
        _with(checksum="0" * 16),
        _with(format="9"),
    ],
)
def test_a_bad_snapshot_is_ignored(machine: Machine, damage: object, caplog: pytest.LogCaptureFixture) -> None:
    snapshots.publish(machine.store, DATABASE, filled(machine, 5), 1)
    machine.store.objects[KEY] = damage(machine.store.objects[KEY])  # type: ignore[operator]
    with caplog.at_level(logging.CRITICAL):
        fresh = machine.open()
    assert fresh.replica.version == 5 and machine.rows(fresh, "SELECT count(*) FROM clips") == [(4,)]
    assert [record for record in caplog.records if getattr(record, "alarm", "") == "snapshot_refused"]


def test_two_compactions(machine: Machine) -> None:
    writer = machine.founded()
    older = writer.replica.image()
    machine.ok(writer, add_clip("a"))
    newer = writer.replica.image()

    class Slow(type(machine.store)):  # type: ignore[misc]
        """Between the look and the write, another process publishes."""

        def replace(self, *arguments: object) -> bool:
            snapshots.publish(machine.store, DATABASE, newer, 1)
            return bool(machine.store.replace(*arguments))  # type: ignore[arg-type]

    slow = Slow()
    slow.objects = machine.store.objects
    assert not snapshots.publish(slow, DATABASE, older, 1)
    assert machine.store.objects[KEY].metadata["reel-version"] == "2"
    assert not snapshots.publish(machine.store, DATABASE, older, 1)  # older than what is there
    assert not snapshots.publish(machine.store, DATABASE, newer, 1)
    assert machine.open().replica.version == 2


def test_a_snapshot_ahead_of_the_list(machine: Machine) -> None:
    image = filled(machine, 5)
    snapshots.publish(machine.store, DATABASE, image, 1)
    hidden = {key: machine.store.objects.pop(key) for key in (slot_key(DATABASE, 4), slot_key(DATABASE, 5))}
    fresh = machine.open()  # the list was read just before the last two versions
    machine.store.objects.update(hidden)
    assert fresh.replica.version == 5


def test_no_slot_is_ever_removed(machine: Machine) -> None:
    image = filled(machine, 40)
    snapshots.publish(machine.store, DATABASE, image, 1)
    assert sum(1 for key in machine.store.objects if key.startswith(f"{DATABASE}/db/")) == 40


def test_many_deltas(machine: Machine) -> None:
    filled(machine, 150)
    fresh = machine.open()
    assert fresh.replica.version == 150 and machine.rows(fresh, "SELECT count(*) FROM clips") == [(149,)]


def test_large_databases_are_compacted_less_often() -> None:
    assert [snapshots.compact_after(megabytes * 256) for megabytes in (0, 1, 10, 100)] == [32, 32, 40, 400]
