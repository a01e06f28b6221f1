"""The contract, call by call, over the real service and the embedded store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chassis import ids, rpc_faults
from chassis.faults import Fault, Kind
from dbsync import query
from dbsync.rpc import messages
from dbsync.slots import slot_key
from dbsync.transaction import KEY_KEPT_MS
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.dbsync.service import Client, client, in_process, sql, value
from tests.fakes.object_store import Fault as StoreFault
from tests.fakes.object_store import ObjectStore


@pytest.fixture
async def here(bucket: ObjectStore, tmp_path: Path, database: str) -> AsyncIterator[Client]:
    """A client of a service that runs in this process."""
    async with in_process(bucket, tmp_path / "cache") as port, client(port, database) as made:
        yield made


@pytest.fixture
async def founded(here: Client) -> Client:
    """The same, with a schema."""
    assert (await here.found()).version == 1
    return here


async def fault_of(awaited: object) -> Fault:
    """The fault that a call raises."""
    with pytest.raises(Fault) as caught:
        await awaited  # type: ignore[misc]
    return caught.value


async def test_an_empty_database(here: Client) -> None:
    head = await here.head()
    assert (head.version, head.schema_version, head.author) == (0, 0, "") and not head.HasField("committed")
    answer = await here.query(sql("SELECT 1"), schema_version=0)
    assert answer.version == 0
    fault = await fault_of(here.query(sql("SELECT * FROM clips"), schema_version=1))
    assert (fault.kind, fault.reason) == (Kind.PRECONDITION, "schema_mismatch")
    assert fault.metadata["expected"] == "1" and fault.metadata["actual"] == "0"


async def test_commit_query_head(founded: Client) -> None:
    answer = await founded.commit(
        sql("INSERT INTO clips VALUES (?, ?, ?) RETURNING *", "a", "first", 5), author="page-1", base_version=1
    )
    assert (answer.version, answer.base_version, answer.replayed) == (2, 2, False)
    assert list(answer.results[0].rows.columns) == ["id", "name", "rating"] and answer.results[0].changes == 1
    assert answer.timing.put_ms > 0 and answer.timing.run_ms > 0 and answer.timing.catch_up_ms == 0
    read = await founded.query(sql("SELECT id, rating, NULL, 2.5, x'00' FROM clips"), schema_version=1)
    assert read.version == 2 and read.schema_version == 1
    kinds = [one.WhichOneof("kind") for one in read.results[0].rows[0].values]
    assert kinds == ["text", "integer", "null", "real", "blob"]
    head = await founded.head()
    assert (head.version, head.author) == (2, "page-1") and head.committed.seconds > 1_700_000_000


async def test_local_reads_ask_nothing(founded: Client, bucket: ObjectStore) -> None:
    await founded.commit(sql("INSERT INTO clips VALUES ('a', 'x', 1)"))
    number = bucket.faults.add(StoreFault(status=503, key_prefix=founded.database, count=None))
    try:
        assert await founded.rows("SELECT id FROM clips", min_version=2) == [("a",)]
        assert bucket.faults.struck(number) == 0
    finally:
        bucket.faults.remove(number)
    fault = await fault_of(founded.rows("SELECT 1", min_version=99))
    assert fault.reason == "invalid_argument"


async def test_many_rows_do_not_hold_up_the_loop(founded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read and packed in other threads than the loop's."""
    threads: dict[str, int] = {}

    def noted(module: object, name: str) -> None:
        work = getattr(module, name)

        def run(*arguments: object) -> object:
            threads[name] = threading.get_ident()
            return work(*arguments)

        monkeypatch.setattr(module, name, run)

    noted(query, "run")
    noted(messages, "_row_set")
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9000) SELECT n, n, n, 'x' FROM c"
    assert len(await founded.rows(many, min_version=1)) == 9000
    assert threads.keys() == {"run", "_row_set"} and threading.get_ident() not in threads.values()


