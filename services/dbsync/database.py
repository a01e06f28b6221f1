"""One open database: its queue of commits, its reads, and what is done to the whole of it.

The copy itself is local_copy.py's; compaction, snapshots, restore and deletion are maintenance.py's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from chassis import deadlines, tracing
from chassis.faults import Fault, Kind, exhausted, invalid, unavailable
from dbsync import past, query
from dbsync.cold_open import Opened
from dbsync.commit import Spent, outcome_unknown
from dbsync.local_copy import LocalCopy, Parts
from dbsync.maintenance import Maintenance
from dbsync.replica import Replica
from dbsync.requests import (
    CommitRequest,
    CommitResult,
    Head,
    HistoryPage,
    HistoryRequest,
    QueryRequest,
    QueryResult,
)
from dbsync.restore import RestoreRequest, RestoreResult
from dbsync.slots import DatabaseDeleted, Slots, StoreUnavailable
from dbsync.snapshots import Download
from dbsync.sqlguard import Broken
from dbsync.transaction import Answer

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 3


@dataclass
class _Waiting:
    request: CommitRequest
    answer: asyncio.Future[tuple[Answer, Spent]]
    arrived_s: float
    parent: dict[str, str]


class Database:
    """One database of this process."""

    def __init__(
        self,
        slots: Slots,
        parts: Parts,
        whole: asyncio.Semaphore,
        spawn: Callable[[Coroutine[Any, Any, None], str], Any],
    ) -> None:
        """`whole` is held by what handles a whole database at once, in this process."""
        self.users = 0
        self._clock = parts.clock
        self._bounds = parts.bounds
        self._pools = parts.pools
        self._spawn = spawn
        self._copy = LocalCopy(slots, parts)
        self._maintenance = Maintenance(self._copy, whole, spawn)
        self._waiting: deque[_Waiting] = deque()
        self._working = False

    @property
    def opened(self) -> Opened | None:
        """The copy, when there is one."""
        return self._copy.opened

    @property
    def idle(self) -> bool:
        """Whether nobody uses it now."""
        return not (self.users or self._working or self._maintenance.busy or self._copy.lock.locked())

    async def commit(self, request: CommitRequest) -> tuple[CommitResult, Spent]:
        """Makes the request durable; Fault or Conflict when it is not."""
        if len(self._waiting) >= self._bounds.waiting_commits:
            raise exhausted("busy", "Too many writes wait for this database; try again in a moment.")
        left_s = deadlines.budget_s(self._bounds.commit_s)
        future = asyncio.get_running_loop().create_future()
        waiting = _Waiting(request, future, self._clock.now_s(), tracing.carrier())
        self._waiting.append(waiting)
        if not self._working:
            self._working = True
            self._spawn(self._work(), f"commits of {request.database}")
        try:
            async with asyncio.timeout(left_s):
                answer, spent = await future
        except TimeoutError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                raise Fault(Kind.TIMEOUT, "deadline_exceeded", "The write was not begun in time; try again.") from None
            raise outcome_unknown() from None
        if isinstance(answer, CommitResult):
            return answer, spent
        raise answer

    async def query(self, request: QueryRequest) -> tuple[QueryResult, Spent]:
        """The rows, at a version that is no older than asked for."""
        spent = Spent()
        result = await self._read(lambda replica: query.run(replica, request), request.min_version, spent)
        self._maintenance.compact_if_due()
        return result, spent

    async def head(self) -> tuple[Head, Spent]:
        """The newest version."""
        spent = Spent()
        return await self._read(query.head, None, spent), spent

    async def history(self, request: HistoryRequest) -> tuple[HistoryPage, Spent]:
        """A page of the past: as new as this call when it asks for the newest."""
        copy, spent = self._copy, Spent()
        bound: int | None = request.before_version - 1
        if bound is not None and not 0 <= bound <= (await copy.replica(spent)).version:
            bound = None  # all of it, or more than this copy knows
        head = await self._read(query.head, bound, spent)
        began_s = self._clock.now_s()
        deadline_s = began_s + deadlines.remaining_s(self._bounds.catch_up_s)
        try:
            page = await copy.run(self._pools.writers, lambda: past.page(copy.slots, request, head, deadline_s))
        except DatabaseDeleted as error:
            await copy.end(error)
            raise copy.fault(error) from error
        except StoreUnavailable as error:
            raise copy.fault(error) from error
        spent.catch_up_ms += (self._clock.now_s() - began_s) * 1000
        return page, spent

    async def restore(self, request: RestoreRequest) -> tuple[RestoreResult, Spent]:
        """Makes the content of an old version the newest; Fault or Conflict when it is not."""
        return await self._maintenance.restore(request)

    async def snapshot(self, name: str, lifetime_s: int) -> tuple[Download, Spent]:
        """A URL of the whole database as a file of that name, no older than this call."""
        return await self._maintenance.snapshot(name, lifetime_s)

    async def delete(self) -> tuple[int, Spent]:
        """Ends the database for ever; its last version. UNAVAILABLE when it is not done yet."""
        return await self._maintenance.delete()

    async def close(self) -> None:
        """Lets the commit under way end and removes the copy; what comes later is refused."""
        await self._copy.close()

    async def _read(self, read: Callable[[Replica], T], min_version: int | None, spent: Spent) -> T:
        for _ in range(_TRIES):
            try:
                return await self._read_once(read, min_version, spent)
            except Broken:
                await self._copy.exclusive(self._copy.reopen)
        raise unavailable("store_unavailable", "The local copy of the database keeps breaking; try again.")

    async def _read_once(self, read: Callable[[Replica], T], min_version: int | None, spent: Spent) -> T:
        copy, arrived_s = self._copy, self._clock.now_s()
        replica = await copy.replica(spent)
        if min_version is not None:
            return await self._read_local(replica, read, min_version, arrived_s, spent)
        if copy.confirmed_s >= arrived_s:
            return await self._run(replica, read, spent)
        deadline_s = arrived_s + deadlines.remaining_s(self._bounds.catch_up_s)
        # Looked at before the read begins: a free slot proves nothing about an older read.
        following = replica.version + 1
        probe = copy.run(self._pools.fetchers, lambda: copy.slots.read(following, deadline_s))
        run = self._run(replica, read, spent)
        try:
            moved, result = await asyncio.gather(probe, run, return_exceptions=True)
        finally:
            spent.catch_up_ms += max(0.0, (self._clock.now_s() - arrived_s) * 1000 - spent.run_ms - spent.catch_up_ms)
        if isinstance(moved, BaseException) and not isinstance(moved, DatabaseDeleted):
            raise copy.fault(moved)
        if moved is not None:
            replica = await copy.caught_up(arrived_s, spent)
            return await self._run(replica, read, spent)
        if isinstance(result, BaseException):
            raise result
        return result

    async def _read_local(
        self, replica: Replica, read: Callable[[Replica], T], min_version: int, arrived_s: float, spent: Spent
    ) -> T:
        if replica.version < min_version:
            replica = await self._copy.caught_up(arrived_s, spent)
        if replica.version < min_version:
            raise invalid("invalid_argument", f"Version {min_version} is newer than the newest, {replica.version}.")
        try:
            return await self._run(replica, read, spent)
        except Fault as fault:
            if fault.reason != "schema_mismatch" or self._copy.confirmed_s >= arrived_s:
                raise
        # Another process may have migrated since: a refusal is only given by the head.
        return await self._run(await self._copy.caught_up(arrived_s, spent), read, spent)

    async def _run(self, replica: Replica, read: Callable[[Replica], T], spent: Spent) -> T:
        asked_s = self._clock.now_s()
        began_s = asked_s

        def timed() -> T:
            nonlocal began_s
            began_s = self._clock.now_s()
            return read(replica)

        try:
            return await self._copy.run(self._pools.readers, timed)
        except Broken as error:
            self._copy.give_up(replica, error)
            raise
        finally:
            spent.queue_ms += (began_s - asked_s) * 1000
            spent.run_ms += (self._clock.now_s() - began_s) * 1000

    async def _work(self) -> None:
        """The writer: takes what waits, group by group, until nothing waits."""
        try:
            while self._waiting:
                async with self._copy.lock:
                    group = self._next_group()
                    await self._answer(group)
        finally:
            self._working = False
            for waiting in self._waiting:
                if not waiting.answer.done():
                    waiting.answer.set_exception(outcome_unknown())
            self._waiting.clear()

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        while self._waiting and len(group) < self._bounds.group:
            # A migration runs alone: its foreign keys are off.
            if group and (self._waiting[0].request.migration or group[0].request.migration):
                break
            waiting = self._waiting.popleft()
            if not waiting.answer.cancelled():
                group.append(waiting)
        return group

    async def _answer(self, group: list[_Waiting]) -> None:
        if not group:
            return
        spent = Spent()
        began_s = self._clock.now_s()
        with tracing.attached(group[0].parent):  # the write's span belongs to the first caller's trace
            try:
                answers = await self._commit([waiting.request for waiting in group], spent)
            except Exception as error:
                fault = self._copy.fault(error)
                if not isinstance(fault, Fault):
                    log.error("commit failed: %s", error, exc_info=error, extra={"database": group[0].request.database})
                answers = [fault if isinstance(fault, Fault) else outcome_unknown()] * len(group)
        for waiting, answer in zip(group, answers, strict=True):
            if not waiting.answer.done():
                mine = replace(spent, queue_ms=(began_s - waiting.arrived_s) * 1000)
                waiting.answer.set_result((answer, mine))
        self._maintenance.compact_if_due()

    async def _commit(self, requests: list[CommitRequest], spent: Spent) -> list[Answer]:
        copy = self._copy
        for _ in range(_TRIES):
            began_s = self._clock.now_s()
            if copy.opened is None or copy.opened.committer.replica.broken:
                await copy.reopen()
                spent.catch_up_ms += (self._clock.now_s() - began_s) * 1000
            committer = copy.committer()
            try:
                answers: list[Answer] = await copy.run(
                    self._pools.writers,
                    lambda c=committer: c.commit(requests, self._clock.now_s() + self._bounds.commit_s, spent),  # type: ignore[misc]
                )
            except Broken as error:
                copy.give_up(committer.replica, error)
                await copy.reopen()
            except Exception as error:
                # A bug, or memory ran out in the middle: in what state the copy is, nobody knows.
                copy.give_up(committer.replica, error)
                raise
            else:
                if committer.gone is not None:
                    await copy.forget(committer.gone)
                return answers
        return [outcome_unknown()] * len(requests)
