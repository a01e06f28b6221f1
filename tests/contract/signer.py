"""botocore's signer, the oracle that our check of Signature Version 4 is held to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from botocore import auth, awsrequest
from botocore.credentials import Credentials


class _HeaderSigner(auth.S3SigV4Auth):
    """botocore's, told what to claim of the payload."""

    def __init__(self, credentials: Credentials, region: str, claim: str) -> None:
        super().__init__(credentials, "s3", region)
        self._claim = claim

    def payload(self, request: awsrequest.AWSRequest) -> str:
        return self._claim


def sign_headers(
    method: str,
    url: str,
    *,
    access_key: str,
    secret_key: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    payload: str = "",
    region: str = "auto",
) -> dict[str, str]:
    """The headers of a request signed in its Authorization header; `payload` replaces the SHA-256 of the body."""
    claim = payload or hashlib.sha256(body).hexdigest()
    request = awsrequest.AWSRequest(method=method, url=url, headers=dict(headers or {}))
    _HeaderSigner(Credentials(access_key, secret_key), region, claim).add_auth(request)
    return dict(request.headers.items())


def presign(
    method: str,
    url: str,
    *,
    access_key: str,
    secret_key: str,
    headers: Mapping[str, str] | None = None,
    expires_s: int = 900,
    region: str = "auto",
) -> str:
    """A presigned URL, its headers among those signed."""
    request = awsrequest.AWSRequest(method=method, url=url, headers=dict(headers or {}))
    auth.S3SigV4QueryAuth(Credentials(access_key, secret_key), "s3", region, expires=expires_s).add_auth(request)
    return str(request.url)