async def test_conflict(founded: Client) -> None:
    await founded.commit(sql("INSERT INTO clips VALUES ('a', 'x', 1), ('b', 'y', 1)"), author="one", base_version=1)
    rename = "UPDATE clips SET name = ? WHERE id = ?"
    await founded.commit(sql(rename, "by one", "a"), author="one", base_version=2)
    other = await founded.commit(sql(rename, "by two", "b"), author="two", base_version=2)
    assert other.base_version == 2  # another row: never stale, and the base stays where it has read
    fault = await fault_of(founded.commit(sql(rename, "by two", "a"), author="two", base_version=2))
    assert (fault.kind, fault.reason) == (Kind.CONFLICT, "conflict")
    detail = rpc_faults.detail(fault, pb.ConflictDetail)
    assert detail is not None
    assert (detail.database, detail.base_version, detail.head_version) == (founded.database, 2, 4)
    assert [(row.row.table, row.row.key[0].text, row.version, row.author) for row in detail.rows] == [
        ("clips", "a", 3, "one")
    ]
    strict = await fault_of(
        founded.commit(sql(rename, "z", "b"), author="two", base_version=2, scope=pb.SCOPE_DATABASE)
    )
    assert strict.reason == "conflict"
    needs = pb.RowRef(table="clips", key=[value("a")])
    assert (
        await fault_of(founded.commit(sql(rename, "z", "b"), author="two", base_version=2, depends_on=[needs]))
    ).reason == "conflict"


