"""What tests of restores begin with: requests, what a database holds, and a store in which others are faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chassis.faults import Fault
from dbsync import restore
from dbsync.cold_open import open_at
from dbsync.commit import Committer, Spent
from dbsync.log_format import Entry, decode
from dbsync.pages import Body
from dbsync.replica import Replica
from dbsync.restore import Migration, RestoreRequest, RestoreResult, Workshop
from dbsync.slots import slot_version
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.world import DATABASE, Machine, add_clip, key, rename_clip, sql

NOTES = ("ALTER TABLE clips ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",)
PLACES = ("CREATE TABLE places (id INTEGER PRIMARY KEY, name TEXT NOT NULL)", "INSERT INTO places VALUES (1, 'home')")


def step(version: int, *texts: str) -> Migration:
    """A migration that a restore may run."""
    return Migration(version - 1, version, tuple(sql(text) for text in texts))


KNOWN = (step(2, *NOTES), step(3, *PLACES))


def back_to(version: int, **fields: Any) -> RestoreRequest:
    """A request with a fresh key, for schema version 1."""
    fields.setdefault("idempotency_key", key())
    fields.setdefault("schema_version", 1)
    return RestoreRequest(DATABASE, version, **fields)


def workshop(machine: Machine) -> Workshop:
    """Where old versions are built."""
    return Workshop(machine.clock, machine.limits, machine.vfs, machine.new_folder)


def restored(machine: Machine, committer: Committer, asked: RestoreRequest, seconds: float = 5.0) -> RestoreResult:
    """What a restore answers; Fault, Conflict."""
    return restore.whole(committer, workshop(machine), asked, machine.clock.now_s() + seconds, Spent())


def refusal(machine: Machine, committer: Committer, asked: RestoreRequest) -> str:
    """The reason why a restore is refused; it changes nothing, here or in the log."""
    before, objects = committer.replica.checksum, dict(machine.store.objects)
    with pytest.raises(Fault) as caught:
        restored(machine, committer, asked)
    assert committer.replica.checksum == before and machine.store.objects == objects
    assert not committer.replica.broken and not committer.suspect
    return caught.value.reason


def content(replica: Replica) -> list[Any]:
    """Everything in the database that is its users'."""
    found: list[Any] = []
    with replica.reader() as (guard, _):
        schema = guard.own("SELECT type, name, sql FROM sqlite_master WHERE name NOT GLOB '_dbsync_*' ORDER BY name")
        found.extend(schema)
        for kind, name, _ in schema:
            if kind == "table":
                found.append((name, sorted(guard.own(f'SELECT * FROM "{name}"'), key=repr)))
        found.append(guard.own("PRAGMA user_version"))
    return found


def content_at(machine: Machine, version: int) -> list[Any]:
    """The same of an old version, straight from the log."""
    replica = open_at(
        machine.slots(), machine.limits, machine.vfs, machine.new_folder, version, machine.clock.now_s() + 5
    )
    try:
        return content(replica)
    finally:
        replica.close()


def entries(store: MemoryStore) -> list[Entry]:
    """The log, oldest first."""
    found = {slot_version(DATABASE, name): blob.body for name, blob in store.objects.items() if "/db/" in name}
    return [decode(found[version], database=DATABASE, version=version) for version in sorted(v for v in found if v)]


def grown(machine: Machine, clips: int = 12) -> Committer:
    """A database with a version for each clip; every third clip is renamed in a version of its own."""
    writer = machine.founded()
    for number in range(clips):
        machine.ok(writer, add_clip(f"{number}", author="page"))
        if number % 3 == 0:
            machine.ok(writer, rename_clip(f"{number}", "renamed", author="page"))
    return writer


class Raced(MemoryStore):
    """Before so many creations of a slot, another process commits."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Callable[[], object]] = []
        self._within = False

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        if self.before and "/db/" in key and not self._within:
            self._within = True
            self.before.pop()()
            self._within = False
        return super().create(key, body, timeout_s)
