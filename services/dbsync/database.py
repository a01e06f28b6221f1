"""One open database: its queue of commits, its reads, its compaction, and when to open it again.

Whoever holds the lock is the only one to use the committer. What holds it runs as a task of its own, so that a caller
who goes away does not leave a thread behind that still writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from chassis import deadlines, tracing
from chassis.faults import Fault, Kind, exhausted, invalid, unavailable
from dbsync import query, snapshots
from dbsync.cold_open import Opened, cold_open
from dbsync.commit import Spent, corrupt, outcome_unknown, store_unavailable
from dbsync.gate import GateVfs
from dbsync.replica import NotNext, Replica
from dbsync.requests import CommitRequest, CommitResult, Head, QueryRequest, QueryResult
from dbsync.slots import Clock, Damaged, Slots, Store, StoreUnavailable, Undecided
from dbsync.sqlguard import Broken, Limits
from dbsync.transaction import Answer

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 3


class Bounds(Protocol):
    """The bounds that concern one database."""

    @property
    def waiting_commits(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def commit_s(self) -> float: ...
    @property
    def catch_up_s(self) -> float: ...


@dataclass(frozen=True)
class Pools:
    """Threads: writers wait for the store, readers only for SQLite, so neither holds up the other."""

    writers: ThreadPoolExecutor
    readers: ThreadPoolExecutor
    fetchers: ThreadPoolExecutor


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
        store: Store,
        clock: Clock,
        vfs: GateVfs,
        new_folder: Callable[[], Path],
        pools: Pools,
        *,
        limits: Limits,
        bounds: Bounds,
        spawn: Callable[[Coroutine[Any, Any, None], str], Any],
    ) -> None:
        self.users = 0
        self._slots = slots
        self._store = store
        self._clock = clock
        self._vfs = vfs
        self._new_folder = new_folder
        self._pools = pools
        self._limits = limits
        self._bounds = bounds
        self._spawn = spawn
        self._lock = asyncio.Lock()
        self._opened: Opened | None = None
        self._confirmed_s = float("-inf")  # when the last request to the log began that found the copy at the head
        self._waiting: deque[_Waiting] = deque()
        self._working = False
        self._running: set[asyncio.Task[None]] = set()
        self._compacting = False
        self._closed = False
        self._snapshot_version = 0

    @property
    def idle(self) -> bool:
        """Whether nobody uses it now."""
        return not (self.users or self._working or self._compacting or self._lock.locked())

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
        return result, spent

    async def head(self) -> tuple[Head, Spent]:
        """The newest version."""
        spent = Spent()
        return await self._read(query.head, None, spent), spent

    async def close(self) -> None:
        """Lets the commit under way end and removes the copy; what comes later is refused."""
        self._closed = True
        async with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                await self._in(self._pools.writers, opened.committer.replica.close)

    async def _read(self, read: Callable[[Replica], T], min_version: int | None, spent: Spent) -> T:
        for _ in range(_TRIES):
            try:
                return await self._read_once(read, min_version, spent)
            except Broken:
                await self._exclusive(self._reopen)
        raise unavailable("store_unavailable", "The local copy of the database keeps breaking; try again.")

    async def _read_once(self, read: Callable[[Replica], T], min_version: int | None, spent: Spent) -> T:
        arrived_s = self._clock.now_s()
        replica = await self._replica(spent)
        if min_version is not None:
            if replica.version < min_version:
                replica = await self._caught_up(arrived_s, spent)
            if replica.version < min_version:
                raise invalid("invalid_argument", f"Version {min_version} is newer than the newest, {replica.version}.")
            try:
                return await self._run(replica, read, spent)
            except Fault as fault:
                if fault.reason != "schema_mismatch" or self._confirmed_s >= arrived_s:
                    raise
            # Another process may have migrated since: a refusal is only given by the head.
            return await self._run(await self._caught_up(arrived_s, spent), read, spent)
        if self._confirmed_s >= arrived_s:
            return await self._run(replica, read, spent)
        deadline_s = arrived_s + deadlines.remaining_s(self._bounds.catch_up_s)
        following = (
            replica.version + 1
        )  # looked at before the read begins: a free slot proves nothing about an older read
        probe = self._in(self._pools.fetchers, lambda: self._slots.read(following, deadline_s))
        run = self._run(replica, read, spent)
        try:
            moved, result = await asyncio.gather(probe, run, return_exceptions=True)
        finally:
            spent.catch_up_ms += max(0.0, (self._clock.now_s() - arrived_s) * 1000 - spent.run_ms - spent.catch_up_ms)
        if isinstance(moved, BaseException):
            raise self._fault(moved)
        if moved is not None:
            replica = await self._caught_up(arrived_s, spent)
            return await self._run(replica, read, spent)
        if isinstance(result, BaseException):
            raise result
        return result

    async def _run(self, replica: Replica, read: Callable[[Replica], T], spent: Spent) -> T:
        asked_s = self._clock.now_s()
        began_s = asked_s

        def timed() -> T:
            nonlocal began_s
            began_s = self._clock.now_s()
            return read(replica)

        try:
            return await self._in(self._pools.readers, timed)
        except Broken as error:
            self._give_up(replica, error)
            raise
        finally:
            spent.queue_ms += (began_s - asked_s) * 1000
            spent.run_ms += (self._clock.now_s() - began_s) * 1000

    async def _replica(self, spent: Spent) -> Replica:
        """The copy, opened first when it is not."""
        if self._opened is None:
            began_s = self._clock.now_s()
            await self._exclusive(self._ensure_open)
            spent.catch_up_ms += (self._clock.now_s() - began_s) * 1000
        if self._opened is None:
            raise unavailable("store_unavailable", "The database was closed meanwhile; try again.")
        return self._opened.committer.replica

    async def _caught_up(self, arrived_s: float, spent: Spent) -> Replica:
        """The copy, as new as the log was at `arrived_s` or later."""

        async def catch_up() -> None:
            await self._ensure_open()
            if self._confirmed_s < arrived_s and self._opened is not None:
                began_s = self._clock.now_s()
                committer = self._opened.committer
                await self._in(
                    self._pools.writers,
                    lambda: committer.catch_up(began_s + self._bounds.catch_up_s, Spent()),
                )
                self._confirmed_s = began_s

        began_s = self._clock.now_s()
        await self._exclusive(catch_up)
        spent.catch_up_ms += (self._clock.now_s() - began_s) * 1000
        return await self._replica(spent)

    async def _exclusive(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs the work with the lock, to its end even when the caller goes away."""

        async def alone() -> None:
            async with self._lock:
                await work()

        with deadlines.unbounded():
            task = asyncio.create_task(alone())
        self._running.add(task)
        task.add_done_callback(self._ran)
        try:
            await asyncio.shield(task)
        except (StoreUnavailable, Damaged, NotNext) as error:
            raise self._fault(error) from error

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("ended with %s", error, extra={"database": self._slots.database})  # its caller may be gone

    async def _ensure_open(self) -> None:
        if self._opened is not None:
            return
        if self._closed:
            raise unavailable("store_unavailable", "The service is ending; try again in a moment.")
        began_s = self._clock.now_s()
        self._opened = await self._in(
            self._pools.writers,
            lambda: cold_open(
                self._slots, self._clock, self._limits, self._vfs, self._new_folder, began_s + self._bounds.catch_up_s
            ),
        )
        self._confirmed_s = began_s
        self._snapshot_version = self._opened.snapshot_version
        self._compact_if_due()

    async def _reopen(self) -> None:
        """A fresh copy, unless somebody has made one already."""
        if self._opened is not None and self._opened.committer.replica.broken:
            opened, self._opened = self._opened, None
            await self._in(self._pools.writers, opened.committer.replica.close)
        await self._ensure_open()

    def _give_up(self, replica: Replica, error: Exception) -> None:
        log.error("the local copy broke: %s", error, extra={"database": self._slots.database})
        replica.give_up()

    async def _work(self) -> None:
        """The writer: takes what waits, group by group, until nothing waits."""
        try:
            while self._waiting:
                async with self._lock:
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
                log.error("commit failed: %s", error, exc_info=error, extra={"database": self._slots.database})
                fault = self._fault(error)
                answers = [fault if isinstance(fault, Fault) else outcome_unknown()] * len(group)
        for waiting, answer in zip(group, answers, strict=True):
            if not waiting.answer.done():
                mine = replace(spent, queue_ms=(began_s - waiting.arrived_s) * 1000)
                waiting.answer.set_result((answer, mine))
        self._compact_if_due()

    async def _commit(self, requests: list[CommitRequest], spent: Spent) -> list[Answer]:
        for _ in range(_TRIES):
            began_s = self._clock.now_s()
            if self._opened is None or self._opened.committer.replica.broken:
                await self._reopen()
                spent.catch_up_ms += (self._clock.now_s() - began_s) * 1000
            if self._opened is None:
                break
            committer = self._opened.committer
            try:
                return await self._in(
                    self._pools.writers,
                    lambda c=committer: c.commit(requests, self._clock.now_s() + self._bounds.commit_s, spent),  # type: ignore[misc]
                )
            except Broken as error:
                self._give_up(committer.replica, error)
                await self._reopen()
            except Exception as error:
                # A bug, or memory ran out in the middle: in what state the copy is, nobody knows.
                self._give_up(committer.replica, error)
                raise
        return [outcome_unknown()] * len(requests)

    def _compact_if_due(self) -> None:
        if self._opened is None or self._compacting:
            return
        replica = self._opened.committer.replica
        if replica.version - self._snapshot_version >= snapshots.compact_after(replica.page_count):
            self._compacting = True
            self._spawn(self._compact(), f"compaction of {self._slots.database}")

    async def _compact(self) -> None:
        """Publishes a snapshot of now. A failure is tried again after the next commits."""
        try:
            if self._opened is None:
                return
            image = await self._in(self._pools.writers, self._opened.committer.replica.image)
            self._snapshot_version = image.version  # also when it fails: the next try comes as much later
            with tracing.span("compaction", attributes={"database": self._slots.database, "version": image.version}):
                timeout_s = self._bounds.catch_up_s
                await self._in(
                    self._pools.writers,
                    lambda: snapshots.publish(self._store, self._slots.database, image, timeout_s),
                )
        except (Undecided, Broken) as error:
            log.warning("compaction put off: %s", error, extra={"database": self._slots.database})
        finally:
            self._compacting = False

    async def _in(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, call)

    def _fault(self, error: BaseException) -> BaseException:
        if isinstance(error, StoreUnavailable):
            return store_unavailable(error)
        if isinstance(error, Damaged | NotNext):
            return corrupt(self._slots.database, error)
        return error