async def test_a_key_is_used_once(founded: Client) -> None:
    key = ids.uuid7()
    add = sql("UPDATE totals SET n = n + 1 WHERE id = 1 RETURNING n")
    first = await founded.commit(add, idempotency_key=key)
    again = await founded.commit(add, idempotency_key=key)
    assert again.replayed and (again.version, again.results) == (first.version, first.results)
    mismatch = await fault_of(founded.commit(sql("SELECT 1"), idempotency_key=key))
    assert (mismatch.kind, mismatch.reason) == (Kind.PRECONDITION, "key_mismatch")
    old = ids.uuid7(KEY_KEPT_MS // 1000)
    assert (await fault_of(founded.commit(add, idempotency_key=old))).reason == "key_expired"
    for bad in ("", "x", "00000000-0000-4000-8000-000000000000"):
        assert (await fault_of(founded.commit(add, idempotency_key=bad))).reason == "invalid_argument"


async def test_a_group_of_callers(founded: Client, bucket: ObjectStore) -> None:
    number = bucket.faults.add(StoreFault(delay_s=0.05, method="PUT", key_prefix=founded.database, count=None))
    try:
        answers = await asyncio.gather(
            *(founded.commit(sql("UPDATE totals SET n = n + 1 WHERE id = 1"), author=f"page {n}") for n in range(40))
        )
    finally:
        bucket.faults.remove(number)
    versions = {answer.version for answer in answers}
    assert len(versions) < 10 and max(versions) == (await founded.head()).version
    assert await founded.rows("SELECT n FROM totals WHERE id = 1") == [(40,)]


async def test_an_unclear_answer_of_the_store_is_retried(founded: Client, bucket: ObjectStore) -> None:
    for fault in (
        StoreFault(status=429, method="PUT", key_prefix=founded.database),
        StoreFault(status=503, method="PUT", key_prefix=founded.database, count=2),
        StoreFault(drop=True, method="PUT", key_prefix=founded.database),
        StoreFault(stage="after", drop=True, method="PUT", key_prefix=founded.database),
        StoreFault(stage="after", status=500, method="PUT", key_prefix=founded.database),
        StoreFault(stage="commit", drop=True, delay_s=0.1, method="PUT", key_prefix=founded.database),
    ):
        number = bucket.faults.add(fault)
        before = (await founded.head()).version
        answer = await founded.commit(sql("UPDATE totals SET n = n + 1 WHERE id = 2"))
        assert answer.version == before + 1 and bucket.faults.struck(number) > 0
        bucket.faults.remove(number)
    assert await founded.rows("SELECT n FROM totals WHERE id = 2") == [(6,)]


async def test_a_store_that_is_away(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    settings = {"COMMIT_SECONDS": "0.6", "CATCH_UP_SECONDS": "0.6", "STORE_ATTEMPT_SECONDS": "0.3"}
    async with in_process(bucket, tmp_path / "cache", **settings) as port, client(port, database) as here:
        await here.found()
        number = bucket.faults.add(StoreFault(status=503, key_prefix=database, count=None))
        key = ids.uuid7()
        add = sql("UPDATE totals SET n = n + 1 WHERE id = 1")
        fault = await fault_of(here.commit(add, idempotency_key=key))
        assert (fault.kind, fault.reason) == (Kind.UNAVAILABLE, "outcome_unknown") and fault.retry_after_s
        assert (await fault_of(here.query(sql("SELECT 1")))).reason == "store_unavailable"
        assert await here.rows("SELECT n FROM totals WHERE id = 1", min_version=1) == [(0,)]
        bucket.faults.remove(number)
        assert (await here.commit(add, idempotency_key=key)).version == 2
        assert await here.rows("SELECT n FROM totals WHERE id = 1") == [(1,)]


async def test_a_damaged_log(founded: Client, bucket: ObjectStore) -> None:
    bucket.client().put_object(Bucket=bucket.bucket, Key=slot_key(founded.database, 2), Body=b"what is this")
    for call in (founded.commit(sql("DELETE FROM totals")), founded.query(sql("SELECT 1")), founded.head()):
        fault = await fault_of(call)
        assert (fault.kind, fault.reason) == (Kind.PRECONDITION, "database_corrupt")
    assert await founded.rows("SELECT count(*) FROM totals", min_version=1) == [(2,)]


async def test_who_may_call(founded: Client, bucket: ObjectStore, tmp_path: Path) -> None:
    port = int(founded.channel._address.rpartition(":")[2])
    async with client(port, "_jobs.local", "render") as render, client(port, "x", "gateway") as gateway:
        assert (await render.head()).version == 0
        assert (await gateway.on("_directory.local").head()).version == 0
        for caller, database in (
            (render, founded.database),
            (gateway, "_jobs.local"),
            (gateway, "_other"),
            (render, "_directory"),
        ):
            assert (await fault_of(caller.on(database).head())).reason == "not_owner"
        assert (await fault_of(gateway.head(tenant="y"))).reason == "wrong_tenant"


@pytest.mark.parametrize("database", ["a/b", "../up", "a..b", "x" * 200])
async def test_no_other_folder_can_be_named(here: Client, database: str) -> None:
    assert (await fault_of(here.on(database).head())).reason == "invalid_argument"


async def test_bounds_of_a_request(founded: Client) -> None:
    for call in (
        founded.commit(),
        founded.commit(*[sql("SELECT 1")] * 501),
        founded.commit(sql("SELECT 1"), author="x" * 129),
        founded.commit(sql("SELECT 1"), base_version=-1),
        founded.commit(sql("SELECT 1"), base_version=7),
        founded.commit(sql("SELECT 1"), schema_version=None),
        founded.commit(sql("SELECT 1"), schema_version=1, set_schema_version=1),
        founded.query(),
    ):
        assert (await fault_of(call)).reason == "invalid_argument"
    big = await fault_of(founded.query(sql("SELECT hex(zeroblob(1700000))")))
    assert (big.kind, big.reason) == (Kind.EXHAUSTED, "too_many_bytes")
    huge = await fault_of(founded.commit(sql("INSERT INTO clips VALUES ('a', ?, 1)", "x" * (5 << 20))))
    assert huge.kind is Kind.EXHAUSTED
