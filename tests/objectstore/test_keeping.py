"""What the store keeps: blobs under their readers, batches of changes, the data folder, and what time sweeps away."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from objectstore import records, sweep
from objectstore.blobs import Blobs
from objectstore.errors import S3Error
from objectstore.index import Index
from objectstore.server import Running, in_thread, start
from objectstore.settings import Settings, SettingsError, read
from tests.contract.targets import pattern
from tests.fakes.object_store import BUCKET, ROOT, client_for, object_store

DAY_S = 24 * 3600


def _blob(blobs: Blobs, data: bytes) -> str:
    writer = blobs.create()
    writer.write(data)
    writer.finish()
    return writer.name


@pytest.mark.parametrize("fsync", [True, False])
def test_a_blob_stays_while_it_is_read(tmp_path: Path, fsync: bool) -> None:
    blobs = Blobs(tmp_path, fsync=fsync)
    names = [_blob(blobs, b"one"), _blob(blobs, b"two")]
    for _ in range(2):
        blobs.pin(lambda: names, lambda found: found)
    blobs.remove(names)
    blobs.unpin(names)
    assert [blobs.path(name).read_bytes() for name in names] == [b"one", b"two"]
    blobs.unpin(names)
    assert not any(blobs.path(name).exists() for name in names)
    # Removed twice, or never there: no fault.
    blobs.remove(names)


def test_an_abandoned_blob_is_gone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, fsync=False)
    writer = blobs.create()
    writer.write(b"half")
    writer.abandon()
    finished = blobs.create()
    finished.finish()
    finished.abandon()
    assert blobs.sweep(lambda _: False) == 0


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index.sqlite", fsync=False)
    yield made
    made.close()


async def test_a_refused_change_undoes_itself_alone(index: Index) -> None:
    def insert(db: sqlite3.Connection, name: str, refuse: bool) -> str:
        db.execute("INSERT INTO buckets (name, created_ms) VALUES (?, 0)", (name,))
        if refuse:
            raise S3Error("PreconditionFailed", "no")
        return name

    waiting = [
        asyncio.ensure_future(index.write(lambda db, n=n: insert(db, f"b{n:02d}", n % 3 == 0)))  # type: ignore[misc]
        for n in range(30)
    ]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, S3Error) for result in results] == [n % 3 == 0 for n in range(30)]
    names = index.read(lambda db: [row[0] for row in db.execute("SELECT name FROM buckets ORDER BY name")])
    assert names == [f"b{n:02d}" for n in range(30) if n % 3]


async def test_a_fault_in_a_change_fails_it_and_the_next_one_runs(index: Index) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await index.write(lambda db: db.execute("INSERT INTO no_such_table VALUES (1)"))
    with pytest.raises(sqlite3.IntegrityError):
        await index.write(lambda db: db.execute("INSERT INTO parts VALUES ('x', 1, '', 0, '', 0, '')"))
    assert await index.write(lambda db: db.execute("SELECT 1").fetchone()) == (1,)


def test_a_reader_cannot_write(index: Index) -> None:
    with pytest.raises(sqlite3.OperationalError):
        index.read(lambda db: db.execute("DELETE FROM buckets"))


def test_a_query_sees_one_moment(index: Index) -> None:
    def count(db: sqlite3.Connection) -> int:
        found: int = db.execute("SELECT count(*) FROM buckets").fetchone()[0]
        return found

    def query(db: sqlite3.Connection) -> tuple[int, int]:
        before = count(db)
        asyncio.run(index.write(lambda db: db.execute("INSERT INTO buckets (name, created_ms) VALUES ('b', 0)")))
        return before, count(db)

    assert index.read(query) == (0, 0)
    assert index.read(count) == 1


def test_an_index_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RuntimeError, match="version 99"):
        Index(tmp_path / "index.sqlite", fsync=False)


def test_data_is_found_again(tmp_path: Path) -> None:
    with object_store(tmp_path / "data") as store:
        store.client().put_object(Bucket=BUCKET, Key="small", Body=b"small")
        store.client().put_object(Bucket=BUCKET, Key="large", Body=pattern(200_000))
    with object_store(tmp_path / "data") as store:
        assert store.client().get_object(Bucket=BUCKET, Key="small")["Body"].read() == b"small"
        assert store.client().get_object(Bucket=BUCKET, Key="large")["Body"].read() == pattern(200_000)


def test_a_folder_is_of_one_store(tmp_path: Path) -> None:
    with (
        object_store(tmp_path / "data"),
        pytest.raises(SettingsError, match="another object store"),
        object_store(tmp_path / "data"),
    ):
        pass


async def test_a_taken_port_is_a_clear_fault(tmp_path: Path) -> None:
    running = await start(Settings(data=tmp_path / "one", port=0, fsync=False))
    try:
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{running.port}"):
            await start(Settings(data=tmp_path / "two", port=running.port, fsync=False))
        # The second's folder is free again.
        again = await start(Settings(data=tmp_path / "two", port=0, fsync=False))
        await again.stop()
    finally:
        await running.stop()


class _Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def aged(tmp_path: Path) -> Iterator[tuple[_Clock, Running]]:
    clock = _Clock()
    settings = Settings(data=tmp_path / "data", port=0, buckets=(BUCKET,), fsync=False, stop_s=1.0)
    with in_thread(settings, clock=clock) as running:
        yield clock, running


def _sweep(running: Running) -> None:
    loop = running._sweeper.get_loop()
    asyncio.run_coroutine_threadsafe(sweep.once(running.store), loop).result(timeout=60)


def _put_upload(running: Running, upload_id: str, key: str) -> None:
    """An upload with one part, recorded without a signature, whose clock is the machine's."""
    name = _blob(running.store.blobs, b"part")
    part = records.Part(1, records.Segment(name, 4), "0" * 32, 0, {})

    def change(db: sqlite3.Connection) -> None:
        records.create_upload(db, BUCKET, records.Upload(upload_id, key, running.store.now_ms, {}, ""))
        records.put_part(db, upload_id, part)

    _run(running, change)


