"""Restore, snapshot and deletion over the wire: the real service, and the embedded store."""

from __future__ import annotations

import asyncio
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chassis import ids
from chassis.faults import Fault, Kind
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.dbsync.service import Client, client, in_process, sql
from tests.fakes.object_store import ObjectStore

NOTES = "ALTER TABLE clips ADD COLUMN note TEXT NOT NULL DEFAULT 'none'"


@pytest.fixture
async def here(bucket: ObjectStore, tmp_path: Path, database: str) -> AsyncIterator[Client]:
    """A client of a service that runs in this process, of a database with three clips in four versions."""
    async with in_process(bucket, tmp_path / "cache", SNAPSHOT_EVERY="10") as port, client(port, database) as made:
        await made.found()
        for number in range(3):
            await made.commit(sql("INSERT INTO clips VALUES (?, 'a clip', 1)", f"{number}"))
        yield made


async def call(here: Client, method: str, request: Any) -> Any:
    """One call of a method; Fault."""
    return await here._call(getattr(here.stub, method), request, "")


async def restored(here: Client, version: int, **fields: Any) -> pb.RestoreResponse:
    fields.setdefault("idempotency_key", ids.uuid7())
    fields.setdefault("schema_version", 1)
    found: pb.RestoreResponse = await call(
        here, "Restore", pb.RestoreRequest(database=here.database, version=version, **fields)
    )
    return found


async def snapshot(here: Client, **fields: Any) -> pb.SnapshotResponse:
    found: pb.SnapshotResponse = await call(here, "Snapshot", pb.SnapshotRequest(database=here.database, **fields))
    return found


async def reason_of(awaited: Any) -> tuple[Kind, str]:
    """Why a call is refused."""
    with pytest.raises(Fault) as caught:
        await awaited
    return caught.value.kind, caught.value.reason


