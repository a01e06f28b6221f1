"""moto's server as a second object store for whole services: made atomic, and with the embedded store's faults.

moto looks whether a key is free and then writes it, with no lock between: of writers at once several can win
(`make probe-r2` against it shows them when threads take turns often enough). Here one write at a time enters it. What
it does not do, and the embedded store does, is in MOTO_LACKS: signatures, the clock, and Content-MD5 are not checked.
"""

from __future__ import annotations

import io
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from objectstore.faults import Fault, Faults
from tests.fakes.object_store import ObjectStore, client_for

ACCESS_KEY, SECRET_KEY = "testing", "testing-secret"
_REFUSAL = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>A fault was injected here.</Message></Error>'

# Tests that need what moto lacks, by name, and why they run over the embedded store alone.
MOTO_LACKS: Mapping[str, str] = {
    "test_wrong_credentials": "it checks no signature",
    "test_a_clock_that_is_wrong": "it looks at no time",
}

Answer = Iterable[bytes]
StartResponse = Callable[..., Any]


class _Front:
    """What stands before moto: faults, and one write at a time."""

    def __init__(self, faults: Faults) -> None:
        self._moto: Callable[[dict[str, Any], StartResponse], Answer] = DomainDispatcherApplication(create_backend_app)
        self._faults = faults
        self._writing = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Answer:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        method = environ["REQUEST_METHOD"]
        bucket, _, key = environ["PATH_INFO"].removeprefix("/").partition("/")
        faults = self._faults.choose(method, bucket, key)
        if (refused := _stage(faults, "before", environ, start_response)) is not None:
            return refused
        body = environ["wsgi.input"].read(length)
        if len(body) < length:  # the client died in the middle
            _cut(environ)
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        if (refused := _stage(faults, "commit", environ, start_response)) is not None:
            return refused
        if method in ("GET", "HEAD"):
            answer = self._moto(environ, start_response)
        else:
            with self._writing:
                answer = self._moto(environ, start_response)
        return answer if (lost := _stage(faults, "after", environ, start_response)) is None else lost


def _stage(
    faults: Sequence[Fault], stage: str, environ: Mapping[str, Any], start_response: StartResponse
) -> Answer | None:
    """Lets the faults of a stage strike, as the embedded store does; the answer that they give instead."""
    for fault in faults:
        if fault.stage != stage:
            continue
        if fault.drop and stage == "commit":
            _cut(environ)
        time.sleep(fault.delay_s)
        if fault.status:
            body = _REFUSAL % fault.code.encode()
            start_response(f"{fault.status} {fault.code}", [("Content-Length", str(len(body)))])
            return [body]
        if fault.drop and stage != "commit":
            _cut(environ)
            return []
    return None


def _cut(environ: Mapping[str, Any]) -> None:
    """Breaks the connection; whatever is still answered goes nowhere."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)


class _Quiet(MotoRequestHandler):
    """moto's, without a line for each request, and with connections that are kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""

    def log_error(self, format: str, *arguments: Any) -> None:
        """Says nothing: connections that are cut here are cut on purpose."""


@contextmanager
def moto_store() -> Iterator[ObjectStore]:
    """A fresh bucket of moto on a free port; its faults strike as the embedded store's do."""
    faults = Faults()
    server = make_server("127.0.0.1", 0, _Front(faults), threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, name="moto", daemon=True)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        bucket = f"second-{uuid.uuid4().hex}"
        client_for(endpoint, ACCESS_KEY, SECRET_KEY, region="us-east-1").create_bucket(Bucket=bucket)
        yield ObjectStore(endpoint, ACCESS_KEY, SECRET_KEY, bucket, Path(), faults)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
