"""The log of a simulation as the judge reads it: which sub-commits it holds in which order."""

from __future__ import annotations

from dataclasses import dataclass

from dbsync.log_format import Entry, read_tombstone
from dbsync.slots import slot_version
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_decode import decode
from tests.dbsync.sim_record import Row, expect


@dataclass(frozen=True)
class Step:
    """One sub-commit of the log."""

    version: int
    commit_id: bytes
    key: bytes
    author: str
    quiet: bool  # of the system, or a migration
    migration: bool
    rows: frozenset[Row]
    undoes: bytes
    restores: int
    terminal: bool


def read_log(store: MemoryStore, database: str, *, damaged: bool) -> list[Entry]:
    """The entries, oldest first, as they were won; Violation when one is missing, was won twice, or was overwritten.

    Only a tombstone may overwrite an entry, and only when the database was ended. A `damaged` one may have been ended
    above a slot that something else had.
    """
    found: dict[int, bytes] = {}
    stones: dict[int, int] = {}
    for key, blob in store.journal:
        version = slot_version(database, key)
        if version is None:
            continue
        ended = read_tombstone(blob.body, database=database, version=version)
        if ended is None:
            expect(version not in found and version not in stones, f"version {version} was won twice")
            found[version] = bytes(blob.body)
        else:
            stones[version] = ended
    entries = [decode(found[version], database=database, version=version) for version in sorted(found)]
    last = entries[-1]
    for version in range(1, last.version):
        squatted = damaged and last.terminal and version == last.version - 1
        expect(version in found or squatted, f"version {version} is missing")
    for version, ended in stones.items():
        expect(ended == last.version and last.terminal, f"version {version} has a tombstone, of {ended}")
        expect(version < ended, "a terminal entry was overwritten")
    return entries


def steps_of(entries: list[Entry]) -> list[Step]:
    """Their sub-commits, in order."""
    return [
        Step(
            version=entry.version,
            commit_id=sub.commit_id,
            key=sub.idempotency_key,
            author=sub.author,
            quiet=sub.system or sub.migration,
            migration=sub.migration,
            rows=frozenset((row.table.lower(), row.key[0]) for row in sub.rows),
            undoes=sub.undoes,
            restores=sub.restores,
            terminal=sub.terminal,
        )
        for entry in entries
        for sub in entry.subs
    ]
