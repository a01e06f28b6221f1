"""An HTTP server on loopback for a folder's files, with Range and ETag, that counts what it sends."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FileServer:
    """What the server was asked; `fail_next` answers that many requests with 500."""

    url: str = ""
    sent_bytes: int = 0
    requests: list[str] = field(default_factory=list)
    fail_next: int = 0


@contextmanager
def serve(folder: Path) -> Iterator[FileServer]:
    """Serves the folder until the context ends."""
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.requests.append(self.path)
            name = self.path.partition("?")[0].lstrip("/")
            path = folder / name
            if state.fail_next > 0:
                state.fail_next -= 1
                self._answer(500, b"")
            elif "/" in name or not path.is_file():
                self._answer(404, b"")
            else:
                self._file(path)

        def _file(self, path: Path) -> None:
            size = path.stat().st_size
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(match[1]), min(int(match[2]), size - 1)) if match else (0, size - 1)
            if first >= size:
                self._answer(416, b"")
                return
            with path.open("rb") as file:
                file.seek(first)
                body = file.read(last - first + 1)
            state.sent_bytes += len(body)
            extra = {"Content-Range": f"bytes {first}-{last}/{size}"} if match else {}
            self._answer(206 if match else 200, body, ETag=f'"{path.stat().st_mtime_ns:x}-{size}"', **extra)

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