def _run(running: Running, change: object) -> object:
    loop = running._sweeper.get_loop()
    return asyncio.run_coroutine_threadsafe(running.store.index.write(change), loop).result(timeout=60)  # type: ignore[arg-type]


def test_abandoned_uploads_are_swept(aged: tuple[_Clock, Running]) -> None:
    clock, running = aged
    rule = '[{"id": "", "enabled": true, "prefix": "soon/", "expire_days": null, "abort_days": 1}]'
    _run(running, lambda db: records.configure(db, BUCKET, "lifecycle", rule))
    _put_upload(running, "a", "soon/1")
    _put_upload(running, "b", "later/1")
    for days, left in ((0.9, {"a", "b"}), (1.1, {"b"}), (6.9, {"b"}), (7.1, set())):
        clock.now_s = 1_800_000_000 + days * DAY_S
        _sweep(running)
        found = running.store.index.read(lambda db: {row[0] for row in db.execute("SELECT id FROM uploads")})
        assert found == left, days
        assert len(list((running.store.settings.data / "blobs").glob("*/*"))) == len(left)


def test_expired_objects_are_swept(aged: tuple[_Clock, Running]) -> None:
    clock, running = aged
    rule = '[{"id": "", "enabled": true, "prefix": "old/", "expire_days": 2, "abort_days": null}]'
    _run(running, lambda db: records.configure(db, BUCKET, "lifecycle", rule))
    for number in range(1200):
        content = records.Content("0" * 32, (records.Segment("", 1, b"x"),), {}, {})
        key = f"{'old' if number % 2 else 'new'}/{number}"
        _run(running, lambda db, k=key, c=content: records.put_object(db, BUCKET, k, c, running.store.now_ms))
    clock.now_s += 1.9 * DAY_S
    _sweep(running)
    assert _count(running) == 1200
    clock.now_s += 0.2 * DAY_S
    _sweep(running)
    assert _count(running) == 600


