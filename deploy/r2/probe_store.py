"""The bucket as the probe uses it: below one prefix, each request sent once, timed, and answered instead of raised."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deploy.r2.setup import Settings

SILENT = 0  # the status of a request that had no answer: whether it took place is not known
UNDECIDED = frozenset({SILENT, 409, 429, 500, 502, 503, 504})
ATTEMPT_S = 20.0
PAUSE_S = 1.2  # R2 takes one write a second for each key
PATIENCE = 6
REMOVE_S = 30.0
PAGE = 1000


@dataclass(frozen=True)
class Answer:
    """What came back: a status (SILENT: nothing), S3's code for a refusal, headers by lower-case name, the body."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """As it is sent in a condition."""
        return self.headers.get("etag", "")

    def __str__(self) -> str:
        return f"{self.status or 'no answer'} {self.code}".strip()


class ProbeStore:
    """Made for threads. Keys are without the prefix."""

    def __init__(self, settings: Settings, prefix: str, connections: int) -> None:
        self.bucket = settings.bucket
        self.prefix = prefix
        self.times_s: dict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()
        self._wrote = False
        self._raw = urllib3.PoolManager(retries=False, timeout=ATTEMPT_S)
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            region_name="auto",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=ATTEMPT_S,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, key: str, body: bytes, **arguments: Any) -> Answer:
        """PutObject."""
        return self.call("PUT", "put_object", Key=key, Body=body, **arguments)

    def create(self, key: str, body: bytes) -> Answer:
        """PutObject, if there is none."""
        return self.call("PUT If-None-Match", "put_object", Key=key, Body=body, IfNoneMatch="*")

    def replace(self, key: str, body: bytes, etag: str, **arguments: Any) -> Answer:
        """PutObject, if the object is still the one with this ETag."""
        return self.call("PUT If-Match", "put_object", Key=key, Body=body, IfMatch=etag, **arguments)

    def get(self, key: str, **arguments: Any) -> Answer:
        """GetObject, its body read; asked patiently."""
        return patiently(lambda: self.call("GET", "get_object", Key=key, **arguments))

    def head(self, key: str) -> Answer:
        """HeadObject, asked patiently."""
        return patiently(lambda: self.call("HEAD", "head_object", Key=key))

    def delete(self, key: str) -> Answer:
        """DeleteObject."""
        return self.call("DELETE", "delete_object", Key=key)

    def keys(self, folder: str = "", **arguments: Any) -> list[str]:
        """The keys of one page of ListObjectsV2 as it gives them, without the prefix; LookupError for a refusal."""
        prefix = f"{self.prefix}{folder}"
        answer = patiently(lambda: self.call("LIST", "list_objects_v2", Prefix=prefix, **arguments))
        if answer.status != 200:
            raise LookupError(f"a LIST is answered {answer}")
        return [entry["Key"].removeprefix(self.prefix) for entry in answer.fields.get("Contents", ())]

    def call(self, label: str, operation: str, **arguments: Any) -> Answer:
        """One request; its time counts under `label`."""
        for name in ("Key", "StartAfter"):
            if name in arguments:
                arguments[name] = f"{self.prefix}{arguments[name]}"
        self._wrote = self._wrote or operation.startswith(("put_", "create_"))
        with self._timed(label):
            try:
                fields = getattr(self._client, operation)(Bucket=self.bucket, **arguments)
                body = fields["Body"].read() if "Body" in fields else b""
            except ClientError as error:
                error_fields: Mapping[str, Any] = error.response
                return _answer(error_fields, str(error_fields.get("Error", {}).get("Code", "")))
            except (BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
                return Answer(SILENT, type(error).__name__)
        return _answer(fields, "", body)

    def presigned(self, operation: str, key: str, *, lifetime_s: int = 60, **parameters: Any) -> str:
        """A URL for one request, with what the parameters say bound into its signature."""
        wanted = {"Bucket": self.bucket, "Key": f"{self.prefix}{key}", **parameters}
        return str(self._client.generate_presigned_url(operation, Params=wanted, ExpiresIn=lifetime_s))

    def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """A plain HTTP request, as a browser's."""
        self._wrote = self._wrote or method == "PUT"
        with self._timed(f"presigned {method}"):
            try:
                answer = self._raw.request(method, url, headers=dict(headers or {}), body=body, redirect=False)
            except urllib3.exceptions.HTTPError as error:
                return Answer(SILENT, type(error).__name__)
        return Answer(answer.status, "", {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def remove_all(self) -> int:
        """Deletes what the probe wrote and aborts its uploads; how much is still there after REMOVE_S."""
        end_s = time.monotonic() + REMOVE_S
        while self._wrote:
            try:
                left = self.keys(MaxKeys=PAGE)
            except LookupError:
                left = ["?"]
            uploads = self.call("LIST uploads", "list_multipart_uploads", Prefix=self.prefix).fields.get("Uploads", ())
            if not left and not uploads:
                return 0
            if time.monotonic() >= end_s:
                return len(left) + len(uploads)
            for key in left:
                self.delete(key)
            for upload in uploads:
                key = upload["Key"].removeprefix(self.prefix)
                self.call("ABORT", "abort_multipart_upload", Key=key, UploadId=upload["UploadId"])
        return 0

    @contextmanager
    def _timed(self, label: str) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.times_s[label].append(time.perf_counter() - began_s)


def _answer(fields: Mapping[str, Any], code: str, body: bytes = b"") -> Answer:
    told = fields.get("ResponseMetadata", {})
    headers = {str(name).lower(): str(value) for name, value in told.get("HTTPHeaders", {}).items()}
    return Answer(int(told.get("HTTPStatusCode", SILENT)), code, headers, body, fields)


def patiently(ask: Callable[[], Answer]) -> Answer:
    """An answer that decides; asks again, as long as the store only says that it is busy. For what may run twice."""
    answer = ask()
    for _ in range(PATIENCE):
        if answer.status not in UNDECIDED:
            break
        time.sleep(PAUSE_S)
        answer = ask()
    return answer


def at_once(count: int, work: Callable[[int], Answer]) -> list[Answer]:
    """Runs the work for 0 to count-1 in threads that all begin at the same moment."""
    gate = threading.Barrier(count)
    answers: list[Answer] = [Answer(SILENT, "NotRun")] * count

    def one(number: int) -> None:
        gate.wait(timeout=60)
        answers[number] = work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
