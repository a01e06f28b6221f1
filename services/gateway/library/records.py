"""Rows as records with typed fields, and the few SQL words that every table uses."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

from gateway.ports import Rows, Scalar

# The time of a commit comes from the database: a parameter would make the repetition of a request another request.
NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


class Record:
    """One row by column name; a field that has another type than was asked for is a bug and raises TypeError."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Scalar]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """A text column."""
        value = self._fields[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}, not a text")
        return value

    def maybe_text(self, name: str) -> str | None:
        """A text column that may be NULL."""
        return None if self._fields[name] is None else self.text(name)

    def integer(self, name: str) -> int:
        """An integer column."""
        value = self._fields[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}, not an integer")
        return value

    def maybe_integer(self, name: str) -> int | None:
        """An integer column that may be NULL."""
        return None if self._fields[name] is None else self.integer(name)

    def number(self, name: str) -> float:
        """A real column."""
        value = self._fields[name]
        if not isinstance(value, int | float):
            raise TypeError(f"{name} is {value!r}, not a number")
        return float(value)

    def maybe_number(self, name: str) -> float | None:
        """A real column that may be NULL."""
        return None if self._fields[name] is None else self.number(name)

    def moment(self, name: str) -> datetime:
        """A column of Unix milliseconds as UTC."""
        return datetime.fromtimestamp(self.integer(name) / 1000, UTC)

    def maybe_moment(self, name: str) -> datetime | None:
        """A column of Unix milliseconds that may be NULL."""
        return None if self._fields[name] is None else self.moment(name)


def records(rows: Rows) -> list[Record]:
    """The rows of a result set."""
    return [Record(dict(zip(rows.columns, row, strict=True))) for row in rows.rows]


def column(value: object) -> Scalar:
    """A domain's value as a column holds it: lists as JSON, days as YYYY-MM-DD."""
    if isinstance(value, list | tuple):
        return json.dumps(list(value), ensure_ascii=False)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float) or value is None:
        return value
    raise TypeError(f"{value!r} is no column's value")


def marks(count: int) -> str:
    """`count` parameter marks for an IN list."""
    return ",".join("?" * count)
