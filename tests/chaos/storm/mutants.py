"""dbsync with one thing broken, as a process: `python -m tests.chaos.storm.mutants NAME`. The judge must catch each."""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Callable
from typing import Any

from dbsync import conflicts, database, transaction
from dbsync.ledger import S3Store
from dbsync.pages import Body
from dbsync.slots import Slots, Undecided, Verdict, slot_key

LATE_S = 0.4
_PUT = Slots.put


def acknowledges_first() -> None:
    """A commit is acknowledged, and written some time later."""

    def put(self: Slots, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        timer = threading.Timer(LATE_S, _PUT, (self, version, body, deadline_s + LATE_S))
        timer.daemon = True
        timer.start()
        return Verdict.WON, None

    Slots.put = put  # type: ignore[method-assign]


def overwrites() -> None:
    """A slot is written whatever is there: the last writer wins."""

    def create(self: S3Store, key: str, body: Body, timeout_s: float) -> bool:
        return self._put(key, body, {})

    S3Store.create = create  # type: ignore[method-assign]


def believes_it_won() -> None:
    """That something is in the slot is taken for its own success."""

    def put(self: Slots, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        try:
            self._store.create(slot_key(self.database, version), body, 1.0)
        except Undecided:
            return Verdict.UNKNOWN, None
        return Verdict.WON, None

    Slots.put = put  # type: ignore[method-assign]


def forgets_keys() -> None:
    """A retry is done again."""
    transaction._FIND_KEY = "SELECT 1, 1, 1 WHERE ?1 IS NULL"
    transaction._ADD_KEY = "INSERT OR REPLACE INTO _dbsync_keys VALUES (?, ?, ?, ?)"


def sees_no_conflicts() -> None:
    """Nobody is ever stale."""
    conflicts.check = lambda *_, **__: None


def reads_its_copy() -> None:
    """A linearizable read does not ask the log."""
    read: Any = database.Database._read_once

    async def _read_once(self: database.Database, *arguments: Any) -> Any:
        self._copy.confirmed_s = float("inf")
        return await read(self, *arguments)

    database.Database._read_once = _read_once  # type: ignore[method-assign,assignment]


MUTANTS: dict[str, Callable[[], None]] = {
    made.__name__: made
    for made in (
        acknowledges_first,
        overwrites,
        believes_it_won,
        forgets_keys,
        sees_no_conflicts,
        reads_its_copy,
    )
}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    runpy.run_module("dbsync", run_name="__main__", alter_sys=True)