def _count(running: Running) -> int:
    found: int = running.store.index.read(lambda db: db.execute("SELECT count(*) FROM objects").fetchone()[0])
    return found


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"LISTEN": "9000"}, "LISTEN must be host:port"),
        ({"LISTEN": "127.0.0.1:70000"}, "the port must be"),
        ({"LISTEN": "0.0.0.0:9000"}, "off loopback with the default keys"),
        ({"LISTEN": "[::]:9000", "OBJECTSTORE_SECRET_KEY": "mine"}, "off loopback with the default keys"),
        ({"LISTEN": "store.example:9000", "OBJECTSTORE_ACCESS_KEY": "mine"}, "off loopback with the default keys"),
        ({"OBJECTSTORE_SECRET_KEY": ""}, "must not be empty"),
        ({"OBJECTSTORE_STRICT_R2": "maybe"}, "OBJECTSTORE_STRICT_R2 must be true or false"),
        ({"OBJECTSTORE_UPLOAD_DAYS": "-1"}, "OBJECTSTORE_UPLOAD_DAYS must be"),
        (
            {
                "LISTEN": "0.0.0.0:9000",
                "OBJECTSTORE_SECRET_KEY": "a",
                "OBJECTSTORE_ACCESS_KEY": "b",
                "OBJECTSTORE_FAULT_INJECTION": "1",
            },
            "loopback only",
        ),
    ],
)
def test_settings_that_cannot_be_run_with(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        read(environment)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        read({"LISTEN": "x", "OBJECTSTORE_FSYNC": "maybe", "OBJECTSTORE_UPLOAD_DAYS": "many"})
    assert len(str(refused.value).splitlines()) == 3


def test_settings_of_an_empty_environment() -> None:
    settings = read({})
    assert (settings.host, settings.port, settings.fsync, settings.strict_r2) == ("127.0.0.1", 9000, True, False)
    assert settings.secret_key not in repr(settings)


def test_keys_of_ones_own_may_listen_anywhere() -> None:
    environment = {"LISTEN": "0.0.0.0:9000", "OBJECTSTORE_ACCESS_KEY": "a", "OBJECTSTORE_SECRET_KEY": "b"}
    assert read(environment).host == "0.0.0.0"


def test_the_program_says_why_it_does_not_start(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "deploy/local"), "OBJECTSTORE_DATA": str(tmp_path)}
    for extra in ({"LISTEN": "0.0.0.0:0"}, {"LISTEN": "127.0.0.1:0", "OBJECTSTORE_BUCKETS": "UPPER"}):
        done = subprocess.run(
            [sys.executable, "-m", "objectstore"],
            env=environment | extra,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("objectstore cannot start:")
        assert "Traceback" not in done.stderr


def test_a_full_disk_is_a_clear_answer(tmp_path: Path) -> None:
    """A limit on the size of the files that the process may write stands for the disk."""
    script = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"
        "sys.argv = ['objectstore']\n"
        "runpy.run_module('objectstore', run_name='__main__')\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "deploy/local"),
        "LISTEN": "127.0.0.1:0",
        "OBJECTSTORE_DATA": str(tmp_path / "data"),
        "OBJECTSTORE_BUCKETS": BUCKET,
    }
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        endpoint = process.stderr.readline().split("object store at ")[1].split(",")[0]
        client = client_for(endpoint, "local-access-key", "local-secret-key")
        with pytest.raises(client.exceptions.ClientError) as refused:
            client.put_object(Bucket=BUCKET, Key="key", Body=pattern(4_000_000))
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
        assert "Contents" not in client.list_objects_v2(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="key", Body=pattern(1_000_000))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate(timeout=60)
