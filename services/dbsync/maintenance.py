"""What is done to the whole of one database: compaction, a file to download, restore and deletion.

Each may need as much disk, and some memory, as the database is large: few at a time run in one process.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from chassis import deadlines, tracing
from chassis.faults import Fault, not_found, unavailable
from dbsync import deletion, restore, snapshots
from dbsync.commit import Committer, Spent, outcome_unknown
from dbsync.conflicts import Conflict
from dbsync.local_copy import LocalCopy
from dbsync.log_format import COMMIT_ID_BYTES
from dbsync.replica import NotNext
from dbsync.restore import RestoreRequest, RestoreResult, Workshop
from dbsync.slots import Blob, Damaged, DatabaseDeleted, StoreUnavailable, Undecided
from dbsync.snapshots import Download
from dbsync.sqlguard import Broken

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 3


class Maintenance:
    """The long work on one database. Its methods belong to the event loop."""

    def __init__(
        self, copy: LocalCopy, whole: asyncio.Semaphore, spawn: Callable[[Coroutine[Any, Any, None], str], Any]
    ) -> None:
        """`whole` is held by what handles a whole database at once, in this process."""
        self._copy = copy
        self._slots = copy.slots
        self._parts = copy.parts
        self._bounds = copy.parts.bounds
        self._writers = copy.parts.pools.writers
        self._whole = whole
        self._spawn = spawn
        self._compacting = False
        self._running = 0
        self._done = 0  # the version of the newest snapshot that is known, or was tried
        self._kept = -1  # of which versions the newest snapshot is that is kept; -1: not known

    @property
    def busy(self) -> bool:
        """Whether something runs in the background."""
        return self._compacting or self._running > 0

    def compact_if_due(self) -> None:
        """Begins a compaction in the background when there are many entries since the last, or the last was no good."""
        opened = self._copy.opened
        if opened is None or self._compacting or opened.committer.replica.broken:
            return
        replica = opened.committer.replica
        since = replica.version - max(self._done, opened.snapshot_version)
        if since >= snapshots.compact_after(replica.page_count) or (opened.refused and not self._done):
            self._compacting = True
            self._spawn(self._compact(), f"compaction of {self._slots.database}")

    async def _compact(self) -> None:
        """Publishes a snapshot of now. A failure is tried again after the next commits."""
        try:
            async with self._whole:
                await self._publish()
        except (Undecided, Broken, OSError) as error:
            log.warning("compaction put off: %s", error, extra={"database": self._slots.database})
        except DatabaseDeleted as error:
            await self._copy.end(error)
        finally:
            self._compacting = False

    async def _publish(self) -> None:
        """Puts a snapshot of now into the store, unless a newer one is there. Undecided, Broken, DatabaseDeleted."""
        opened = self._copy.opened
        if opened is None:
            return
        image = await self._copy.run(self._writers, opened.committer.replica.image)
        self._done = image.version  # also when it fails: the next try comes as much later
        store, database, timeout_s = self._slots.store, self._slots.database, self._bounds.whole_s
        every = self._bounds.snapshot_every

        def publish() -> None:
            snapshots.publish(store, database, image, timeout_s, refused=opened.refused)
            before = self._kept if self._kept >= 0 else opened.snapshot_version // every
            if image.version // every > before:
                snapshots.keep(store, database, image, every, timeout_s)
            self._kept = image.version // every

        with tracing.span("compaction", attributes={"database": database, "version": image.version}):
            await self._copy.run(self._writers, publish)

    async def snapshot(self, name: str, lifetime_s: int) -> tuple[Download, Spent]:
        """Where the whole database can be fetched as a file of that name, no older than this call. Fault."""
        spent = Spent()
        found = await self._lasting(
            "snapshot", lambda until_s: self._snapshot(name, lifetime_s, until_s, spent), _snapshot_late
        )
        return found, spent

    async def restore(self, request: RestoreRequest) -> tuple[RestoreResult, Spent]:
        """Makes the content of an old version the newest; Fault or Conflict when it is not."""
        spent = Spent()
        done = await self._lasting("restore", lambda until_s: self._restore(request, until_s, spent), outcome_unknown)
        return done, spent

    async def delete(self) -> tuple[int, Spent]:
        """Ends the database for ever and wipes what it held; its last version. Fault when it is not done yet."""
        return await self._lasting("deletion", self._delete, deletion.unfinished), Spent()

    async def _snapshot(self, name: str, lifetime_s: int, until_s: float, spent: Spent) -> Download:
        key, store = snapshots.snapshot_key(self._slots.database), self._slots.store
        replica = await self._copy.caught_up(self._parts.clock.now_s(), spent)
        wanted = replica.version
        if wanted == 0:
            raise not_found("no_such_version", "The database is empty: nothing was ever written to it.")
        for _ in range(_TRIES):
            seen = await self._copy.run(self._writers, lambda: self._slots.ask(lambda s: store.head(key, s), until_s))
            if seen is not None and self._usable(seen, wanted):
                url, expires_ms = store.presign(key, name, lifetime_s)
                return Download(url, expires_ms, snapshots.version_of(seen.metadata), seen.size_bytes)
            try:
                async with self._whole:
                    await self._publish()
            except (Undecided, Broken, OSError) as error:
                log.warning("no snapshot yet: %s", error, extra={"database": self._slots.database})
        raise _snapshot_late()

    def _usable(self, seen: Blob, wanted: int) -> bool:
        """Whether the newest snapshot is new enough; DatabaseDeleted."""
        if (terminal := snapshots.deleted_by(seen.metadata)) > 0:
            raise DatabaseDeleted(terminal)
        opened = self._copy.opened
        refused = opened is not None and seen.etag == opened.refused
        return snapshots.version_of(seen.metadata) >= wanted and not refused

    async def _restore(self, request: RestoreRequest, until_s: float, spent: Spent) -> RestoreResult:
        clock = self._parts.clock
        workshop = Workshop(clock, self._parts.limits, self._parts.vfs, self._parts.new_folder)
        known = await self._alone(lambda committer: restore.begin(committer, request, until_s, spent))
        if known is not None:
            return known
        async with self._whole:
            built = await self._copy.run(
                self._writers, lambda: restore.prepare(self._slots, workshop, request, until_s, spent)
            )
            try:
                return await self._alone(
                    lambda committer: restore.finish(committer, built, request, clock, until_s, spent)
                )
            finally:
                await self._copy.run(self._writers, built.close)
                self.compact_if_due()

    async def _delete(self, until_s: float) -> int:
        identity, clock = secrets.token_bytes(COMMIT_ID_BYTES), self._parts.clock
        ended = await self._copy.run(self._writers, lambda: deletion.end(self._slots, clock, identity, until_s))
        await self._copy.end(DatabaseDeleted(ended.version))
        every = self._bounds.snapshot_every
        await self._copy.run(self._writers, lambda: deletion.wipe(self._slots, clock, ended, every, until_s))
        return ended.version

    async def _alone(self, call: Callable[[Committer], T]) -> T:
        """What the call makes of the open copy, with the database's lock."""
        copy, answers = self._copy, list[T]()

        async def work() -> None:
            for _ in range(_TRIES):
                await copy.reopen()
                committer = copy.committer()
                try:
                    answers.append(await copy.run(self._writers, lambda c=committer: call(c)))  # type: ignore[misc]
                    return
                except Broken as error:
                    copy.give_up(committer.replica, error)
                except (Fault, Conflict, StoreUnavailable, Damaged, NotNext, DatabaseDeleted):
                    raise
                except Exception as error:
                    # A bug, or memory ran out in the middle: in what state the copy is, nobody knows.
                    copy.give_up(committer.replica, error)
                    raise

        await copy.exclusive(work)
        if not answers:
            raise unavailable("store_unavailable", "The local copy of the database keeps breaking; try again.")
        return answers[0]

    async def _lasting(self, name: str, work: Callable[[float], Awaitable[T]], late: Callable[[], Fault]) -> T:
        """Runs the work to its end, even when the caller goes away; the fault is for one whose time ran out."""
        left_s = deadlines.budget_s(self._bounds.whole_s)
        until_s = self._parts.clock.now_s() + left_s
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        parent = tracing.carrier()

        async def run() -> None:
            try:
                with tracing.attached(parent), tracing.span(name, attributes={"database": self._slots.database}):
                    result = await work(until_s)
            except DatabaseDeleted as error:
                await self._copy.end(error)
                _fail(answer, self._copy.fault(error))
            except Exception as error:
                if not isinstance(error, Fault | Conflict | StoreUnavailable):
                    log.error("%s failed: %s", name, error, exc_info=error, extra={"database": self._slots.database})
                _fail(answer, self._copy.fault(error))
            else:
                if not answer.done():
                    answer.set_result(result)
            finally:
                self._running -= 1

        self._running += 1
        self._spawn(run(), f"{name} of {self._slots.database}")
        try:
            async with asyncio.timeout(left_s):
                return await answer
        except TimeoutError:
            raise late() from None


def _fail(answer: asyncio.Future[T], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _snapshot_late() -> Fault:
    return unavailable("store_unavailable", "The snapshot could not be put into the object store in time; try again.")
