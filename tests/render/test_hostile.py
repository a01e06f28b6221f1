"""Files that are not what their names say: unreadable in plain words, no connection anywhere else, within limits.

They are probed as the service does it: in a child process with limits of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from render.engines.local import Engine
from render.engines.port import AttemptFailed
from render.produce import probe
from render.remote import SourceError
from render.spec import Source
from tests.fakes.file_server import serve
from tests.render import golden


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port that notes who connects to it."""
    calls: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                calls.append(b"connected")
                peer.close()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield server.getsockname()[1], calls
        finally:
            ended.set()
            thread.join()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def hostile(port: int, folder: Path) -> dict[str, bytes]:
    """Files by name."""
    url = f"http://127.0.0.1:{port}/secret"
    golden.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64:d=0.2", "-c:v", "libx264", str(folder / "small.mp4"))
    small = (folder / "small.mp4").read_bytes()
    bomb = ["-f", "lavfi", "-i", "color=red:s=9000x4200", "-frames:v", "1"]
    golden.ffmpeg(*bomb, "-c:v", "libx264", "-preset", "ultrafast", str(folder / "huge.mp4"))
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    reference = box(b"dref", struct.pack(">II", 0, 1) + box(b"url ", b"\0\0\0\0" + url.encode() + b"\0"))
    return {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}.ts\n#EXT-X-ENDLIST\n".encode(),
        "master.mp4": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}.m3u8\n".encode(),
        "dash.mp4": f'<?xml version="1.0"?><MPD type="static"><Period><BaseURL>{url}</BaseURL></Period></MPD>'.encode(),
        "sdp.mp4": sdp.encode(),
        "concat.mp4": f"ffconcat version 1.0\nfile '{url}'\n".encode(),
        "text.mp4": b"This is a letter, not a video.\n" * 50,
        "page.mp4": b"<!doctype html><html><body>Not found</body></html>",
        "zeros.mp4": bytes(100_000),
        "noise.mp4": os.urandom(200_000),
        "one.mp4": b"\0",
        "header.mp4": small[:200],
        "no-index.mp4": box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + box(b"mdat", bytes(50_000)),
        "endless-box.mp4": box(b"ftyp", b"isom\0\0\2\0isom") + b"\xff\xff\xff\xffmoov" + bytes(5000),
        "elsewhere.mp4": small.replace(small[small.index(b"dref") - 4 :][:28], reference[:28]),
        "huge.mp4": (folder / "huge.mp4").read_bytes(),
        "subtitles.mp4": b"1\n00:00:00,000 --> 00:00:09,000\nHello\n",
        "playlist.mkv": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n".encode(),
        "image.mp4": b"\x89PNG\r\n\x1a\n" + box(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 16, 6, 0, 0, 0))[4:],
    }


# Probed by a child as the service does it; the others in this process, which takes less time.
IN_CHILD = {"hls.mp4", "sdp.mp4", "huge.mp4"}


async def test_no_hostile_file_is_read_or_reaches_out(tmp_path: Path) -> None:
    engine = Engine(attempt_timeout_s=60, stall_timeout_s=30)
    with listener() as (port, calls), serve(tmp_path) as server:
        files = hostile(port, tmp_path)
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            source, url = Source(f"games/{name}"), f"{server.url}/{name}"
            if name == "elsewhere.mp4":  # its reference is not followed: it is read as it is
                assert (await asyncio.to_thread(probe, url, source)).info.width == 64
                continue
            if name in IN_CHILD:
                with pytest.raises(AttemptFailed) as raised:
                    await engine.probe(url, source)
                code, message = raised.value.failure.code, raised.value.failure.message
            else:
                with pytest.raises(SourceError) as refused:
                    await asyncio.to_thread(probe, url, source)
                code, message = refused.value.code, str(refused.value)
            assert code == "source_unreadable", (name, message)
            assert message.startswith(name) and message.endswith("."), message
        assert calls == []
        asked = {path.lstrip("/") for path in server.requests}
        assert asked <= set(files)


async def test_an_empty_file_and_a_missing_one_say_so(tmp_path: Path) -> None:
    engine = Engine(attempt_timeout_s=60, stall_timeout_s=30)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with serve(tmp_path) as server:
        with pytest.raises(AttemptFailed, match=r"empty\.mp4 is empty"):
            await engine.probe(f"{server.url}/empty.mp4", Source("games/empty.mp4"))
        with pytest.raises(AttemptFailed) as raised:
            await engine.probe(f"{server.url}/none.mp4", Source("games/none.mp4"))
        assert raised.value.failure.code == "source_not_found"
