"""The library's past over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.domain.actor import Stamp
from gateway.http import past_types, types
from gateway.http.problems import Refusal
from gateway.http.routes import Call, Reply, Route, redirect, reply
from gateway.ports import RowKey


async def get_history(call: Call[past_types.HistoryFilter]) -> Reply[past_types.History]:
    wanted = call.asked
    if (wanted.table is None) != (wanted.key is None):
        raise Refusal(400, "invalid_query", "A row is named by its table and its key, both.", field="key")
    row = RowKey(wanted.table, tuple(wanted.key.split(","))) if wanted.table and wanted.key else None
    found = await call.parts.archive.history(call.actor, wanted.before_version, wanted.page_size, row)
    # What was changed once is not what is there now: it vouches for nothing, and has no ETag.
    return reply(past_types.History, found, Stamp(found.version, None))


async def undo_commit(call: Call[past_types.UndoRequest]) -> Reply[past_types.Changed]:
    stamp = await call.parts.archive.undo(call.actor, call.asked.version, call.asked.commit_id)
    return Reply(past_types.Changed(stamp.version), stamp)


async def restore_version(call: Call[past_types.RestoreRequest]) -> Reply[past_types.Changed]:
    stamp = await call.parts.archive.restore(call.actor, call.asked.version)
    return Reply(past_types.Changed(stamp.version), stamp)


async def get_database(call: Call[types.Nothing]) -> Reply[None]:
    day = datetime.now(UTC).date().isoformat()
    url, version = await call.parts.archive.file_url(call.actor, f"reel-ballers-{day}.sqlite")
    return redirect(url, Stamp(version, None))


ROUTES = (
    Route("GET", "/api/history", get_history, "What was changed when, newest first", "history"),
    Route(
        "POST",
        "/api/undo",
        undo_commit,
        "Put back what one commit changed",
        "history",
        errors=(404, 409),
        versioned=True,
    ),
    Route(
        "POST",
        "/api/restore",
        restore_version,
        "Make the library what it was at a version",
        "history",
        errors=(404, 409),
        versioned=True,
    ),
    Route(
        "GET",
        "/api/database.sqlite",
        get_database,
        "The whole library as one SQLite file",
        "history",
        302,
        errors=(404,),
    ),
)
