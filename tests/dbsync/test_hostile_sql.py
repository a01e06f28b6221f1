"""SQL from a compromised caller: it reaches no file, no other database, and nothing of dbsync's own."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from chassis.faults import Fault
from dbsync.requests import QueryRequest
from dbsync.sqlguard import Limits
from tests.dbsync.world import DATABASE, Machine, add_clip, migration, request, sql

ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"

FORBIDDEN = [
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA query_only = OFF",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA temp_store_directory = '/tmp'",
    "SELECT * FROM pragma_journal_mode('delete')",
    "SELECT * FROM pragma_database_list",
    "ATTACH DATABASE '{path}' AS other",
    "ATTACH DATABASE ':memory:' AS other",
    "DETACH DATABASE main",
    "VACUUM",
    "VACUUM INTO '{path}'",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "END",
    "SAVEPOINT mine",
    "RELEASE member",
    "ROLLBACK TO member",
    "SELECT load_extension('{path}')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('{path}', 'x')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT * FROM _dbsync_keys",
    "SELECT * FROM _DBSYNC_state",
    "SELECT (SELECT version FROM _dbsync_state) FROM clips",
    "SELECT * FROM clips NATURAL JOIN main._dbsync_keys",
    "DELETE FROM _dbsync_keys",
    "UPDATE _dbsync_state SET version = 99",
    "INSERT INTO _dbsync_keys VALUES (x'00', x'00', 1, x'00')",
    "UPDATE sqlite_master SET sql = 'x'",
    "DELETE FROM sqlite_schema",
    "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (y)')",
    "CREATE TEMP TABLE mine (id INTEGER PRIMARY KEY)",
    "CREATE TABLE mine (id INTEGER PRIMARY KEY)",
    "CREATE TRIGGER mine AFTER INSERT ON clips BEGIN DELETE FROM _dbsync_keys; END",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON clips BEGIN SELECT 1; END",
    "CREATE VIEW mine AS SELECT * FROM _dbsync_keys",
    "DROP TABLE clips",
    "ALTER TABLE clips RENAME TO mine",
    "REINDEX",
    "ANALYZE",
    "SELECT * FROM dbstat",
    "SELECT * FROM temp.sqlite_master",
]


def refused(machine: Machine, text: str, *, query: bool) -> str:
    """The reason why a query or a commit is refused; empty when it is not."""
    committer = machine.open()
    try:
        if query:
            machine.query(committer, sql(text))
            return ""
        (answer,) = machine.commit(committer, request(sql(text)))
    except Fault as fault:
        return fault.reason
    return answer.reason if isinstance(answer, Fault) else ""


@pytest.mark.parametrize("text", FORBIDDEN)
def test_forbidden(machine: Machine, text: str, tmp_path: Path) -> None:
    machine.ok(machine.founded(), add_clip("a"))
    target = tmp_path / "reached"
    for query in (True, False):
        assert refused(machine, text.format(path=target), query=query) in ("sql_forbidden", "sql_error")
    (answer,) = machine.commit(machine.open(), migration(2, text.format(path=target)))
    if "CREATE TABLE mine" not in text and not text.startswith(
        ("DROP TABLE", "ALTER TABLE clips", "REINDEX", "SELECT * FROM temp.")
    ):
        assert isinstance(answer, Fault) and answer.reason in ("sql_forbidden", "sql_error"), repr(answer)
    assert not target.exists()
    fresh = machine.open()
    assert machine.rows(fresh, "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_master'") == [(0,)]


@pytest.mark.parametrize(
    "text", ["INSERT INTO clips VALUES ('b', 'b', 1)", "UPDATE clips SET rating = 1", "DELETE FROM clips"]
)
def test_a_query_only_reads(machine: Machine, text: str) -> None:
    machine.ok(machine.founded(), add_clip("a"))
    assert refused(machine, text, query=True) == "sql_forbidden"


def test_own_sql_is_not_reusable(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, migration(2, "CREATE TABLE more (id INTEGER PRIMARY KEY)"))
    machine.rows(writer, "SELECT 1")
    own = [
        "COMMIT",
        "ROLLBACK",
        "BEGIN IMMEDIATE",
        "SAVEPOINT member",
        "CREATE TABLE more (id INTEGER PRIMARY KEY)",
        "SELECT request, version, result FROM _dbsync_keys WHERE key = ?",
        "SELECT version, committed_ms, author FROM _dbsync_state",
        "PRAGMA user_version",
    ]
    for text in own:
        (answer,) = machine.commit(writer, request(sql(text, *([b""] * text.count("?"))), schema_version=2))
        assert isinstance(answer, Fault) and answer.reason == "sql_forbidden", text
        with pytest.raises(Fault, match="not allowed"):
            machine.query(writer, sql(text, *([b""] * text.count("?"))))
    assert machine.ok(writer, add_clip("a", schema_version=2)).version == 3


def test_describing_the_schema_is_allowed(machine: Machine) -> None:
    writer = machine.founded()
    for text in (
        "SELECT name FROM pragma_table_info('clips')",
        "PRAGMA table_info(clips)",
        "SELECT name FROM sqlite_master WHERE type = 'table'",
        "EXPLAIN QUERY PLAN SELECT * FROM clips",
    ):
        assert machine.query(writer, sql(text)).results[0].rows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{ENDLESS} SELECT count(*) FROM c", "too_many_steps"),
        (f"{ENDLESS} SELECT n FROM c", "too_many_rows"),
        (f"{ENDLESS} SELECT hex(zeroblob(20000)) FROM c", "too_many_bytes"),
        ("SELECT zeroblob(100000000)", "too_many_bytes"),
        ("SELECT randomblob(1 << 40)", "too_many_bytes"),
        ("SELECT printf('%.*c', 100000000, 'x')", "too_many_bytes"),
        ("SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(1000000)))", "too_many_bytes"),
        (f"{ENDLESS} SELECT group_concat(hex(zeroblob(100000))) FROM c", "too_many_steps"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "sql_error"),
        ("SELECT 1" + " UNION ALL SELECT 1" * 600, "sql_error"),
        ("SELECT '" + "x" * 200_000 + "'", "too_many_bytes"),
    ],
)
def test_bounds(tmp_path: Path, text: str, expected: str) -> None:
    machine = Machine(tmp_path, limits=Limits(steps=500_000, seconds=3600.0))  # each by its own bound, not by time
    try:
        machine.founded()
        for query in (True, False):
            assert refused(machine, text, query=query) == expected
    finally:
        machine.close()


def test_time_is_bounded(tmp_path: Path) -> None:
    machine = Machine(tmp_path, limits=Limits(steps=1 << 40, seconds=0.2))
    try:
        machine.founded()
        assert refused(machine, f"{ENDLESS} SELECT count(*) FROM c", query=True) == "too_many_steps"
    finally:
        machine.close()


def test_the_database_is_bounded(tmp_path: Path) -> None:
    machine = Machine(tmp_path, limits=Limits(database_bytes=1 << 20))
    try:
        writer = machine.founded()
        reasons = []
        for number in range(40):
            one = request(sql("INSERT INTO clips VALUES (?, ?, 1)", f"{number}", "x" * 50_000))
            (answer,) = machine.commit(writer, add_clip(f"small {number}"), one)[1:]
            reasons.append(answer.reason if isinstance(answer, Fault) else "")
        assert reasons[0] == "" and reasons[-1] == "database_full"
        assert machine.ok(writer, request(sql("DELETE FROM clips WHERE id NOT LIKE 'small%'"))).version
        assert machine.ok(writer, request(sql("INSERT INTO clips VALUES ('again', ?, 1)", "x" * 50_000))).version
        assert machine.open().replica.checksum == writer.replica.checksum
    finally:
        machine.close()


def test_memory_is_bounded(machine: Machine) -> None:
    before = apsw.hard_heap_limit(64 << 20)
    try:
        machine.founded()
        hoard = (
            "WITH RECURSIVE c(n, b) AS (SELECT 1, randomblob(3000000) UNION ALL SELECT n + 1, randomblob(3000000) "
            "FROM c WHERE n < 400) SELECT length(b) FROM c ORDER BY b"
        )
        assert refused(machine, hoard, query=True) == "too_many_bytes"
        assert refused(machine, hoard, query=False) == "too_many_bytes"
        assert machine.ok(machine.open(), add_clip("a")).version == 2
    finally:
        apsw.hard_heap_limit(before)


def test_another_database_is_out_of_reach(machine: Machine) -> None:
    machine.founded()
    other = machine.open(database="user-2")
    path = other.replica.writer()[0].filename
    for text in (f"ATTACH '{path}' AS o", f"ATTACH 'file:{path}?mode=ro' AS o", f"SELECT * FROM '{path}'.clips"):
        assert refused(machine, text, query=True) in ("sql_forbidden", "sql_error")


def test_many_readers_beside_a_writer(machine: Machine) -> None:
    writer = machine.founded()
    wrong: list[object] = []
    stop = threading.Event()

    def look() -> None:
        request = QueryRequest(DATABASE, (sql("SELECT count(*) FROM clips"), sql("SELECT max(rating) FROM clips")))
        while not stop.is_set():
            result = machine.query(writer, *request.statements)
            count = result.results[0].rows[0][0]
            if count != result.version - 1:
                wrong.append((count, result.version))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        machine.ok(writer, add_clip(f"{number}"))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