def fetched(url: str) -> tuple[bytes, str]:
    """What a URL holds, and the name that it is to be saved under."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read(), answer.headers["Content-Disposition"]


async def test_restore(here: Client) -> None:
    key = ids.uuid7()
    answer = await restored(here, 2, author="page", base_version=4, idempotency_key=key)
    assert (answer.version, answer.replayed) == (5, False) and answer.timing.put_ms > 0 and answer.timing.run_ms > 0
    assert await here.rows("SELECT id FROM clips") == [("0",)]
    again = await restored(here, 2, author="page", base_version=4, idempotency_key=key)
    assert (again.version, again.replayed) == (5, True)
    history = await call(here, "History", pb.HistoryRequest(database=here.database))
    newest = history.versions[0].commits[0]
    assert (newest.kind, newest.restores, newest.undoable) == (pb.COMMIT_KIND_RESTORE, 2, False)
    assert await reason_of(here.commit(sql("DELETE FROM clips"), author="page", base_version=4)) == (
        Kind.CONFLICT,
        "conflict",
    )
    undo = pb.UndoRequest(
        database=here.database,
        schema_version=1,
        version=5,
        commit_id=newest.commit_id,
        idempotency_key=ids.uuid7(),
    )
    assert await reason_of(call(here, "Undo", undo)) == (Kind.PRECONDITION, "not_undoable")
    # What the restore took away comes back by restoring the version before it.
    assert (await restored(here, 4, base_version=5, author="page")).version == 6
    assert len(await here.rows("SELECT id FROM clips")) == 3


async def test_restore_over_a_migration(here: Client) -> None:
    await here.commit(sql(NOTES), schema_version=1, set_schema_version=2)
    await here.commit(sql("UPDATE clips SET note = 'mine'"), schema_version=2)
    step = pb.Migration(from_schema_version=1, to_schema_version=2, statements=[sql(NOTES)])
    answer = await restored(here, 3, schema_version=2, migrations=[step])
    assert answer.version == 7
    assert await here.rows("SELECT id, note FROM clips ORDER BY id", schema_version=2) == [("0", "none"), ("1", "none")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"version": 0}, (Kind.INVALID, "invalid_argument")),
        ({"version": -1}, (Kind.INVALID, "invalid_argument")),
        ({"version": 6}, (Kind.NOT_FOUND, "no_such_version")),
        ({"idempotency_key": "x"}, (Kind.INVALID, "invalid_argument")),
        ({"author": "x" * 129}, (Kind.INVALID, "invalid_argument")),
        ({"schema_version": 2}, (Kind.PRECONDITION, "schema_mismatch")),
        ({"schema_version": 0}, (Kind.PRECONDITION, "schema_newer")),
        ({"base_version": 1, "author": "other"}, (Kind.CONFLICT, "conflict")),
        ({"base_version": -1}, (Kind.INVALID, "invalid_argument")),
        (
            {"migrations": [pb.Migration(from_schema_version=1, to_schema_version=2)]},
            (Kind.INVALID, "invalid_argument"),
        ),
        (
            {"migrations": [pb.Migration(from_schema_version=2, to_schema_version=1, statements=[sql("SELECT 1")])]},
            (Kind.INVALID, "invalid_argument"),
        ),
        (
            {
                "migrations": [pb.Migration(from_schema_version=1, to_schema_version=2, statements=[sql("SELECT 1")])]
                * 2
            },
            (Kind.INVALID, "invalid_argument"),
        ),
    ],
    ids=str,
)
async def test_a_restore_that_is_refused(here: Client, fields: dict[str, Any], expected: tuple[Kind, str]) -> None:
    await here.commit(sql("INSERT INTO clips VALUES ('theirs', 'x', 1)"), author="page", base_version=4)
    assert await reason_of(restored(here, **{"version": 2, **fields})) == expected
    assert (await here.head()).version == 5


async def test_snapshot(here: Client, tmp_path: Path) -> None:
    answer = await snapshot(here)
    body, disposition = await asyncio.to_thread(fetched, answer.url)
    assert (answer.version, answer.size_bytes) == (4, len(body))
    assert disposition.startswith('attachment; filename="database.sqlite"')
    file = tmp_path / "download.sqlite"
    file.write_bytes(body)
    with sqlite3.connect(file) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert opened.execute("SELECT count(*) FROM clips").fetchone() == (3,)
    file.unlink()
    await here.commit(sql("DELETE FROM clips"))
    later = await snapshot(here, download_name="Ada's reel – 2.sqlite", lifetime_s=60)
    body, disposition = await asyncio.to_thread(fetched, later.url)
    assert later.version == 5
    plain, exact = "Ada_s reel _ 2.sqlite", "Ada%27s%20reel%20%E2%80%93%202.sqlite"
    assert disposition == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"
    assert "X-Amz-Expires=900" in answer.url and "X-Amz-Expires=60&" in later.url
    assert later.expires.seconds < answer.expires.seconds


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a/b", "..", "\\", "x" * 256, " ", "\u202eexe"])
async def test_a_name_for_a_header(here: Client, name: str) -> None:
    assert await reason_of(snapshot(here, download_name=name)) == (Kind.INVALID, "invalid_argument")


@pytest.mark.parametrize("lifetime_s", [-1, 3601])
async def test_a_lifetime(here: Client, lifetime_s: int) -> None:
    assert await reason_of(snapshot(here, lifetime_s=lifetime_s)) == (Kind.INVALID, "invalid_argument")


async def test_delete(here: Client, bucket: ObjectStore, tmp_path: Path) -> None:
    url = (await snapshot(here)).url
    request = pb.DeleteRequest(database=here.database)
    assert (await call(here, "Delete", request)).version == 5
    assert (await call(here, "Delete", request)).version == 5
    gone = (Kind.NOT_FOUND, "database_deleted")
    async with in_process(bucket, tmp_path / "other") as port, client(port, here.database) as other:
        for one in (here, other):
            assert await reason_of(one.rows("SELECT 1")) == gone
            assert await reason_of(one.found()) == gone
            assert await reason_of(one.head()) == gone
            assert await reason_of(restored(one, 2)) == gone
            assert await reason_of(snapshot(one)) == gone
            assert await reason_of(call(one, "History", pb.HistoryRequest(database=here.database))) == gone
        assert (await call(other, "Delete", request)).version == 5
    body, _ = await asyncio.to_thread(fetched, url)  # the URL that somebody still has shows nothing
    assert b"a clip" not in body and len(body) < 200


async def test_databases_of_the_system_stay(here: Client) -> None:
    system = here.on("_directory.test")
    await system.commit(sql("CREATE TABLE x (id INTEGER PRIMARY KEY)"), schema_version=0, set_schema_version=1)
    assert await reason_of(call(system, "Delete", pb.DeleteRequest(database=system.database))) == (
        Kind.INVALID,
        "invalid_argument",
    )
    assert await reason_of(restored(system, 1)) == (Kind.INVALID, "invalid_argument")
    assert (await system.head()).version >= 1
    assert (await snapshot(system)).version >= 1


async def test_two_services_restore_and_write(here: Client, bucket: ObjectStore, tmp_path: Path) -> None:
    """Two services over one bucket, each restoring while the other writes: one order, the same for both."""
    async with in_process(bucket, tmp_path / "other") as port, client(port, here.database) as other:
        acknowledged: list[int] = []

        async def writing(one: Client, name: str) -> None:
            for number in range(6):
                insert = sql("INSERT INTO clips VALUES (?, 'x', 1)", f"{name} {number}")
                acknowledged.append((await one.commit(insert)).version)

        async def restoring(one: Client) -> None:
            for version in (2, 3):
                answer = await restored(one, version)
                acknowledged.append(answer.version)

        await asyncio.gather(writing(here, "here"), writing(other, "other"), restoring(here), restoring(other))
        assert sorted(acknowledged)[0] == 5 and max(acknowledged) <= 4 + 16
        assert await here.rows("SELECT * FROM clips ORDER BY id") == await other.rows("SELECT * FROM clips ORDER BY id")
        assert (await here.head()).version == (await other.head()).version == max(acknowledged)
