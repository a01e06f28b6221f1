"""One request inside a transaction: what it may do, what it leaves, what it is answered."""

from __future__ import annotations

import pytest

from chassis.faults import Fault
from dbsync.conflicts import Conflict
from dbsync.requests import CommitResult, RowKey
from dbsync.transaction import KEY_DROPPED_MS
from tests.dbsync.world import SCHEMA, Machine, add_clip, clip_row, key, migration, rename_clip, request, sql


def reason(machine: Machine, one: object, database: str = "") -> str:
    """Why a commit is refused."""
    committer = machine.open()
    (answer,) = machine.commit(committer, one)  # type: ignore[arg-type]
    assert isinstance(answer, Fault), repr(answer)
    return answer.reason


def test_results(machine: Machine) -> None:
    writer = machine.founded()
    answer = machine.ok(
        writer,
        request(
            sql("INSERT INTO clips VALUES ('a', 'x', 1), ('b', 'y', NULL) RETURNING id, rating"),
            sql("UPDATE clips SET rating = 5"),
            sql("SELECT count(*) AS n FROM clips"),
            sql("DELETE FROM clips WHERE id = 'none'"),
            author="me",
            base_version=1,
        ),
    )
    assert (answer.version, answer.base_version, answer.replayed) == (2, 2, False)
    assert answer.results[0].rows.columns == ("id", "rating")
    assert answer.results[0].rows.rows == (("a", 1), ("b", None))
    assert [result.changes for result in answer.results] == [2, 2, 0, 0]
    assert answer.results[2].rows.rows == ((2,),)


def test_replay(machine: Machine) -> None:
    writer = machine.founded()
    one = request(
        sql("INSERT INTO clips VALUES ('a', 'x', 1) RETURNING id, 2.5, x'00ff', NULL"), author="me", base_version=1
    )
    first = machine.ok(writer, one)
    again = request(*one.statements, idempotency_key=one.idempotency_key, author="another page", base_version=2)
    for committer in (writer, machine.open()):
        replayed = machine.ok(committer, again)
        assert replayed.replayed and (replayed.version, replayed.results) == (first.version, first.results)
        assert replayed.base_version == first.base_version
    assert machine.rows(writer, "SELECT count(*) FROM clips") == [(1,)]
    assert writer.replica.version == 2


def test_replay_after_a_migration(machine: Machine) -> None:
    writer = machine.founded()
    one = add_clip("a")
    machine.ok(writer, one)
    machine.ok(writer, migration(2, "ALTER TABLE clips ADD COLUMN note TEXT"))
    assert machine.ok(writer, one).replayed


def test_key_mismatch(machine: Machine) -> None:
    writer = machine.founded()
    one = add_clip("a")
    machine.ok(writer, one)
    assert reason(machine, add_clip("b", idempotency_key=one.idempotency_key)) == "key_mismatch"


