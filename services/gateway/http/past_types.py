"""The shapes of a library's past in requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.http.types import Moment

Version = Annotated[int, Meta(ge=1, le=999_999_999_999)]


class HistoryFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """A query: a page of the past, or what touched one row of it (a key of many columns has commas)."""

    before_version: Annotated[int, Meta(ge=0, le=999_999_999_999)] = 0
    page_size: Annotated[int, Meta(ge=1, le=100)] = 50
    table: Annotated[str, Meta(pattern="^[a-z_]{1,64}$")] | None = None
    key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class UndoRequest(Struct, frozen=True, forbid_unknown_fields=True):
    version: Version
    commit_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class RestoreRequest(Struct, frozen=True, forbid_unknown_fields=True):
    version: Version


class Changed(Struct, frozen=True):
    """The version that the library has now."""

    version: int


class PastRow(Struct, frozen=True):
    table: str
    key: list[str | int | float | None]
    change: Literal["inserted", "updated", "deleted"]


class PastCommit(Struct, frozen=True):
    id: str
    author: str
    kind: Literal["edit", "system", "schema", "undo", "restore"]
    rows: list[PastRow]
    row_count: int
    undoable: bool
    undoes: str | None
    restores: int | None


class PastVersion(Struct, frozen=True):
    version: int
    committed_at: Moment
    commits: list[PastCommit]


class History(Struct, frozen=True):
    version: int
    versions: list[PastVersion]
    next_before_version: int | None
