"""A library's past: what changed when, undo of a commit, restore of a version, the whole file.

1. An undo or a restore is a commit of the page that asks: stale when others changed what it touches, repeated safely
   with its key (test_http_history.py).
2. A restore never takes away what the product itself made since: finished videos and uploads stay as they are now
   (test_http_history.py::test_a_restore_keeps_finished_videos).
"""

from __future__ import annotations

import re

from chassis import faults
from chassis.faults import Fault, Kind
from gateway.domain.actor import Actor, Stamp
from gateway.domain.history import History
from gateway.library import sync_time
from gateway.library.steps import missing
from gateway.library.store import Store
from gateway.ports import Archive as Port
from gateway.ports import Restore, RowKey, Undo

# What the system writes: an older row of these must not win over what happened.
PRESENT_TABLES = ("exports", "export_outputs", "video_media")
SNAPSHOT_LIFETIME_S = 900
_COMMIT_ID = re.compile(r"[0-9a-f]{32}")
_WHY = {
    "migration": "This was a change of the library's inner form, which cannot be undone.",
    "restore": "A restore is not undone: restore the version before it instead.",
    "system": "This was done by Reel Ballers itself, such as finishing a video; it cannot be undone.",
    "schema": "The library's inner form has changed since; this cannot be undone any more.",
}


class Archive:
    """The past of users' libraries."""

    def __init__(self, store: Store, port: Port) -> None:
        self._store = store
        self._port = port

    async def history(self, actor: Actor, before_version: int, page_size: int, row: RowKey | None) -> History:
        """A page of the past, newest first."""
        try:
            with sync_time.measured():
                return await self._port.history(
                    actor.user_id, before_version=before_version, page_size=page_size, row=row
                )
        except Fault as fault:
            raise await self._refusal(fault, actor) from fault

    async def undo(self, actor: Actor, version: int, commit_id: str) -> Stamp:
        """Puts back what one commit changed; `stale_session` when its rows hold something else by now."""
        if not _COMMIT_ID.fullmatch(commit_id):
            raise missing("commit")
        undo = Undo(
            database=actor.user_id,
            version=version,
            commit_id=commit_id,
            idempotency_key=actor.key,
            author=actor.client_id,
            schema_version=self._store.schema_version,
            base_version=actor.base_version,
        )
        try:
            done = await self._store.run(actor.user_id, lambda: self._port.undo(undo))
        except Fault as fault:
            raise await self._refusal(fault, actor) from fault
        if not done.replayed:
            self._store.announce(actor.user_id, done.version, actor.client_id)
        return Stamp(done.version, done.base_version or actor.base_version)

    async def restore(self, actor: Actor, version: int) -> Stamp:
        """Makes the library what it was at a version, as a new version; every page has to read again."""
        restore = Restore(
            database=actor.user_id,
            version=version,
            idempotency_key=actor.key,
            author=actor.client_id,
            schema_version=self._store.schema_version,
            base_version=actor.base_version,
            steps=self._store.schema_steps,
            present_tables=PRESENT_TABLES,
        )
        try:
            done = await self._store.run(actor.user_id, lambda: self._port.restore(restore))
        except Fault as fault:
            raise await self._refusal(fault, actor) from fault
        if not done.replayed:
            # Its own page has to read again as well: to the pages it is somebody else's.
            self._store.announce(actor.user_id, done.version, "")
        return Stamp(done.version, done.base_version)

    async def file_url(self, actor: Actor, name: str) -> tuple[str, int]:
        """Where the whole library can be downloaded as one SQLite file, and its version."""
        try:
            with sync_time.measured():
                return await self._port.snapshot_url(actor.user_id, download_name=name, lifetime_s=SNAPSHOT_LIFETIME_S)
        except Fault as fault:
            raise await self._refusal(fault, actor) from fault

    async def _refusal(self, fault: Fault, actor: Actor) -> Fault:
        if fault.reason == "not_undoable":
            why = fault.metadata.get("why", "")
            words = _WHY.get(why, "This change cannot be undone.")
            return Fault(Kind.PRECONDITION, "not_undoable", words, metadata={"what": why})
        if fault.reason == "no_such_version":
            return missing("version")
        if fault.reason == "no_such_commit":
            return missing("commit")
        if fault.reason == "version_gone":
            return faults.precondition("version_gone", "That version can no longer be read; choose another.")
        return await self._store.refusal(fault, actor.user_id, actor.base_version)