def test_a_migration_may_drop_a_column(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    machine.ok(writer, migration(2, "ALTER TABLE clips DROP COLUMN rating", "ALTER TABLE tags RENAME COLUMN tag TO t"))
    assert machine.rows(writer, "SELECT * FROM clips") == [("a", "clip a")]


def test_old_keys_are_dropped(machine: Machine) -> None:
    writer = machine.founded()
    old = key(machine.clock.wall_ms() - KEY_DROPPED_MS - 1000)
    machine.ok(writer, add_clip("a", idempotency_key=old))
    for number in range(3, 17):
        assert machine.ok(writer, add_clip(f"{number}")).version == number
    kept = {row[0] for row in writer.replica.writer()[1].own("SELECT key FROM _dbsync_keys")}
    assert old not in kept and len(kept) == 15


def test_a_failed_member_leaves_nothing(machine: Machine) -> None:
    writer = machine.founded()
    good, bad, last = (
        add_clip("a"),
        request(*add_clip("b").statements, sql("INSERT INTO nowhere VALUES (1)")),
        add_clip("c"),
    )
    answers = machine.commit(writer, good, bad, last)
    assert isinstance(answers[1], Fault) and answers[1].reason == "sql_error"
    assert [isinstance(answer, CommitResult) for answer in answers] == [True, False, True]
    assert machine.rows(writer, "SELECT id FROM clips") == [("a",), ("c",)]
    assert writer.replica.version == 2
    entry = machine.slots().read(2, machine.clock.now_s() + 1)
    assert entry is not None and [sub.idempotency_key for sub in entry.subs] == [
        good.idempotency_key,
        last.idempotency_key,
    ]
    assert machine.ok(writer, request(*add_clip("b").statements, idempotency_key=bad.idempotency_key)).version == 3


def test_unchanged(machine: Machine) -> None:
    writer = machine.founded()
    before = dict(machine.store.objects)
    answer = machine.ok(writer, request(sql("DELETE FROM clips"), sql("SELECT 7"), author="me", base_version=1))
    assert (answer.version, answer.base_version, answer.results[1].rows.rows) == (1, 1, ((7,),))
    assert machine.store.objects == before and writer.replica.version == 1


def test_touched_rows_are_named(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(
        writer, request(sql("INSERT INTO tags VALUES ('a', 'goal', 1)"), sql("INSERT INTO clips VALUES ('a', 'x', 1)"))
    )
    entry = machine.slots().read(2, machine.clock.now_s() + 1)
    assert entry is not None
    assert set(entry.subs[0].rows) == {
        RowKey("tags", ("goal", "a")),
        clip_row("a"),
    }  # the key's order, not the columns'
    machine.ok(writer, request(sql("UPDATE tags SET clip = 'b'"), author="you", base_version=2))
    moved = machine.slots().read(3, machine.clock.now_s() + 1)
    assert moved is not None
    assert set(moved.subs[0].rows) == {RowKey("tags", ("goal", "a")), RowKey("tags", ("goal", "b"))}


def test_full_text_never_conflicts(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(
        writer,
        migration(
            2,
            "CREATE VIRTUAL TABLE found USING fts5(name, content='')",
            "CREATE TRIGGER index_clips AFTER INSERT ON clips "
            "BEGIN INSERT INTO found (rowid, name) VALUES (new.rowid, new.name); END",
        ),
    )
    machine.ok(writer, add_clip("a", schema_version=2, author="me", base_version=2))
    answer = machine.ok(writer, add_clip("b", schema_version=2, author="you", base_version=2))
    assert answer.version == 4
    assert machine.rows(writer, "SELECT count(*) FROM found('clip')") == [(2,)]


def test_require_rows(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    one = request(sql("SELECT 1"), sql("UPDATE clips SET name = 'x' WHERE id = 'b'", rows=1))
    (answer,) = machine.commit(writer, one)
    assert isinstance(answer, Fault) and answer.reason == "requirement_unmet"
    assert answer.metadata == {"statement": "1", "required": "1", "actual": "0"}
    assert reason(machine, request(sql("SELECT id FROM clips", rows=2))) == "requirement_unmet"
    machine.ok(writer, request(sql("SELECT id FROM clips", rows=1), sql("DELETE FROM clips", rows=1)))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (sql("INSERT INTO clips VALUES ('a', 'twice', 1)"), "constraint"),
        (sql("INSERT INTO clips VALUES ('z', NULL, 1)"), "constraint"),
        (sql("SELEC 1"), "sql_error"),
        (sql("SELECT 1; SELECT 2"), "sql_error"),
        (sql(""), "sql_error"),
        (sql("SELECT ?"), "sql_error"),
        (sql("SELECT ?", 1, 2), "sql_error"),
        (sql("INSERT INTO clips VALUES (CAST(x'ff' AS TEXT), 'x', 1)"), "sql_error"),
        (sql("CREATE TABLE other (id INTEGER PRIMARY KEY)"), "sql_forbidden"),
    ],
)
def test_what_is_wrong_with_sql(machine: Machine, statement: object, expected: str) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    assert reason(machine, request(statement)) == expected  # type: ignore[arg-type]


def test_foreign_keys(machine: Machine) -> None:
    writer = machine.founded(
        *SCHEMA,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, clip TEXT NOT NULL REFERENCES clips ON DELETE CASCADE)",
        "CREATE TABLE late (id INTEGER PRIMARY KEY, clip TEXT REFERENCES clips DEFERRABLE INITIALLY DEFERRED)",
    )
    machine.ok(writer, add_clip("a"))
    assert reason(machine, request(sql("INSERT INTO notes VALUES (1, 'none')"))) == "constraint"
    assert reason(machine, request(sql("INSERT INTO late VALUES (1, 'none')"))) == "constraint"
    machine.ok(writer, request(sql("INSERT INTO late VALUES (1, 'b')"), *add_clip("b").statements))
    machine.ok(writer, request(sql("INSERT INTO notes VALUES (1, 'a')"), author="you", base_version=3))
    (answer,) = machine.commit(writer, request(sql("DELETE FROM clips WHERE id = 'a'"), author="me", base_version=3))
    assert isinstance(answer, Conflict)  # it would have taken a note along that its author has not seen
    assert [clash.row for clash in answer.clashes] == [RowKey("notes", (1,))]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["CREATE TABLE bad (id INTEGER)"], "invalid_argument"),
        (["CREATE TABLE bad (id TEXT PRIMARY KEY)"], "invalid_argument"),
        (["CREATE TABLE bad (a TEXT NOT NULL, b TEXT, PRIMARY KEY (a, b))"], "invalid_argument"),
        (["CREATE TABLE bad (id INTEGER PRIMARY KEY DESC)"], "invalid_argument"),
        (["CREATE TABLE bad AS SELECT 1 AS id"], "invalid_argument"),
        (["CREATE TABLE good (id INTEGER PRIMARY KEY)"], ""),
        (["CREATE TABLE good (a TEXT, b INT, PRIMARY KEY (a, b)) WITHOUT ROWID"], ""),
        (["CREATE TABLE good (a TEXT NOT NULL PRIMARY KEY)"], ""),
        (["CREATE TABLE good (id INTEGER PRIMARY KEY DESC NOT NULL)"], ""),
        (["CREATE VIRTUAL TABLE good USING fts5(words)"], ""),
        (["CREATE TABLE _dbsync_more (id INTEGER PRIMARY KEY)"], "sql_forbidden"),
        (["CREATE TABLE other (id INTEGER PRIMARY KEY)", "ALTER TABLE other RENAME TO _dbsync_other"], "sql_forbidden"),
        (["CREATE TABLE other (k BLOB NOT NULL PRIMARY KEY REFERENCES _dbsync_keys)"], "sql_forbidden"),
        (["CREATE INDEX sneaky ON _dbsync_keys (version)"], "sql_forbidden"),
        (["DROP TABLE _dbsync_keys"], "sql_forbidden"),
        (["CREATE VIRTUAL TABLE other USING rtree(id, a, b)"], "sql_forbidden"),
        (["CREATE TEMP TABLE other (id INTEGER PRIMARY KEY)"], "sql_forbidden"),
    ],
)
def test_what_a_schema_may_be(machine: Machine, texts: list[str], expected: str) -> None:
    machine.founded()
    (answer,) = machine.commit(machine.open(), migration(2, *texts))
    assert (answer.reason if isinstance(answer, Fault) else "") == expected, repr(answer)
    fresh = machine.open()
    assert fresh.replica.schema_version == (1 if expected else 2)


