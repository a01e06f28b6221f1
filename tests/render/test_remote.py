"""A source behind a URL: what is read of it, and what happens when the store stumbles or the source changes."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from render import remote
from render.remote import BLOCK_BYTES, BLOCKS_KEPT, RUN_MIN, RemoteFile, SourceError
from tests.fakes.file_server import FileServer, serve

SIZE = 39 * BLOCK_BYTES + 1234
DATA = os.urandom(SIZE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "film.mp4").write_bytes(DATA)
    with serve(tmp_path) as server:
        yield server


def film(server: FileServer, etag: str = "") -> RemoteFile:
    return RemoteFile(f"{server.url}/film.mp4?signature=x", "film.mp4", etag)


def test_it_reads_as_the_file_does(server: FileServer) -> None:
    with film(server) as file:
        assert file.size_bytes == SIZE and file.readable() and file.seekable()
        for at, size in ((0, 10), (BLOCK_BYTES - 5, 5), (3 * BLOCK_BYTES, 100), (SIZE - 7, 7), (5, 1)):
            assert file.seek(at) == at and file.read(size) == DATA[at : at + size]
            assert file.tell() == at + size
        assert file.seek(-4, io.SEEK_END) == SIZE - 4 and file.read() == DATA[-4:]
        assert file.read(1) == b""
        assert file.seek(SIZE + 99) == SIZE + 99 and file.read(1) == b""
        file.seek(0)
        whole = bytearray()
        while piece := file.read(100_000):
            whole += piece
        assert whole == DATA


def test_little_more_is_read_than_asked_for(server: FileServer) -> None:
    with film(server) as file:
        assert server.sent_bytes == RUN_MIN * BLOCK_BYTES
        file.seek(20 * BLOCK_BYTES + 10)
        file.read(10)
        assert file.fetched_bytes == server.sent_bytes == 2 * RUN_MIN * BLOCK_BYTES
        file.seek(0)
        while file.read(1 << 16):
            pass
        assert file.fetched_bytes == server.sent_bytes == SIZE  # nothing twice
        # 0, 1; 20, 21; 2, 3; 4 to 7; 8 to 15; 16 to 19, for 20 is there; 22, 23; 24 to 27; 28 to 35; the rest
        assert len(server.requests) == 10


def test_what_is_needed_is_read_in_few_requests(server: FileServer) -> None:
    with film(server) as file:
        file.expect(23 * BLOCK_BYTES - 5)
        file.seek(10 * BLOCK_BYTES + 5)
        while file.tell() < 23 * BLOCK_BYTES - 5:
            file.read(1 << 15)
        assert (file.fetched_bytes, len(server.requests)) == ((RUN_MIN + 13) * BLOCK_BYTES, 2)
        file.seek(23 * BLOCK_BYTES)
        file.read(1)
        assert file.fetched_bytes == (RUN_MIN + 14) * BLOCK_BYTES  # beyond it, a little at a time
        file.expect(-1)
        file.seek(30 * BLOCK_BYTES)
        file.read(1)
        assert file.fetched_bytes == (RUN_MIN + 14 + RUN_MIN) * BLOCK_BYTES


def test_what_is_kept_has_a_bound(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCKS_KEPT", 3)
    with film(server) as file:
        for _ in range(2):
            file.seek(0)
            whole = bytearray()
            while piece := file.read(1 << 20):
                whole += piece
            assert whole == DATA
    assert BLOCKS_KEPT * BLOCK_BYTES <= 48 << 20


def test_a_store_that_stumbles(server: FileServer) -> None:
    server.fail_next = 2
    with film(server) as file:
        server.fail_next = 1
        file.seek(4 * BLOCK_BYTES)
        assert file.read(8) == DATA[4 * BLOCK_BYTES :][:8]


def test_a_store_that_stays_away_is_an_error_that_may_pass(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.2)
    server.fail_next = 100
    with pytest.raises(SourceError) as away:
        film(server)
    assert (away.value.code, away.value.retryable) == ("store_unavailable", True)
    with pytest.raises(SourceError) as closed:
        RemoteFile("http://127.0.0.1:9/film.mp4", "film.mp4")
    assert closed.value.retryable


def test_a_source_that_changes(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as other:
        film(server, etag="another")
    assert (other.value.code, other.value.retryable) == ("source_changed", False)
    with film(server) as file:
        (tmp_path / "film.mp4").write_bytes(os.urandom(SIZE + 1))
        file.seek(5 * BLOCK_BYTES)
        with pytest.raises(SourceError) as changed:
            file.read(1)
        assert changed.value.code == "source_changed"


def test_a_source_that_is_not_there(server: FileServer) -> None:
    with pytest.raises(SourceError) as missing:
        RemoteFile(f"{server.url}/none.mp4", "none.mp4")
    assert (missing.value.code, missing.value.retryable) == ("source_not_found", False)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "store_unavailable"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "store_unavailable"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "store_unavailable"),
        (
            b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\nshort",
            "store_unavailable",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(9_000_000), "source_unreadable"),
        (b"nonsense\r\n\r\n", "store_unavailable"),
    ],
)
def test_answers_that_are_none(answer: bytes, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def respond() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    try:
                        peer.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        with pytest.raises(SourceError) as refused:
            RemoteFile(f"http://127.0.0.1:{listening.getsockname()[1]}/film.mp4", "film.mp4")
        assert refused.value.code == code
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert not thread.is_alive()
