"""The methods that concern a whole database: restore, snapshot, deletion."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from chassis.faults import invalid
from dbsync.conflicts import Conflict
from dbsync.databases import Databases
from dbsync.restore import Migration, RestoreRequest
from dbsync.rpc import messages
from dbsync.sqlguard import Limits
from reel.dbsync.v1 import dbsync_pb2 as pb

LIFETIME_S, LIFETIME_MAX_S = 900, 3600
NAME, NAME_MAX_BYTES = "database.sqlite", 255
MIGRATIONS_MAX = 200
PRESENT_TABLES_MAX = 100


async def restore(
    databases: Databases, limits: Limits, request: pb.RestoreRequest, author: str, key: Callable[[str], bytes]
) -> pb.RestoreResponse:
    """The content of an old version as a new one; the author is checked already, `key` checks the idempotency key."""
    asked = RestoreRequest(
        database=messages.database(request.database),
        version=messages.number(request, "version"),
        schema_version=messages.number(request, "schema_version"),
        idempotency_key=key(request.idempotency_key),
        migrations=_migrations(request, limits),
        base_version=messages.optional(request, "base_version"),
        author=author,
        present_tables=tuple(dict.fromkeys(request.present_tables)),
    )
    if len(asked.present_tables) > PRESENT_TABLES_MAX:
        raise invalid("invalid_argument", f"At most {PRESENT_TABLES_MAX} tables may keep their present rows.")
    if asked.version == 0:
        raise invalid("invalid_argument", "Version 0 is the empty database, which is not restored; name one above it.")
    try:
        async with databases.use(asked.database) as database:
            result, spent = await database.restore(asked)
    except Conflict as conflict:
        raise messages.stale(asked.database, conflict) from conflict
    return pb.RestoreResponse(version=result.version, replayed=result.replayed, timing=messages.timing(spent))


async def snapshot(databases: Databases, request: pb.SnapshotRequest) -> pb.SnapshotResponse:
    """Where the whole database can be fetched."""
    lifetime_s = messages.number(request, "lifetime_s") or LIFETIME_S
    if lifetime_s > LIFETIME_MAX_S:
        raise invalid("invalid_argument", f"A URL lives at most {LIFETIME_MAX_S} seconds.")
    async with databases.use(messages.database(request.database)) as database:
        found, spent = await database.snapshot(_name(request.download_name or NAME), lifetime_s)
    response = pb.SnapshotResponse(
        url=found.url, version=found.version, size_bytes=found.size_bytes, timing=messages.timing(spent)
    )
    response.expires.FromMilliseconds(found.expires_ms)
    return response


async def delete(databases: Databases, name: str) -> pb.DeleteResponse:
    """Ends a database for ever."""
    async with databases.use(name) as database:
        version, _ = await database.delete()
    return pb.DeleteResponse(version=version)


def _migrations(request: pb.RestoreRequest, limits: Limits) -> tuple[Migration, ...]:
    if len(request.migrations) > MIGRATIONS_MAX:
        raise invalid("invalid_argument", f"A restore comes with at most {MIGRATIONS_MAX} migrations.")
    found = tuple(
        Migration(
            from_schema_version=messages.number(one, "from_schema_version"),
            to_schema_version=messages.number(one, "to_schema_version"),
            statements=messages.statements(one.statements, limits.statements),
        )
        for one in request.migrations
    )
    if any(one.to_schema_version <= one.from_schema_version for one in found):
        raise invalid("invalid_argument", "A migration sets a schema version above the one that it begins from.")
    if len({one.from_schema_version for one in found}) < len(found):
        raise invalid("invalid_argument", "Two migrations begin from the same schema version.")
    return found


def _name(name: str) -> str:
    """The name that a download is saved under, which stands in a header of the store's answer."""
    unsafe = any(unicodedata.category(one)[0] == "C" or one in '/\\"' for one in name)
    if unsafe or not name.strip(" .") or len(name.encode("utf-8", "replace")) > NAME_MAX_BYTES:
        raise invalid(
            "invalid_argument",
            f"A download's name has at most {NAME_MAX_BYTES} bytes, and no slash, quote or control character.",
        )
    return name