def test_a_migration_can_rebuild_a_table(machine: Machine) -> None:
    writer = machine.founded(
        *SCHEMA, "CREATE TABLE notes (id INTEGER PRIMARY KEY, clip TEXT REFERENCES clips ON DELETE CASCADE)"
    )
    machine.ok(writer, request(*add_clip("a").statements, sql("INSERT INTO notes VALUES (1, 'a')")))
    rebuild = (
        "CREATE TABLE new (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, rating INTEGER NOT NULL DEFAULT 0)",
        "INSERT INTO new SELECT id, name, coalesce(rating, 0) FROM clips",
        "DROP TABLE clips",
        "ALTER TABLE new RENAME TO clips",
    )
    machine.ok(writer, migration(2, *rebuild))
    assert machine.rows(writer, "SELECT * FROM notes") == [(1, "a")]
    (answer,) = machine.commit(writer, migration(3, "DELETE FROM clips"))
    assert isinstance(answer, Fault) and answer.reason == "constraint"  # the whole is checked before it is durable
    assert writer.replica.schema_version == 2
    (answer,) = machine.commit(writer, request(sql("INSERT INTO notes VALUES (2, 'none')"), schema_version=2))
    assert isinstance(answer, Fault) and answer.reason == "constraint"  # and the keys are on again


