"""The contracts: generated code is fresh and typed, names are linted, a break of what is released is found."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"


def load_generate() -> ModuleType:
    """protos/generate.py, which is a script and on no import path."""
    spec = importlib.util.spec_from_file_location("protos_generate", PROTOS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generate()


def buf(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """buf's own program, without Node around it."""
    programs = sorted((PROTOS / "node_modules" / "@bufbuild").glob("buf-*/bin/buf"))
    assert programs, "buf is not installed: run `make setup`"
    return subprocess.run([programs[0], *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A copy of the protos and what is released, to change."""
    shutil.copytree(PROTOS / "reel", tmp_path / "reel")
    for name in ("buf.yaml", "released.binpb"):
        shutil.copy(PROTOS / name, tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    """Replaces the one occurrence."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new))


def test_committed_code_is_what_the_protos_say() -> None:
    assert generate.differences(PROTOS, PROTOS / "gen") == []


def test_generation_is_deterministic(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        generate.generate(PROTOS, tmp_path / name)
    one, two = generate.contents(tmp_path / "one"), generate.contents(tmp_path / "two")
    assert one and one == two


def test_stray_and_edited_files_are_found(tmp_path: Path) -> None:
    shutil.copytree(PROTOS / "gen", tmp_path / "gen")
    package = tmp_path / "gen/reel/dbsync/v1"
    (package / "dbsync_pb2.py").write_text("edited")
    (package / "dbsync_pb2.pyi").unlink()
    (package / "stray.py").write_text("stray")
    assert generate.differences(PROTOS, tmp_path / "gen") == [
        "missing: reel/dbsync/v1/dbsync_pb2.pyi",
        "stray: reel/dbsync/v1/stray.py",
        "stale: reel/dbsync/v1/dbsync_pb2.py",
    ]


def test_a_bad_proto_leaves_the_old_code(protos: Path) -> None:
    target = protos / "gen"
    assert generate.replace(protos, target) > 0
    before = generate.contents(target)
    (protos / "reel/dbsync/v1/dbsync.proto").write_text("not a proto")
    with pytest.raises(generate.GenerateError, match=r"dbsync\.proto"):
        generate.replace(protos, target)
    assert generate.contents(target) == before


def test_the_protos_pass_the_linter_and_break_nothing_released(protos: Path) -> None:
    for arguments in (("lint",), ("breaking", "--against", "released.binpb")):
        result = buf(*arguments, folder=protos)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_bad_name_is_found(protos: Path) -> None:
    edit(protos / "reel/storage/v1/storage.proto", "rpc GetUsage(GetUsageRequest)", "rpc getUsage(GetUsageRequest)")
    result = buf("lint", folder=protos)
    assert result.returncode != 0 and "getUsage" in result.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  rpc Head(HeadRequest) returns (HeadResponse);\n", ""),
        ("string author = 4; // of the newest commit", "bytes author = 4;"),
        ("string author = 4; // of the newest commit", "string author = 6;"),
        ("string author = 4; // of the newest commit", "string writer = 4;"),
        ("optional int64 require_rows = 3;", ""),
    ],
)
def test_a_breaking_change_is_found(protos: Path, old: str, new: str) -> None:
    edit(protos / "reel/dbsync/v1/dbsync.proto", old, new)
    result = buf("breaking", "--against", "released.binpb", folder=protos)
    assert result.returncode != 0 and "dbsync.proto" in result.stdout


def test_an_addition_breaks_nothing(protos: Path) -> None:
    edit(
        protos / "reel/dbsync/v1/dbsync.proto",
        "string author = 4; // of the newest commit",
        "string author = 4;\n  string note = 9;",
    )
    assert buf("breaking", "--against", "released.binpb", folder=protos).returncode == 0


SERVICER = """\
from typing import Any

import grpc
from reel.dbsync.v1 import dbsync_pb2, dbsync_pb2_grpc


class Whole(dbsync_pb2_grpc.DbSyncServiceServicer):
    async def Query(self, request: dbsync_pb2.QueryRequest, context: Any) -> dbsync_pb2.QueryResponse:
        return dbsync_pb2.QueryResponse(version=request.min_version)

    async def Commit(self, request: dbsync_pb2.CommitRequest, context: Any) -> dbsync_pb2.CommitResponse:
        return dbsync_pb2.CommitResponse()

    async def Head(self, request: dbsync_pb2.HeadRequest, context: Any) -> dbsync_pb2.HeadResponse:
        return dbsync_pb2.HeadResponse()

    async def History(self, request: dbsync_pb2.HistoryRequest, context: Any) -> dbsync_pb2.HistoryResponse:
        return dbsync_pb2.HistoryResponse()

    async def Undo(self, request: dbsync_pb2.UndoRequest, context: Any) -> dbsync_pb2.UndoResponse:
        return dbsync_pb2.UndoResponse()

    async def Restore(self, request: dbsync_pb2.RestoreRequest, context: Any) -> dbsync_pb2.RestoreResponse:
        return dbsync_pb2.RestoreResponse()

    async def Snapshot(self, request: dbsync_pb2.SnapshotRequest, context: Any) -> dbsync_pb2.SnapshotResponse:
        return dbsync_pb2.SnapshotResponse()

    async def Delete(self, request: dbsync_pb2.DeleteRequest, context: Any) -> dbsync_pb2.DeleteResponse:
        return dbsync_pb2.DeleteResponse()


class Partial(dbsync_pb2_grpc.DbSyncServiceServicer):
    async def Query(self, request: dbsync_pb2.QueryRequest, context: Any) -> dbsync_pb2.QueryResponse:
        return dbsync_pb2.QueryResponse()


def serve(server: grpc.aio.Server) -> None:
    dbsync_pb2_grpc.add_DbSyncServiceServicer_to_server(Whole(), server)


async def call(channel: grpc.aio.Channel) -> int:
    stub = dbsync_pb2_grpc.DbSyncServiceStub(channel)
    return (await stub.Head(dbsync_pb2.HeadRequest(database="u"), timeout=1)).version


incomplete = Partial()
wrong_field = dbsync_pb2.HeadRequest(databse="u")
wrong_type = dbsync_pb2.HeadRequest(database=1)
"""


def test_the_stubs_make_mistakes_type_errors(tmp_path: Path) -> None:
    (tmp_path / "servicer.py").write_text(SERVICER)
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nmypy_path = {PROTOS / 'gen'}\nstrict = True\nexplicit_package_bases = True\n"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        str(tmp_path / "cache"),
        "--no-error-summary",
        "servicer.py",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    errors = [line.rsplit("[", 1)[1].rstrip("]") for line in result.stdout.splitlines() if ": error: " in line]
    assert errors == ["abstract", "call-arg", "arg-type"], result.stdout + result.stderr
