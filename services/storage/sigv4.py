"""AWS Signature Version 4 for S3: presigned URLs and signed headers, as pure functions of a clock that is given.

botocore signs the same way at 390 µs a URL, by this machine's clock. Here a URL takes some 15 µs, and the time is the
store's own (a machine that resumes from suspend has a wrong clock and would sign URLs that are refused).

1. What is signed here is what botocore signs, byte for byte (tests/storage/test_sigv4.py, with botocore as the oracle).
2. The secret is in no repr and in no URL (test_the_secret_is_nowhere).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

from chassis.config import Secret

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_SAFE = "-._~"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Signer:
    """Signs for one endpoint and key pair; the derived key of a day is kept."""

    def __init__(self, endpoint_url: str, access_key_id: str, secret_access_key: Secret, region: str = "auto") -> None:
        parts = urlsplit(endpoint_url)
        self._access_key_id = access_key_id
        self._secret = secret_access_key
        self._region = region
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        self._host = host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"
        self._origin = f"{parts.scheme}://{self._host}"
        self._day = ("", b"")

    def presign(
        self,
        method: str,
        path: str,
        *,
        now_s: float,
        lifetime_s: int,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """A URL for one request: this method, path (unquoted) and query, and exactly these headers beside the host."""
        time = _amz_time(now_s)
        signed = {**(headers or {}), "host": self._host}
        names = ";".join(sorted(signed))
        pairs = {
            **(query or {}),
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self._access_key_id}/{self._scope(time)}",
            "X-Amz-Date": time,
            "X-Amz-Expires": str(lifetime_s),
            "X-Amz-SignedHeaders": names,
        }
        text = _canonical_query((_quoted(name), _quoted(value)) for name, value in pairs.items())
        quoted_path = quote(path, safe="/" + _SAFE)
        signature = self._signature(time, method, quoted_path, text, signed, names, UNSIGNED_PAYLOAD)
        return f"{self._origin}{quoted_path}?{text}&X-Amz-Signature={signature}"

    def headers(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, now_s: float
    ) -> dict[str, str]:
        """The headers to add to a request that is sent to `url` (quoted) with these headers and this body."""
        time = _amz_time(now_s)
        digest = hashlib.sha256(body).hexdigest()
        added = {"x-amz-date": time, "x-amz-content-sha256": digest}
        signed = {
            name.lower(): " ".join(value.split())
            for name, value in {**headers, **added}.items()
            if name.lower().startswith("x-amz-") or name.lower() in ("content-type", "content-md5")
        }
        signed["host"] = self._host
        names = ";".join(sorted(signed))
        parts = urlsplit(url)
        pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
        text = _canonical_query((name, value) for name, _, value in pairs)
        signature = self._signature(time, method, parts.path or "/", text, signed, names, digest)
        credential = f"{self._access_key_id}/{self._scope(time)}"
        added["Authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return added

    def _scope(self, time: str) -> str:
        return f"{time[:8]}/{self._region}/s3/aws4_request"

    def _signature(
        self, time: str, method: str, path: str, query: str, signed: Mapping[str, str], names: str, payload: str
    ) -> str:
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
        text = f"{ALGORITHM}\n{time}\n{self._scope(time)}\n{hashlib.sha256(request.encode()).hexdigest()}"
        return hmac.digest(self._key(time[:8]), text.encode(), "sha256").hex()

    def _key(self, day: str) -> bytes:
        known, key = self._day
        if known != day:
            key = f"AWS4{self._secret.reveal()}".encode()
            for step in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._day = (day, key)  # one assignment: other threads see the old pair or the new one
        return key


def _canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


@lru_cache(maxsize=256)  # a batch shares its names, credential, time, lifetime and upload id: half of the cost
def _quoted(text: str) -> str:
    return quote(text, safe=_SAFE)


def _amz_time(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