def test_schema_versions(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, migration(2))
    for one, expected in (
        (add_clip("a", schema_version=1), "schema_newer"),
        (add_clip("a", schema_version=3), "schema_mismatch"),
        (add_clip("a", schema_version=None), "invalid_argument"),
        (migration(2), "schema_mismatch"),  # a racing loser sees it done: actual is what it wanted
        (request(sql("SELECT 1"), schema_version=0, set_schema_version=1), "schema_newer"),
        (migration(4), "schema_mismatch"),
    ):
        (answer,) = machine.commit(writer, one)
        assert isinstance(answer, Fault) and answer.reason == expected
    (answer,) = machine.commit(writer, migration(2))
    assert isinstance(answer, Fault) and answer.metadata == {"expected": "1", "actual": "2"}


def test_too_many_bytes_to_keep(machine: Machine) -> None:
    writer = machine.founded()
    (answer,) = machine.commit(
        writer, request(sql("INSERT INTO clips VALUES ('a', ?, 1) RETURNING name", "x" * 1_200_000))
    )
    assert isinstance(answer, Fault) and answer.reason == "too_many_bytes"


def test_stale(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, request(*add_clip("a").statements, *add_clip("b").statements))
    machine.ok(writer, rename_clip("a", "by you", author="you", base_version=2))
    (answer,) = machine.commit(writer, rename_clip("a", "by me", author="me", base_version=2))
    assert isinstance(answer, Conflict)
    assert (answer.base_version, answer.head_version) == (2, 3)
    assert [(c.row, c.version, c.author) for c in answer.clashes] == [(clip_row("a"), 3, "you")]
    assert machine.ok(writer, rename_clip("b", "by me", author="me", base_version=2)).base_version == 2
    assert machine.ok(writer, rename_clip("a", "by you again", author="you", base_version=3)).base_version == 3
    (answer,) = machine.commit(writer, rename_clip("b", "x", author="you", base_version=3, scope_database=True))
    assert isinstance(answer, Conflict) and answer.clashes == ()
    (answer,) = machine.commit(writer, add_clip("c", author="me", base_version=2, depends_on=(clip_row("a"),)))
    assert isinstance(answer, Conflict)
    assert machine.ok(writer, rename_clip("a", "the system's", author="", base_version=None)).base_version == 0
    assert machine.ok(writer, rename_clip("a", "by you", author="you", base_version=5)).version == 7
    (answer,) = machine.commit(writer, add_clip("d", author="me", base_version=99))
    assert isinstance(answer, Fault) and answer.reason == "invalid_argument"


def test_a_strict_table_may_be_altered(machine: Machine) -> None:
    writer = machine.founded()
    steps = (
        "CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, word TEXT) STRICT",
        "INSERT INTO notes VALUES ('a', 'x')",
        "ALTER TABLE notes ADD COLUMN size INTEGER NOT NULL DEFAULT 3",
        "ALTER TABLE notes ADD COLUMN checked INTEGER CHECK (checked > 1)",
        "ALTER TABLE notes ADD COLUMN twice INTEGER GENERATED ALWAYS AS (size * 2) VIRTUAL",
        "ALTER TABLE notes RENAME COLUMN word TO text",
        "ALTER TABLE notes DROP COLUMN checked",
        "ALTER TABLE notes RENAME TO remarks",
    )
    for version, text in enumerate(steps, 2):
        machine.ok(writer, migration(version, text))
    with writer.replica.reader() as (guard, _):
        assert guard.own("SELECT id, text, size, twice FROM remarks") == [("a", "x", 3, 6)]
    machine.ok(writer, migration(len(steps) + 2, "ALTER TABLE remarks ADD COLUMN late TEXT"))
