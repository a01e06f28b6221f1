"""How a commit becomes durable: the protocol between one database's copy and the log.

1. A commit is acknowledged only when its slot holds its bytes (test_chaos.py, every seed).
2. A slot lost to another writer rolls the transaction back; the requests run again on the new head, where their keys
   may be found, or their rows in conflict (test_commit.py::test_a_lost_slot_runs_again, ::test_lost_to_own_retry).
3. An undecided slot is UNKNOWN: rolled back, the copy suspect, the caller told to retry with the same key; a suspect
   copy asks the log before it does anything else (test_commit.py::test_unknown_is_suspect).
4. A refusal, and a commit that changed nothing, are answered only when the copy was the head after the request came
   (test_commit.py::test_a_refusal_is_confirmed).
5. What a member of a group changed, and what was refused because of it, is answered together with the group's slot
   (test_commit.py::test_a_group_shares_a_slot, ::test_a_group_in_doubt_is_in_doubt_together).
6. A commit that SQLite itself refuses was not tried, and is never answered as done
   (test_commit.py::test_a_full_disk_is_no_success).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from chassis.faults import Fault, not_found, precondition, unavailable
from dbsync import log_format, scratch, undo
from dbsync.conflicts import Earlier
from dbsync.gate import Refused
from dbsync.history import FETCH_AT_ONCE, History
from dbsync.log_format import Entry
from dbsync.pages import Body, Delta, Step
from dbsync.replica import NotNext, Replica
from dbsync.requests import CommitRequest, CommitResult
from dbsync.slots import Clock, Damaged, DatabaseDeleted, Slots, StoreUnavailable, Verdict
from dbsync.sqlguard import Broken, Limits, TransactionLost
from dbsync.transaction import Answer, Member, Transaction
from dbsync.undo import Targets


@dataclass
class Spent:
    """Where the milliseconds of one call went."""

    queue_ms: float = 0.0
    run_ms: float = 0.0
    put_ms: float = 0.0
    catch_up_ms: float = 0.0


@dataclass
class Round:
    """One try of a group: what each request's outcome would be, and how its slot was decided."""

    members: list[Member] = field(default_factory=list)
    verdict: Verdict | None = None  # None: nothing changed, and no slot was tried
    taken: Body | None = None  # what has the slot, when it was lost


