"""History and undo, call by call, over the real service and the embedded store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chassis import ids, rpc_faults
from chassis.faults import Fault, Kind
from dbsync.slots import slot_key
from dbsync.transaction import KEY_KEPT_MS
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.dbsync.service import Client, client, in_process, sql, value
from tests.dbsync.test_rpc import fault_of
from tests.fakes.object_store import Fault as StoreFault
from tests.fakes.object_store import ObjectStore

RENAME = "UPDATE clips SET name = ? WHERE id = ?"


@pytest.fixture
async def here(bucket: ObjectStore, tmp_path: Path, database: str) -> AsyncIterator[Client]:
    """A client of a service that runs in this process, and whose database has a schema and two clips."""
    async with in_process(bucket, tmp_path / "cache") as port, client(port, database) as made:
        await made.found()
        await made.commit(sql("INSERT INTO clips VALUES ('a', 'x', 1), ('b', 'y', 1)"), author="one", base_version=1)
        yield made


async def history(here: Client, **fields: Any) -> pb.HistoryResponse:
    """A page of the history; raises Fault."""
    request = pb.HistoryRequest(database=here.database, **fields)
    return await here._call(here.stub.History, request, "")  # type: ignore[no-any-return]


async def undo(here: Client, version: int, **fields: Any) -> pb.UndoResponse:
    """The undo of the last commit of a version; raises Fault."""
    if "commit_id" not in fields:
        page = await history(here, before_version=version + 1, page_size=1)
        fields["commit_id"] = page.versions[0].commits[-1].commit_id
    fields = {"idempotency_key": ids.uuid7(), "schema_version": 1, "author": "one", **fields}
    request = pb.UndoRequest(database=here.database, version=version, **fields)
    return await here._call(here.stub.Undo, request, "")  # type: ignore[no-any-return]


async def test_history(here: Client) -> None:
    await here.commit(sql(RENAME, "new", "a"), sql("DELETE FROM clips WHERE id = 'b'"), author="two", base_version=2)
    page = await history(here)
    assert (page.head_version, page.next_before_version) == (3, 0) and page.timing.catch_up_ms > 0
    assert [one.version for one in page.versions] == [3, 2, 1]
    newest = page.versions[0]
    assert newest.schema_version == 1 and abs(newest.committed.seconds - time.time()) < 3600
    (commit,) = newest.commits
    assert len(commit.commit_id) == 32 and commit.author == "two" and commit.kind == pb.COMMIT_KIND_WRITE
    assert commit.undoable and (commit.row_count, commit.undoes, commit.restores) == (2, "", 0)
    assert {(one.row.table, one.row.key[0].text, one.change) for one in commit.rows} == {
        ("clips", "a", pb.ROW_CHANGE_UPDATE),
        ("clips", "b", pb.ROW_CHANGE_DELETE),
    }
    assert page.versions[2].commits[0].kind == pb.COMMIT_KIND_MIGRATION and not page.versions[2].commits[0].undoable
    one = await history(here, row=pb.RowRef(table="Clips", key=[value("b")]))
    assert [version.version for version in one.versions] == [3, 2]
    older = await history(here, before_version=3, page_size=1)
    assert [version.version for version in older.versions] == [2] and older.next_before_version == 2


async def test_the_history_of_nothing(here: Client) -> None:
    async with client(int(here.channel._address.rpartition(":")[2]), f"t-{ids.uuid7()}") as other:
        page = await history(other)
        assert (list(page.versions), page.next_before_version, page.head_version) == ([], 0, 0)


async def test_the_history_is_as_new_as_the_call(here: Client, bucket: ObjectStore, tmp_path: Path) -> None:
    async with in_process(bucket, tmp_path / "elsewhere") as port, client(port, here.database) as there:
        assert (await history(there)).head_version == 2
        await here.commit(sql(RENAME, "new", "a"))
        assert (await history(there)).versions[0].version == 3
        await here.commit(sql(RENAME, "newer", "a"))
        assert [one.version for one in (await history(there, before_version=5)).versions] == [4, 3, 2, 1]


async def test_the_bounds_of_a_page(here: Client) -> None:
    for fields in ({"page_size": 101}, {"page_size": -1}, {"before_version": -1}):
        assert (await fault_of(history(here, **fields))).reason == "invalid_argument"


async def test_a_damaged_entry_is_listed(here: Client, bucket: ObjectStore) -> None:
    await here.commit(sql(RENAME, "new", "a"))
    bucket.client().put_object(Bucket=bucket.bucket, Key=slot_key(here.database, 2), Body=b"what is this")
    page = await history(here)
    assert [(one.version, len(one.commits)) for one in page.versions] == [(3, 1), (2, 0), (1, 1)]
    assert not page.versions[1].HasField("committed")
    fault = await fault_of(undo(here, 2, commit_id="0" * 32))
    assert (fault.kind, fault.reason) == (Kind.PRECONDITION, "version_gone")


async def test_undo(here: Client) -> None:
    await here.commit(sql(RENAME, "new", "a"), author="one", base_version=2)
    answer = await undo(here, 3, base_version=3)
    assert (answer.version, answer.base_version, answer.replayed) == (4, 4, False) and answer.timing.put_ms > 0
    assert await here.rows("SELECT name FROM clips WHERE id = 'a'") == [("x",)]
    page = await history(here, page_size=2)
    made, target = page.versions[0].commits[0], page.versions[1].commits[0]
    assert (made.commit_id, made.kind, made.undoes) == (answer.commit_id, pb.COMMIT_KIND_UNDO, target.commit_id)
    await undo(here, 4, commit_id=answer.commit_id)
    assert await here.rows("SELECT name FROM clips WHERE id = 'a'") == [("new",)]


async def test_an_undo_is_done_once(here: Client, bucket: ObjectStore) -> None:
    await here.commit(sql(RENAME, "new", "a"), author="one")
    key = ids.uuid7()
    number = bucket.faults.add(StoreFault(stage="after", drop=True, method="PUT", key_prefix=here.database))
    first = await undo(here, 3, idempotency_key=key)
    assert bucket.faults.struck(number) == 1
    again = await undo(here, 3, idempotency_key=key, author="reloaded")
    assert again.replayed and (again.version, again.commit_id) == (first.version, first.commit_id)
    assert (await here.head()).version == 4
    assert (await fault_of(undo(here, 2, idempotency_key=key))).reason == "key_mismatch"


async def test_an_undo_that_does_not_fit(here: Client) -> None:
    await here.commit(sql(RENAME, "new", "a"), author="one", base_version=2)
    await here.commit(sql(RENAME, "other", "a"), author="two", base_version=3)
    fault = await fault_of(undo(here, 3))
    assert (fault.kind, fault.reason) == (Kind.CONFLICT, "conflict")
    detail = rpc_faults.detail(fault, pb.ConflictDetail)
    assert detail is not None and (detail.base_version, detail.head_version) == (3, 4)
    assert [(one.row.table, one.row.key[0].text, one.version, one.author) for one in detail.rows] == [
        ("clips", "a", 4, "two")
    ]
    assert (await here.head()).version == 4
    await undo(here, 4, author="two")
    assert (await undo(here, 3)).version == 6


async def test_a_large_conflict_is_told(here: Client) -> None:
    rows = ", ".join(f"('{ids.uuid7()}', 'x', 1)" for _ in range(150))
    await here.commit(sql(f"INSERT INTO clips VALUES {rows}"), author="one")
    await here.commit(sql("UPDATE clips SET name = 'y'"), author="x" * 128)
    fault = await fault_of(undo(here, 3))
    assert (fault.kind, fault.reason) == (Kind.CONFLICT, "conflict")
    detail = rpc_faults.detail(fault, pb.ConflictDetail)
    assert detail is not None and len(detail.rows) > 15
    await here.commit(sql("INSERT INTO clips VALUES (hex(zeroblob(40000)), 'x', 1)"), author="one")
    await here.commit(sql("UPDATE clips SET name = 'z'"), author="two")
    fault = await fault_of(undo(here, 5))
    detail = rpc_faults.detail(fault, pb.ConflictDetail)
    assert fault.reason == "conflict" and detail is not None and not detail.rows  # too large to be named


async def test_what_is_never_undone(here: Client) -> None:
    fault = await fault_of(undo(here, 1))
    assert (fault.kind, fault.reason, fault.metadata["why"]) == (Kind.PRECONDITION, "not_undoable", "migration")
    await here.commit(sql(RENAME, "new", "a"))
    fault = await fault_of(undo(here, 3))
    assert fault.metadata["why"] == "system"
    for version, commit_id, reason in ((9, "0" * 32, "no_such_version"), (3, "0" * 32, "no_such_commit")):
        fault = await fault_of(undo(here, version, commit_id=commit_id))
        assert (fault.kind, fault.reason) == (Kind.NOT_FOUND, reason)


async def test_the_bounds_of_an_undo(here: Client) -> None:
    for fields in (
        {"commit_id": ""},
        {"commit_id": "G" * 32},
        {"idempotency_key": "x"},
        {"author": "x" * 129},
        {"base_version": 99},
        {"schema_version": -1},
    ):
        assert (await fault_of(undo(here, 2, **fields))).reason == "invalid_argument", fields
    old = ids.uuid7(KEY_KEPT_MS // 1000)
    assert (await fault_of(undo(here, 2, idempotency_key=old))).reason == "key_expired"
    assert (await fault_of(undo(here, 2, schema_version=0))).reason == "schema_newer"


async def test_the_systems_databases_are_never_turned_back(here: Client) -> None:
    async with client(int(here.channel._address.rpartition(":")[2]), "_directory.local") as directory:
        assert (await history(directory)).head_version >= 0
        assert (await fault_of(undo(directory, 1, commit_id="0" * 32))).reason == "invalid_argument"


async def test_the_past_of_a_deleted_database(here: Client, bucket: ObjectStore, tmp_path: Path) -> None:
    async with in_process(bucket, tmp_path / "elsewhere") as port, client(port, here.database) as there:
        assert (await history(there)).head_version == 2
        await here._call(here.stub.Delete, pb.DeleteRequest(database=here.database), "")
        for call in (
            history(there, before_version=3),
            undo(there, 2, commit_id="0" * 32),
            history(there),
            history(here),
        ):
            fault = await fault_of(call)
            assert (fault.kind, fault.reason) == (Kind.NOT_FOUND, "database_deleted")


async def test_undos_of_many_callers(here: Client) -> None:
    """Of all who undo the same commit, one does."""
    await here.commit(sql(RENAME, "new", "a"), author="one", base_version=2)
    answers = await asyncio.gather(*(undo(here, 3, author=f"page {n}") for n in range(8)), return_exceptions=True)
    faults = [one for one in answers if isinstance(one, Fault)]
    assert len(faults) == 7 and {fault.reason for fault in faults} == {"conflict"}
    assert await here.rows("SELECT name FROM clips WHERE id = 'a'") == [("x",)]
