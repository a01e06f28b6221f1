"""What live pages are told: new versions and the progress of exports. Hints only; everything can be read again.

A listener's hints are coalesced (the newest version, the newest state of each export), so that a slow page costs a
bounded amount.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from chassis import faults
from gateway.domain.exports import Export

log = logging.getLogger(__name__)

MAX_HINTS = 200


@dataclass(frozen=True)
class VersionHint:
    """A database has a new version, written by a page."""

    version: int
    author: str


@dataclass(frozen=True)
class ExportHint:
    """An export has changed."""

    export: Export


class Listener:
    """One live page's mailbox."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._version: VersionHint | None = None
        self._exports: dict[str, ExportHint] = {}
        self._waiting = asyncio.Event()
        self._told_version = 0
        self._told_sequences: dict[str, int] = {}

    def version(self, hint: VersionHint) -> None:
        """Keeps the hint unless a newer version was told already."""
        if hint.version > max(self._told_version, self._version.version if self._version else 0):
            self._version = hint
            self._waiting.set()

    def export(self, export: Export, *, again: bool = False) -> None:
        """Keeps the hint unless a later one of this export was told already."""
        told = self._told_sequences.get(export.id, -1)
        held = self._exports.get(export.id)
        floor = max(told, held.export.sequence if held else -1)
        if export.sequence < floor or (export.sequence == floor and not (again or export.terminal)):
            return
        if len(self._exports) < MAX_HINTS or export.id in self._exports:
            self._exports[export.id] = ExportHint(export)
            self._waiting.set()

    def knows(self, version: int, sequences: dict[str, int]) -> None:
        """What the page says it has seen."""
        self._told_version = max(self._told_version, version)
        for export_id, sequence in sequences.items():
            self._told_sequences[export_id] = sequence

    async def take(self, timeout_s: float) -> list[VersionHint | ExportHint]:
        """What there is to tell; empty when nothing came up within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._waiting.wait()
        except TimeoutError:
            return []
        self._waiting.clear()
        hints: list[VersionHint | ExportHint] = [*([self._version] if self._version else ()), *self._exports.values()]
        if self._version is not None:
            self._told_version = self._version.version
        for export_id, hint in self._exports.items():
            if len(self._told_sequences) >= MAX_HINTS and export_id not in self._told_sequences:
                self._told_sequences.pop(next(iter(self._told_sequences)))
            self._told_sequences[export_id] = hint.export.sequence
        self._version = None
        self._exports = {}
        return hints


class Hub:
    """Who listens, for which user."""

    def __init__(self, *, max_listeners: int, max_listeners_a_user: int) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._count = 0
        self._max = max_listeners
        self._max_a_user = max_listeners_a_user

    def join(self, user_id: str) -> Listener:
        """A new listener; raises EXHAUSTED `too_many_pages` beyond the bounds."""
        mine = self._listeners.get(user_id, [])
        if self._count >= self._max or len(mine) >= self._max_a_user:
            raise faults.exhausted("too_many_pages", "Too many pages are open at once; close some.")
        listener = Listener(user_id)
        self._listeners[user_id] = [*mine, listener]
        self._count += 1
        return listener

    def leave(self, listener: Listener) -> None:
        """Ends a listener."""
        mine = [other for other in self._listeners.get(listener.user_id, ()) if other is not listener]
        self._count -= len(self._listeners.get(listener.user_id, ())) - len(mine)
        if mine:
            self._listeners[listener.user_id] = mine
        else:
            self._listeners.pop(listener.user_id, None)

    def users(self) -> list[str]:
        """The users with a page open."""
        return list(self._listeners)

    def committed(self, database: str, version: int, author: str) -> None:
        """A commit of this gateway was acknowledged: for the operators' log and the user's pages."""
        log.info("Database synced to R2 for user: %s, version: %s", database, version)
        self.newer(database, version, author)

    def newer(self, user_id: str, version: int, author: str) -> None:
        """A user's database has this version."""
        for listener in self._listeners.get(user_id, ()):
            listener.version(VersionHint(version, author))

    def export(self, user_id: str, export: Export) -> None:
        """An export has changed."""
        for listener in self._listeners.get(user_id, ()):
            listener.export(export)
