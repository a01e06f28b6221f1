"""Broken variants of the protocol, each of which the judge of the simulation must catch.

Most were tried in earnest by somebody, and lost data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.faults import Fault, conflict
from dbsync import commit, conflicts, snapshots, transaction
from dbsync.commit import Committer, Spent
from dbsync.requests import CommitRequest
from dbsync.slots import Slots, Undecided, Verdict, slot_key
from dbsync.transaction import Answer, Member
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_record import MUTANT_FAILED
from tests.dbsync.sim_run import DATABASE, Parts
from tests.dbsync.sim_world import SimStore


class _Refused(Exception):
    """A mutant says: it failed."""


class _Committer(Committer):
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

    def send(self, key: str, body: bytes) -> bool:
        return self._store.create(key, body, 3.0)

    def free(self, key: str) -> bool:
        try:
            return self._store.get(key, 3.0) is None
        except Undecided:
            return False

    @property
    def raw(self) -> MemoryStore:
        assert isinstance(self._store, SimStore)
        return self._store._store


class ExistsIsRefused(_Slots):
    """412 is taken as a conflict, without comparing what is there with what was sent."""

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
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
    """A slot that is free after an unclear answer is taken as proof that the write failed."""

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
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

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
        try:
            if self.send(slot_key(self.database, version), body):
                return Verdict.WON, None
        except Undecided:
            raise _Refused from None
        return super().put(version, body, deadline_s)


class CheckThenPut(_Slots):
    """The slot is looked at, then written without a condition."""

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
        key = slot_key(self.database, version)
        if not self.free(key):
            return super().put(version, body, deadline_s)
        self._clock.sleep(0.02)
        self.raw._store(key, body, {})
        return Verdict.WON, None


class AcknowledgeFirst(_Slots):
    """The write is acknowledged and sent later."""

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
        key, raw = slot_key(self.database, version), self.raw
        assert isinstance(self._store, SimStore)
        self._store._world.later(0.5, lambda: raw.counts.update(late=raw.create(key, body, 1)))
        return Verdict.WON, None


class FloorCheck(_Slots):
    """With slots that are trimmed by deleting: after the write, look whether the slot is below the snapshot."""

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
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

    def put(self, version: int, body: bytes, deadline_s: float) -> tuple[Verdict, bytes | None]:
        verdict, taken = super().put(version, body, deadline_s)
        return (Verdict.WON, None) if verdict is Verdict.UNKNOWN else (verdict, taken)


def trim(store: MemoryStore, version: int) -> None:
    """Deletes the slots that a snapshot made useless."""
    for old in range(1, version + 1):
        store.objects.pop(slot_key(DATABASE, old), None)


def _everything_settled(member: Member) -> bool:
    return True


def _no_check(*_: object, **__: object) -> None:
    return None


def _base_is_version(past: object, *, base_version: int | None, version: int, author: str) -> int:
    return 0 if base_version is None else version


_OTHERS = conflicts.others


@dataclass(frozen=True)
class Mutant:
    """A broken variant, and a seed that catches it."""

    name: str
    parts: Parts
    seed: int


def _without_keys() -> Parts:
    return Parts(
        patches=(
            (transaction, "_FIND_KEY", "SELECT 1 WHERE ?1 IS NULL"),
            (transaction, "_ADD_KEY", "INSERT OR REPLACE INTO _dbsync_keys VALUES (?, ?, ?, ?)"),
        )
    )


MUTANTS = (
    Mutant("exists is refused", Parts(slots=ExistsIsRefused, committer=_Committer), 2),
    Mutant("free is failed", Parts(slots=FreeIsFailed, committer=_Committer), 7),
    Mutant("unclear is failed", Parts(slots=UnclearIsFailed, committer=_Committer), 1),
    Mutant("check, then put", Parts(slots=CheckThenPut), 5),
    Mutant("acknowledged first", Parts(slots=AcknowledgeFirst), 1),
    Mutant("unknown is won", Parts(slots=UnknownIsWon), 1),
    Mutant("slots are deleted", Parts(trim=trim), 1),
    Mutant("slots are deleted, with a floor", Parts(slots=FloorCheck, trim=trim), 1),
    Mutant("no table of keys", _without_keys(), 6),
    Mutant("reads from the copy", Parts(probe=False), 1),
    Mutant("refusals are not confirmed", Parts(patches=((commit, "_settled", _everything_settled),)), 1),
    Mutant("no conflicts", Parts(patches=((conflicts, "check", _no_check),)), 1),
    Mutant("own commits conflict", Parts(patches=((conflicts, "others", lambda p, b, a: _OTHERS(p, b, "")),)), 1),
    Mutant("the base always moves", Parts(patches=((conflicts, "next_base", _base_is_version),)), 1),
)
