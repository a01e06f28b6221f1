"""Broken ways to win a slot, and to keep the log."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.faults import Fault, conflict
from dbsync import snapshots
from dbsync.commit import Committer, Spent
from dbsync.pages import Body
from dbsync.replica import Image
from dbsync.requests import CommitRequest
from dbsync.slots import Slots, Store, Undecided, Verdict, slot_key
from dbsync.transaction import Answer
from tests.dbsync.sim_judge import MUTANT_FAILED
from tests.dbsync.sim_store import SimStore


class _Refused(Exception):
    """A mutant says: it failed."""


class Telling(Committer):
    """Tells everybody in the group that it failed, when a mutant of the slots says so."""

    def commit(self, requests: Sequence[CommitRequest], deadline_s: float, spent: Spent) -> list[Answer]:
        try:
            return super().commit(requests, deadline_s, spent)
        except _Refused:
            self.suspect = True
            return [_failed()] * len(requests)


def _failed() -> Fault:
    return conflict(MUTANT_FAILED, "A mutant says that it failed.")


class _Slots(Slots):
    """The pieces that mutants of `put` are made of."""

    def send(self, key: str, body: Body) -> bool:
        return self._store.create(key, body, 3.0)

    def free(self, key: str) -> bool:
        try:
            return self._store.get(key, 3.0) is None
        except Undecided:
            return False

    @property
    def sim(self) -> SimStore:
        assert isinstance(self._store, SimStore)
        return self._store


class ExistsIsRefused(_Slots):
    """412 is taken as a conflict, without a look at whose commit it is."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        key = slot_key(self.database, version)
        while self._clock.now_s() < deadline_s:
            try:
                if self.send(key, body):
                    return Verdict.WON, None
                raise _Refused
            except Undecided:
                self._clock.sleep(0.1)
        return Verdict.UNKNOWN, None


class FreeIsFailed(_Slots):
    """A 404 after an unclear answer is taken as proof that the write failed."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        key = slot_key(self.database, version)
        try:
            if self.send(key, body):
                return Verdict.WON, None
        except Undecided:
            if self.free(key):
                raise _Refused from None
        return super().put(version, body, deadline_s)


class UnclearIsFailed(_Slots):
    """429, 5xx and timeouts are taken as failures."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        try:
            if self.send(slot_key(self.database, version), body):
                return Verdict.WON, None
        except Undecided:
            raise _Refused from None
        return super().put(version, body, deadline_s)


class CheckThenPut(_Slots):
    """The slot is looked at, then written without a condition."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        key = slot_key(self.database, version)
        if not self.free(key):
            return super().put(version, body, deadline_s)
        self._clock.sleep(0.02)
        self.sim.bucket.raw.overwrite({key: bytes(body)}, {}, 1)
        return Verdict.WON, None


class AcknowledgeFirst(_Slots):
    """The write is acknowledged and sent later."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        key, bucket = slot_key(self.database, version), self.sim.bucket
        self.sim.world.later(0.5, lambda: bucket.seen.update(late=bucket.raw.create(key, body, 1)))
        return Verdict.WON, None


class FloorCheck(_Slots):
    """With slots that are trimmed by deleting: after the write, look whether the slot is below the snapshot."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        verdict, taken = super().put(version, body, deadline_s)
        if verdict is Verdict.WON:
            try:
                seen = self._store.head(snapshots.snapshot_key(self.database), 3.0)
            except Undecided:
                return Verdict.UNKNOWN, None
            if seen is not None and snapshots.version_of(seen.metadata) >= version:
                return Verdict.UNKNOWN, None
        return verdict, taken


class UnknownIsWon(_Slots):
    """A write whose time is up is taken as done."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        verdict, taken = super().put(version, body, deadline_s)
        return (Verdict.WON, None) if verdict is Verdict.UNKNOWN else (verdict, taken)


class LostIsWon(_Slots):
    """Whatever has the slot, it is taken for the own commit."""

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        verdict, taken = super().put(version, body, deadline_s)
        return (Verdict.WON, None) if verdict is Verdict.LOST else (verdict, taken)


_PUBLISH = snapshots.publish


def publish_and_trim(store: Store, database: str, image: Image, timeout_s: float, *, refused: str = "") -> bool:
    """Deletes the slots that a snapshot made useless."""
    done = _PUBLISH(store, database, image, timeout_s, refused=refused)
    if done:
        assert isinstance(store, SimStore)
        for old in range(1, image.version + 1):
            store.bucket.raw.objects.pop(slot_key(database, old), None)
    return done


def publish_blindly(store: Store, database: str, image: Image, timeout_s: float, *, refused: str = "") -> bool:
    """Puts the snapshot whatever is there."""
    key = snapshots.snapshot_key(database)
    store.overwrite({key: bytes(image.body)}, snapshots.metadata(database, image), timeout_s)
    return True