class Committer:
    """One database in this process. Its methods block and are called by one thread at a time."""

    def __init__(self, replica: Replica, slots: Slots, clock: Clock, limits: Limits, history: History) -> None:
        self.replica = replica
        self._slots = slots
        self._clock = clock
        self._limits = limits
        self._history = history
        self.suspect = False
        self.gone: DatabaseDeleted | None = None  # what the log said when it was found to have ended

    @property
    def slots(self) -> Slots:
        """The log."""
        return self._slots

    def commit(self, requests: Sequence[CommitRequest], deadline_s: float, spent: Spent) -> list[Answer]:
        """Runs the requests as one group; an answer for each, in their order.

        `deadline_s` (monotonic) bounds the whole. Broken when the copy must be opened again: the answers are lost, and
        every request may be retried with its key.
        """
        if len(requests) > 1 and any(one.migration for one in requests):
            raise ValueError("a migration runs alone: its foreign keys are off")
        try:
            return self._commit(requests, deadline_s, spent)
        except StoreUnavailable as error:
            self.suspect = True
            return [store_unavailable(error)] * len(requests)
        except (Damaged, NotNext) as error:
            return [corrupt(error)] * len(requests)
        except DatabaseDeleted as error:
            self.gone = error
            return [deleted(error)] * len(requests)

    def _commit(self, requests: Sequence[CommitRequest], deadline_s: float, spent: Spent) -> list[Answer]:
        confirmed = False
        if self.suspect or any(one.seen > self.replica.version for one in requests):
            self.catch_up(deadline_s, spent)
            confirmed = True
        targets = undo.find_all(self._slots, [one.undo for one in requests], self.replica.version, deadline_s)
        while True:
            done = self._try(requests, targets, deadline_s, spent)
            if done.verdict is Verdict.WON:
                return [member.answer for member in done.members]
            if done.verdict is Verdict.UNKNOWN:
                self.suspect = True
                return _in_doubt(done.members, confirmed)
            if done.verdict is None and (confirmed or all(_settled(member) for member in done.members)):
                return [member.answer for member in done.members]
            before = self.replica.version
            self.catch_up(deadline_s, spent, done.taken)
            confirmed = True
            if done.verdict is None and self.replica.version == before:
                return [member.answer for member in done.members]
            if self._clock.now_s() >= deadline_s:
                raise StoreUnavailable("other writers kept winning until the time was up")

    def catch_up(self, deadline_s: float, spent: Spent, taken: Body | None = None) -> None:
        """Moves the copy to the head of the log; `taken` is what the next slot holds, when it is known.

        Damaged, NotNext, DatabaseDeleted, StoreUnavailable, Broken.
        """
        began = self._clock.now_s()
        try:
            if taken is not None:
                with suppress(Damaged):  # spoilt on its way, or really: it is read again
                    self.follow([self._slots.decode(self.replica.version + 1, taken)], deadline_s)
            window = 1
            while True:
                first = self.replica.version + 1
                found = self._slots.read_many(range(first, first + window), deadline_s)
                whole = found[: found.index(None)] if None in found else found
                self.follow([entry for entry in whole if entry is not None], deadline_s)
                if len(whole) < window:
                    break
                window = min(window * 2, FETCH_AT_ONCE)
            self.suspect = False
        finally:
            spent.catch_up_ms += (self._clock.now_s() - began) * 1000

    def follow(self, entries: Sequence[Entry], deadline_s: float) -> None:
        """Moves the copy through the next versions. NotNext, Broken."""
        try:
            self.replica.apply(entries)
        except NotNext as error:
            self._slots.refuse(error.version, str(error), deadline_s)
            raise
        for entry in entries:
            self._history.add(entry)

    def become(self, entry: Entry, delta: Delta, step: Step) -> None:
        """Moves the copy to the next version, durable now, whose pages are at hand. Broken."""
        self.replica.become(delta, step, entry.version, entry.schema_version)
        self._history.add(entry)

    def _try(self, requests: Sequence[CommitRequest], targets: Targets, deadline_s: float, spent: Spent) -> Round:
        began, put_before = self._clock.now_s(), spent.put_ms
        try:
            return self._try_once(requests, targets, deadline_s, spent)
        finally:
            self.replica.rollback()
            spent.run_ms += (self._clock.now_s() - began) * 1000 - (spent.put_ms - put_before)

    def _try_once(self, requests: Sequence[CommitRequest], targets: Targets, deadline_s: float, spent: Spent) -> Round:
        def past(base: int) -> list[Earlier]:
            return self.past(base, deadline_s)

        made = Round()
        while True:
            now_ms = self._clock.wall_ms()
            transaction = Transaction(self.replica, self._limits, self._slots.database, now_ms, past, targets)
            lost = self._run_all(transaction, requests, made)
            if lost is None:
                break
            self.replica.rollback()
        if not transaction.subs:
            return made
        transaction.close()
        sealed: list[Entry] = []

        def seal(delta: Delta, step: Step) -> bool:
            entry = transaction.entry(delta, step)
            sealed.append(entry)
            body = scratch.gathered(self.replica.folder, log_format.parts(entry))
            began = self._clock.now_s()
            made.verdict, made.taken = self._slots.put(transaction.version, body, deadline_s)
            spent.put_ms += (self._clock.now_s() - began) * 1000
            return made.verdict is Verdict.WON

        try:
            self.replica.commit(seal)
        except Refused as error:
            if made.verdict is None:
                raise Broken("SQLite refused the commit before the log was asked") from error
            return made
        self.replica.advanced(transaction.version, transaction.schema_version)
        self._history.add(sealed[-1])
        return made

    def _run_all(self, transaction: Transaction, requests: Sequence[CommitRequest], made: Round) -> int | None:
        """Runs what has not yet been given up; the index of a request that took the whole transaction with it."""
        doomed = {index: member for index, member in enumerate(made.members) if member.doomed}
        made.members = []
        for index, request in enumerate(requests):
            if index in doomed:
                made.members.append(doomed[index])
                continue
            try:
                made.members.append(transaction.run(request))
            except TransactionLost as error:
                made.members.append(Member(error.fault, doomed=True))
                made.members.extend(Member(error.fault) for _ in requests[index + 1 :])
                return index
        return None

    def past(self, base: int, deadline_s: float) -> list[Earlier]:
        """What the versions after `base` touched. Damaged, DatabaseDeleted, StoreUnavailable."""
        return self._history.since(base, self.replica.version, lambda versions: self._entries(versions, deadline_s))

    def _entries(self, versions: range, deadline_s: float) -> list[Entry]:
        found = self._slots.read_many(versions, deadline_s)
        if None in found:
            raise self._slots.missing(versions[found.index(None)])
        return [entry for entry in found if entry is not None]


def _settled(member: Member) -> bool:
    """Whether the answer holds whatever the head is: the stored result of a durable version."""
    return isinstance(member.answer, CommitResult) and member.answer.replayed and not member.changed


def _in_doubt(members: Sequence[Member], confirmed: bool) -> list[Answer]:
    """The answers of a group whose slot is not decided: what rests on a change of the group is unknown with it."""
    answers: list[Answer] = []
    resting = False
    for member in members:
        resting = resting or member.changed
        certain = _settled(member) or (confirmed and not resting)
        answers.append(member.answer if certain else outcome_unknown())
    return answers


def outcome_unknown() -> Fault:
    """Whether the commit took place is not known yet; it cannot happen twice under its key."""
    fault = unavailable(
        "outcome_unknown", "The store did not say whether the write took place; retry with the same idempotency key."
    )
    fault.retry_after_s = 1.0
    return fault


def store_unavailable(error: StoreUnavailable) -> Fault:
    """The store cannot be reached; nothing was changed by this try."""
    fault = unavailable("store_unavailable", f"The object store is out of reach: {error}. Try again.")
    fault.retry_after_s = 1.0
    return fault


def corrupt(error: Exception) -> Fault:
    """The log is damaged; slots.py has said it loudly, because a person must look."""
    return precondition("database_corrupt", f"The log of this database is damaged and was not applied: {error}.")


def deleted(error: DatabaseDeleted) -> Fault:
    """The database was ended, for ever."""
    return not_found("database_deleted", f"The database was deleted, by its version {error.version}.")
