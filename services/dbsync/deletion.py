"""The end of a database: a terminal version, and tombstones where everything was.

1. The database ends by winning a slot as any commit does: what won a slot before is ended with it, and nothing can win
   one after it (test_deletion.py::test_commits_race_with_a_deletion).
2. No slot is ever free again, and no key at which a late write could leave data: slots, the newest snapshot and those
   that are kept are overwritten, never removed (test_deletion.py::test_nothing_is_left, ::test_a_late_write_loses).
3. Stopped at any point, it goes on where it stopped; done twice, it is done
   (test_deletion.py::test_killed_at_every_step).

The newest snapshot is the first to go, so that whoever opens the database meets one request's answer, and says how far
the rest has got.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chassis.faults import Fault, unavailable
from dbsync import log_format, snapshots
from dbsync.log_format import KEY_BYTES, Entry, SubCommit, tombstone
from dbsync.pages import Packed
from dbsync.quarantine import quarantine_prefix
from dbsync.slots import SLOTS, Clock, Damaged, DatabaseDeleted, Slots, StoreUnavailable, Verdict, slot_key

AT_ONCE = 64  # tombstones
CLAIM_MAX = 1_000_000  # versions; a snapshot that claims to be further ahead of the log is not believed
RESERVE_S = 1.0  # of the time, to say how far it has got


@dataclass(frozen=True, slots=True)
class Ended:
    """The version that ended a database, and up to which version its slots are wiped; all is when they are the same."""

    version: int
    wiped: int = 0


def end(slots: Slots, clock: Clock, commit_id: bytes, deadline_s: float) -> Ended:
    """Ends the database, unless it has ended. Fault when that is not decided by the deadline."""
    try:
        return _ended(slots, clock, commit_id, deadline_s)
    except StoreUnavailable as error:
        raise unfinished() from error


def wipe(slots: Slots, clock: Clock, ended: Ended, every: int, deadline_s: float) -> None:
    """Wipes what is left of what an ended database held. Fault when it is not done by the deadline.

    `every` so many versions there may be a snapshot that is kept.
    """
    if ended.wiped >= ended.version:
        return
    try:
        _Wiping(slots, clock, ended.version, every, deadline_s).go_on(ended.wiped)
    except StoreUnavailable as error:
        raise unfinished() from error


def unfinished() -> Fault:
    """It is not done, or not known to be done; nothing is lost by asking again."""
    fault = unavailable("delete_unfinished", "The database is not wholly deleted yet; delete it again to go on.")
    fault.retry_after_s = 1.0
    return fault


def _ended(slots: Slots, clock: Clock, commit_id: bytes, deadline_s: float) -> Ended:
    key = snapshots.snapshot_key(slots.database)
    seen = slots.ask(lambda left: slots.store.head(key, left), deadline_s)
    found: Mapping[str, str] = {} if seen is None else seen.metadata
    if (terminal := snapshots.deleted_by(found)) > 0:
        return Ended(terminal, snapshots.wiped_to(found))
    head = slots.newest(deadline_s)
    claimed = snapshots.version_of(found)
    if head < claimed <= head + CLAIM_MAX:
        head = claimed  # a database may have begun as a snapshot, without the log before it
    newest: Entry | None = None
    try:
        if head > 0:
            newest = slots.read(head, deadline_s)
    except DatabaseDeleted as error:
        return Ended(error.version)
    except Damaged:
        newest = None  # it can be ended all the same
    return Ended(_win(slots, clock, commit_id, head, newest, deadline_s))


def _win(slots: Slots, clock: Clock, commit_id: bytes, head: int, newest: Entry | None, deadline_s: float) -> int:
    """Wins the slot after the newest version, whatever that is by then; the version of whoever ended the database."""
    while True:
        body = log_format.encode(_terminal(slots.database, head + 1, commit_id, newest, clock.wall_ms()))
        verdict, taken = slots.put(head + 1, body, deadline_s)
        if verdict is Verdict.WON:
            return head + 1
        if verdict is Verdict.UNKNOWN or clock.now_s() >= deadline_s:
            raise unfinished()
        head += 1
        try:
            newest = slots.decode(head, taken or b"")
        except DatabaseDeleted as error:
            return error.version
        except Damaged:
            newest = None


def _terminal(database: str, version: int, commit_id: bytes, newest: Entry | None, now_ms: int) -> Entry:
    checksum = 0 if newest is None else newest.after
    last = SubCommit(
        commit_id=commit_id,
        author="",
        idempotency_key=bytes(KEY_BYTES),
        system=False,
        migration=False,
        rows=(),
        changeset=b"",
        terminal=True,
    )
    return Entry(
        database=database,
        version=version,
        commit_id=commit_id,
        before=checksum,
        after=checksum,
        schema_version=0 if newest is None else newest.schema_version,
        committed_ms=now_ms,
        subs=(last,),
        pages=Packed(0, (), ()),
    )


class _Wiping:
    """Overwrites what a database held that `terminal` has ended."""

    def __init__(self, slots: Slots, clock: Clock, terminal: int, every: int, deadline_s: float) -> None:
        self._slots = slots
        self._clock = clock
        self._database = slots.database
        self._terminal = terminal
        self._every = every
        self._deadline_s = deadline_s

    def go_on(self, wiped: int) -> None:
        """Wipes the rest; Fault when the time is up, StoreUnavailable."""
        if wiped == 0:
            self._mark(0)
        while wiped < self._terminal - 1:
            if self._clock.now_s() >= self._deadline_s - RESERVE_S:
                self._mark(wiped)
                raise unfinished()
            last = min(wiped + AT_ONCE, self._terminal - 1)
            self._overwrite({slot_key(self._database, v): self._stone(v) for v in range(wiped + 1, last + 1)})
            wiped = last
        self._wipe_kept()
        self._remove(quarantine_prefix(self._database))
        self._mark(self._terminal)

    def _wipe_kept(self) -> None:
        """Every key that a snapshot of these versions may have, and every other that is found."""
        firsts = {snapshots.kept_key(self._database, v): v for v in range(0, self._terminal + 1, self._every)}
        keys, prefix, after = list(firsts), snapshots.kept_prefix(self._database), ""
        while found := self._ask_list(prefix, after):
            keys += [key for key in found if key not in firsts]
            after = found[-1]
        for at in range(0, len(keys), AT_ONCE):
            self._overwrite({key: self._stone(0) for key in keys[at : at + AT_ONCE]})

    def _remove(self, prefix: str) -> None:
        while keys := self._ask_list(prefix, ""):
            self._slots.ask(lambda left, keys=keys: self._slots.store.remove(keys, left), self._deadline_s)  # type: ignore[misc]

    def _mark(self, wiped: int) -> None:
        """Makes the newest snapshot a tombstone that says how far the rest is wiped."""
        found = {
            "reel-format": snapshots.FORMAT,
            "reel-database": self._database,
            "reel-version": str(SLOTS - 1),
            snapshots.DELETED: str(self._terminal),
            snapshots.WIPED: str(wiped),
        }
        self._overwrite({snapshots.snapshot_key(self._database): self._stone(0)}, found)

    def _stone(self, version: int) -> bytes:
        return tombstone(self._database, version, self._terminal)

    def _overwrite(self, objects: Mapping[str, bytes], metadata: Mapping[str, str] | None = None) -> None:
        self._slots.ask(lambda left: self._slots.store.overwrite(objects, metadata or {}, left), self._deadline_s)

    def _ask_list(self, prefix: str, after: str) -> list[str]:
        return self._slots.ask(lambda left: self._slots.store.list_keys(prefix, after, left), self._deadline_s)
