"""AWS Signature Version 4 in a request's headers, for the one bucket that dbsync speaks to.

1. What is signed here is what botocore signs, byte for byte (test_sigv4.py::test_as_botocore_signs,
   ::test_over_tls_and_without). botocore itself would cost the service 5 MB, and every request 0.2 ms.
2. The store's clock is followed where this machine's is wrong (test_ledger.py::test_a_clock_that_is_wrong).
3. The secret is in no repr (test_sigv4.py::test_the_secret_is_not_shown).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
_SAFE = "-._~"


class Signer:
    """Signs with the store's time, as far as this machine's is known to differ: after a suspend it does."""

    def __init__(self, access_key_id: str, secret_access_key: str, *, host: str, region: str) -> None:
        """`host` is what the requests' Host header says, with the port when it is not the scheme's own."""
        self.host = host
        self.ahead_s = 0.0  # of this machine's clock
        self._access_key_id = access_key_id
        self._secret = f"AWS4{secret_access_key}".encode()
        self._region = region
        self._day = ("", b"")

    def follow(self, date: str, at_s: float) -> None:
        """The Date of an answer that came at `at_s` of this machine's time. ValueError when it is none."""
        self.ahead_s = parsedate_to_datetime(date).timestamp() - at_s

    def off_s(self, date: str) -> float:
        """How far the time that we sign with is from an answer's Date; 0 when that is none."""
        try:
            return abs(parsedate_to_datetime(date).timestamp() - time.time() - self.ahead_s)
        except ValueError:
            return 0.0

    def headers(self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        """All headers of the request, signed: those given, Host, and the signature's own.

        `path` and `query` as they are sent (`quoted`, `quoted_query`), `payload` the body's SHA-256 in hex or UNSIGNED.
        """
        now = datetime.fromtimestamp(time.time() + self.ahead_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        sent = {**headers, "Host": self.host, "X-Amz-Content-SHA256": payload, "X-Amz-Date": now}
        signed = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
        names = ";".join(name for name, _ in signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed)
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        signature = self._signature(now, scope, request)
        credential = f"{self._access_key_id}/{scope}"
        sent["Authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return sent

    def presigned(self, path: str, query: Mapping[str, str], lifetime_s: int, *, tls: bool) -> tuple[str, int]:
        """A URL that reads what is at `path` (quoted) until it expires, and when that is (Unix milliseconds)."""
        now_s = time.time() + self.ahead_s
        now = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        text = quoted_query(
            {
                **query,
                "X-Amz-Algorithm": ALGORITHM,
                "X-Amz-Credential": f"{self._access_key_id}/{scope}",
                "X-Amz-Date": now,
                "X-Amz-Expires": str(lifetime_s),
                "X-Amz-SignedHeaders": "host",
            }
        )
        request = f"GET\n{path}\n{text}\nhost:{self.host}\n\nhost\n{UNSIGNED}"
        signature = self._signature(now, scope, request)
        return f"{'https' if tls else 'http'}://{self.host}{path}?{text}&X-Amz-Signature={signature}", int(
            (now_s + lifetime_s) * 1000
        )

    def _signature(self, now: str, scope: str, request: str) -> str:
        text = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        return hmac.digest(self._key(now[:8]), text.encode(), "sha256").hex()

    def _key(self, day: str) -> bytes:
        known, key = self._day
        if known != day:
            key = self._secret
            for step in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._day = (day, key)  # one assignment: other threads see the old pair or the new one
        return key


def quoted(path: str) -> str:
    """A path as it is signed and sent."""
    return quote(path, safe=f"/{_SAFE}")


def quoted_query(query: Mapping[str, str]) -> str:
    """A query as it is signed and sent; empty for none."""
    pairs = sorted((quote(name, safe=_SAFE), quote(value, safe=_SAFE)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)
