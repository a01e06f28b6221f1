"""One call to the store, blocking, in the pool's threads: the only module that speaks boto3 (its core, botocore).

1. botocore repeats nothing: what may be repeated is decided where its meaning is known, in store.py
   (tests/storage/test_bucket.py::test_botocore_never_repeats).
2. Every call ends: CONNECT_S to connect, a read timeout for each answer (test_a_silent_store_is_given_up).
3. botocore holds no credentials: requests are signed by sigv4.py, with the store's own time, so nothing of botocore can
   log them (test_credentials_are_never_logged).
4. Every answer, errors included, tells the clock the store's time (test_the_clock_follows_the_store).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from chassis import tracing
from chassis.faults import Fault, Kind
from storage import failures
from storage.failures import MISTIMED
from storage.sigv4 import Signer
from storage.store_clock import StoreClock

log = logging.getLogger(__name__)

CONNECT_S = 3.0
QUICK_READ_S = 8.0
MISTIMED_S = 100.0  # S3 takes a time that is off by up to 15 minutes; longer than any call takes
PATIENT_READ_S = 30.0  # copying and completing: the store works before it answers

OPERATIONS = frozenset(
    {
        "HeadBucket",
        "HeadObject",
        "ListObjectsV2",
        "CopyObject",
        "DeleteObjects",
        "CreateMultipartUpload",
        "UploadPartCopy",
        "ListParts",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
        "ListMultipartUploads",
    }
)


class Bucket:
    """Blocking calls to one bucket; safe to use from several threads. Building it takes about 100 ms of CPU."""

    def __init__(self, endpoint_url: str, bucket: str, signer: Signer, clock: StoreClock, connections: int) -> None:
        self._bucket = bucket
        self._endpoint_url = endpoint_url
        self._signer = signer
        self._clock = clock
        self._connections = connections
        self._lock = threading.Lock()
        self._session = botocore.session.Session()
        self._session.register_component("data_loader", SlimLoader())
        self._quick = self._client(QUICK_READ_S)
        self._patient: Any = None  # made when first needed: few processes copy or complete anything

    def call(self, operation: str, wanted: Mapping[str, Any], *, patient: bool = False) -> Mapping[str, Any]:
        """The store's answer to an operation of S3's API on this bucket, once; raises Fault."""
        client = self._patient_client() if patient else self._quick
        if self._clock.paused():
            client.close()  # idle connections of before a pause may be dead without a word; this keeps those in use
        method = next(name for name, api in client.meta.method_to_api_mapping.items() if api == operation)
        attributes = {
            "rpc.system.name": "aws-api",
            "rpc.method": f"S3/{operation}",
            "server.address": self._endpoint_url,
            "aws.s3.bucket": self._bucket,
        } | {f"aws.s3.{name.lower()}": str(wanted[name]) for name in ("Key", "Prefix") if name in wanted}
        began_s = self._clock.now_s()
        with tracing.span(f"S3/{operation}", kind="client", attributes=attributes) as span:
            try:
                answer: Mapping[str, Any] = getattr(client, method)(Bucket=self._bucket, **wanted)
            except ClientError as error:
                self._heard(error.response, span)
                off_s = self._clock.now_s() - began_s
                raise _refused(operation, error, mistimed=abs(off_s) > MISTIMED_S) from error
            except (NoConnection, HTTPClientError, IncompleteReadError, ResponseParserError) as error:
                raise failures.unreachable(operation, type(error).__name__) from error
            self._heard(answer, span)
            return answer

    def close(self) -> None:
        """Closes idle connections."""
        for client in (self._quick, self._patient):
            if client is not None:
                client.close()

    def _heard(self, answer: Mapping[str, Any], span: tracing.Span) -> None:
        metadata = answer.get("ResponseMetadata", {})
        self._clock.observe(metadata.get("HTTPHeaders", {}).get("date", ""))
        span.set("http.response.status_code", metadata.get("HTTPStatusCode", 0))
        if request_id := metadata.get("RequestId"):
            span.set("aws.request_id", request_id)

    def _patient_client(self) -> Any:
        with self._lock:
            if self._patient is None:
                self._patient = self._client(PATIENT_READ_S)
            return self._patient

    def _client(self, read_s: float) -> Any:
        client = self._session.create_client(
            "s3",
            endpoint_url=self._endpoint_url,
            region_name="auto",
            config=Config(
                signature_version=UNSIGNED,
                s3={"addressing_style": "path"},
                connect_timeout=CONNECT_S,
                read_timeout=read_s,
                retries={"mode": "standard", "total_max_attempts": 1},
                max_pool_connections=self._connections,
                tcp_keepalive=True,
                # R2 knows no checksums of the newer kinds (boto3 1.36 and later add them everywhere by default).
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        client.meta.events.register("request-created.s3", self._sign)
        return client

    def _sign(self, request: AWSRequest, **_: Any) -> None:
        body = request.data if isinstance(request.data, bytes) else str(request.data or "").encode()
        headers = {name: str(value) for name, value in request.headers.items()}
        method, url = str(request.method), str(request.url)
        for name, value in self._signer.headers(method, url, headers, body, now_s=self._clock.now_s()).items():
            del request.headers[name]
            request.headers[name] = value


class SlimLoader(Loader):
    """botocore's data without what this service never asks for: 10 MB less for as long as the process lives."""

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """As botocore's; the S3 model holds OPERATIONS alone, with the shapes that they use."""
        model = super().load_service_model(service_name, type_name, api_version)
        if type_name != "service-2":
            return model
        operations = {name: operation for name, operation in model["operations"].items() if name in OPERATIONS}
        shapes: dict[str, Any] = {}
        open_names = [name for operation in operations.values() for name in _named(operation)]
        while open_names:
            if (name := open_names.pop()) not in shapes:
                shapes[name] = model["shapes"][name]
                open_names += _named(shapes[name])
        self._cache.clear()  # type: ignore[attr-defined]  # or the whole model would stay
        return {**model, "operations": operations, "shapes": shapes}

    def load_data_with_path(self, name: str) -> Any:
        """As botocore's; the table of AWS's own endpoints (1.2 MB of JSON) is empty, for ours is configured."""
        if name != "endpoints":
            return super().load_data_with_path(name)
        defaults = {"hostname": "{service}.{region}.{dnsSuffix}", "protocols": ["https"], "signatureVersions": ["v4"]}
        partition = {"partition": "aws", "dnsSuffix": "invalid", "regionRegex": "^auto$", "regions": {}, "services": {}}
        return {"version": 3, "partitions": [{**partition, "defaults": defaults}]}, ""


def _named(node: Any) -> Iterator[str]:
    """The names of the shapes that a part of the model refers to."""
    if isinstance(node, list):
        for item in node:
            yield from _named(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "shape" and isinstance(value, str):
                yield value
            else:
                yield from _named(value)


def _refused(operation: str, error: ClientError, *, mistimed: bool) -> Fault:
    answer = error.response
    metadata = answer.get("ResponseMetadata", {})
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(metadata.get("HTTPStatusCode", 0))
    if mistimed and status in (400, 401, 403):
        # Whatever the store calls it (an answer to HEAD says nothing): we now know that the signature's time was wrong.
        code = MISTIMED
    fault = failures.fault(operation, code, status, str(metadata.get("HTTPHeaders", {}).get("retry-after", "")))
    if fault.kind is Kind.INTERNAL:
        log.error("the store refused %s", operation, extra={"store_code": code, "store_status": status})
    return fault
