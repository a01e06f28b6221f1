"""AWS Signature Version 4, checked: in the Authorization header, in a presigned URL, and chunk by chunk in a body.

1. Nothing of a request is believed before its signature is (tests/contract/test_signatures.py).
2. Every x-amz-* header of a request is covered by its signature, so that none can be added on the way (ditto).
3. Signatures are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from objectstore.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
CHUNK_ALGORITHM = "AWS4-HMAC-SHA256-PAYLOAD"
TRAILER_ALGORITHM = "AWS4-HMAC-SHA256-TRAILER"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
SKEW_S = 15 * 60
LONGEST_EXPIRY_S = 7 * 24 * 3600
REGIONS = ("auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac", "oc")
_AMZ_DATE = re.compile(r"\d{8}T\d{6}Z")
_QUERY_NAMES = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")


@dataclass(frozen=True)
class Incoming:
    """The parts of a request that a signature covers, as they came over the wire; header names in lower case."""

    method: str
    raw_path: str
    query: Sequence[tuple[str, str]]
    headers: Sequence[tuple[str, str]]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def parameter(self, name: str) -> str | None:
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True)
class Verified:
    """A request whose signature held. `payload` is the claim about its body: a SHA-256 in hex, or a S3 keyword."""

    presigned: bool
    payload: str
    signing_key: bytes = b""
    scope: str = ""
    amz_date: str = ""
    signature: str = ""


@dataclass(frozen=True)
class _Claim:
    """What the client says it signed with."""

    credential: str
    signed_headers: tuple[str, ...]
    signature: str
    amz_date: str
    payload: str
    presigned: bool


def parse_query(raw_query: str) -> list[tuple[str, str]]:
    """The decoded pairs of a query string in order, "+" read as a space; raises InvalidURI when not UTF-8."""
    pairs = []
    for item in raw_query.split("&"):
        if item:
            name, _, value = item.partition("=")
            pairs.append((decode(name.replace("+", " ")), decode(value.replace("+", " "))))
    return pairs


def decode(text: str) -> str:
    """Percent-decoded UTF-8; raises InvalidURI when it is not."""
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as fault:
        raise S3Error("InvalidURI", "The address is not percent-encoded UTF-8.") from fault


def canonical_request(incoming: Incoming, signed_headers: Sequence[str], payload: str) -> str:
    """The text of the request that both sides hash (Signature Version 4, task 1)."""
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in incoming.query
        if name != "X-Amz-Signature"
    )
    lines = [
        incoming.method,
        quote(decode(incoming.raw_path), safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in pairs),
    ]
    for name in signed_headers:
        values = [" ".join(value.split()) for key, value in incoming.headers if key == name]
        if not values:
            raise S3Error("SignatureDoesNotMatch", f"The header {name} was signed but is not in the request.")
        lines.append(f"{name}:{','.join(values)}")
    return "\n".join([*lines, "", ";".join(signed_headers), payload])


@lru_cache(maxsize=256)
def signing_key(secret: str, date: str, region: str) -> bytes:
    """The key of a day and region (task 3)."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, lines: Sequence[str]) -> str:
    """The signature, in hex, of a string to sign."""
    return hmac.new(key, "\n".join(lines).encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def verify(incoming: Incoming, access_key: str, secret_key: str, now_s: float) -> Verified:
    """The verified request; raises an S3Error (403, or 400 when malformed) when any of it does not hold."""
    claim = _claim(incoming)
    parts = claim.credential.rsplit("/", 4)
    if len(parts) != 5 or parts[3:] != ["s3", "aws4_request"]:
        raise _malformed(claim.presigned, "The credential must be <key>/<date>/<region>/s3/aws4_request.")
    key_id, date, region = parts[:3]
    if not hmac.compare_digest(key_id.encode("utf-8", "replace"), access_key.encode()):
        raise S3Error("InvalidAccessKeyId", "The access key id is not known here.")
    if region not in REGIONS:
        raise S3Error("InvalidRegionName", f"The region name is not valid. Must be one of: {', '.join(REGIONS)}.")
    if not _AMZ_DATE.fullmatch(claim.amz_date) or date != claim.amz_date[:8]:
        raise _malformed(claim.presigned, "X-Amz-Date must be a time (yyyymmddThhmmssZ) of the credential's day.")
    _check_time(incoming, claim, now_s)
    _check_coverage(incoming, claim)
    key = signing_key(secret_key, date, region)
    scope = f"{date}/{region}/s3/aws4_request"
    canonical = canonical_request(incoming, claim.signed_headers, claim.payload)
    hashed = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    expected = sign(key, (ALGORITHM, claim.amz_date, scope, hashed))
    if not hmac.compare_digest(expected.encode(), claim.signature.encode("utf-8", "replace")):
        raise S3Error("SignatureDoesNotMatch", "The signature we calculated does not match the one you provided.")
    return Verified(claim.presigned, claim.payload, key, scope, claim.amz_date, claim.signature)


def _malformed(presigned: bool, message: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError" if presigned else "AuthorizationHeaderMalformed", message)


def _claim(incoming: Incoming) -> _Claim:
    authorization = incoming.header("authorization")
    presigned = any(name == "X-Amz-Signature" or name == "X-Amz-Credential" for name, _ in incoming.query)
    if authorization and presigned:
        raise S3Error("InvalidArgument", "Only one way of authentication is allowed: header or query.")
    if presigned:
        return _claim_of_query(incoming)
    if not authorization:
        raise S3Error("AccessDenied", "Anonymous access is not allowed: sign the request.")
    return _claim_of_header(incoming, authorization)


def _claim_of_query(incoming: Incoming) -> _Claim:
    values = {}
    for name in (*_QUERY_NAMES, "X-Amz-Signature"):
        found = [value for key, value in incoming.query if key == name]
        if len(found) != 1:
            raise _malformed(True, f"Query authentication needs {name} exactly once.")
        values[name] = found[0]
    if values["X-Amz-Algorithm"] != ALGORITHM:
        raise _malformed(True, f"X-Amz-Algorithm must be {ALGORITHM}.")
    return _Claim(
        credential=values["X-Amz-Credential"],
        signed_headers=tuple(values["X-Amz-SignedHeaders"].split(";")),
        signature=values["X-Amz-Signature"],
        amz_date=values["X-Amz-Date"],
        payload=incoming.parameter("X-Amz-Content-Sha256") or incoming.header("x-amz-content-sha256") or UNSIGNED,
        presigned=True,
    )


def _claim_of_header(incoming: Incoming, authorization: str) -> _Claim:
    scheme, _, rest = authorization.partition(" ")
    if scheme != ALGORITHM:
        raise S3Error("InvalidRequest", f"The authorization mechanism is not supported. Use {ALGORITHM}.")
    fields = dict(item.strip().partition("=")[::2] for item in rest.split(","))
    if not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
        raise _malformed(False, "The header needs Credential, SignedHeaders and Signature.")
    payload = incoming.header("x-amz-content-sha256")
    if payload is None:
        raise S3Error("MissingSecurityHeader", "The header x-amz-content-sha256 is required.")
    return _Claim(
        credential=fields["Credential"],
        signed_headers=tuple(fields["SignedHeaders"].split(";")),
        signature=fields["Signature"],
        amz_date=incoming.header("x-amz-date") or "",
        payload=payload,
        presigned=False,
    )


def _check_time(incoming: Incoming, claim: _Claim, now_s: float) -> None:
    try:
        signed_s = datetime.strptime(claim.amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as fault:
        raise _malformed(claim.presigned, "X-Amz-Date is not a time.") from fault
    if not claim.presigned:
        if abs(now_s - signed_s) > SKEW_S:
            raise S3Error("RequestTimeTooSkewed", "The request's time and the server's differ by over 15 minutes.")
        return
    expires = incoming.parameter("X-Amz-Expires") or ""
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= LONGEST_EXPIRY_S:
        raise _malformed(True, f"X-Amz-Expires must be 1 to {LONGEST_EXPIRY_S} seconds.")
    if signed_s - now_s > SKEW_S:
        raise S3Error("AccessDenied", "The request is not yet valid.")
    if now_s > signed_s + int(expires):
        raise S3Error("AccessDenied", "Request has expired.")


def _check_coverage(incoming: Incoming, claim: _Claim) -> None:
    if "host" not in claim.signed_headers:
        raise S3Error("SignatureDoesNotMatch", "The Host header must be signed.")
    for name, _ in incoming.headers:
        if name.startswith("x-amz-") and name not in claim.signed_headers:
            raise S3Error("AccessDenied", f"There were headers present in the request which were not signed: {name}.")
