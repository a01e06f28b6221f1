"""The job ledger's Database port over SQLite in memory: schema check, idempotency keys, and answers lost on request."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from chassis import faults
from render.ledger import Cells


class FakeDatabase:
    """One database that any number of ledgers share.

    `lose_answers` is how many of the next commits are done but not answered; `refuse` how many of the next calls are
    neither.
    """

    def __init__(self) -> None:
        self._sqlite = sqlite3.connect(":memory:", isolation_level=None)
        self._schema_version = 0
        self._answers: dict[str, list[list[list[Any]]]] = {}
        self.lose_answers = 0
        self.refuse = 0
        self.commits = 0

    async def query(self, schema_version: int, sql: str, parameters: Cells) -> list[list[Any]]:
        await self._call(schema_version)
        return [list(row) for row in self._sqlite.execute(sql, list(parameters))]

    async def commit(
        self, schema_version: int, statements: Sequence[tuple[str, Cells]], key: str
    ) -> list[list[list[Any]]]:
        await self._call(schema_version)
        if key not in self._answers:
            self._sqlite.execute("BEGIN")
            rows = [[list(row) for row in self._sqlite.execute(sql, list(cells))] for sql, cells in statements]
            self._sqlite.execute("COMMIT")
            self._answers[key] = rows
            self.commits += 1
        if self.lose_answers:
            self.lose_answers -= 1
            raise faults.unavailable("outcome_unknown", "The answer was lost.")
        return self._answers[key]

    async def migrate(self, schema_version: int, statements: Sequence[str], new_version: int) -> None:
        await self._call(schema_version)
        for statement in statements:
            self._sqlite.execute(statement)
        self._schema_version = new_version

    async def _call(self, schema_version: int) -> None:
        await asyncio.sleep(0)
        if self.refuse:
            self.refuse -= 1
            raise faults.unavailable("store_unavailable", "The store does not answer.")
        if schema_version != self._schema_version:
            actual = str(self._schema_version)
            raise faults.precondition("schema_mismatch", "Another schema.", expected=str(schema_version), actual=actual)

    async def recovered(self) -> None:
        """Waits until nothing more is to be lost or refused."""
        for _ in range(10_000):
            if not (self.lose_answers or self.refuse):
                return
            await asyncio.sleep(0.001)
        raise AssertionError("nobody asks any more")

    def close(self) -> None:
        """Forgets everything."""
        self._sqlite.close()
