"""Short-lived signed call credentials between services: Ed25519 JWTs that say who calls whom for which tenant.

1. A token is accepted by the one service it was made for, from an issuer whose key is trusted, within LIFETIME_S
   (tests/chassis/test_credentials.py).
2. Its tenant is part of what is signed: a request for another tenant is refused by the server before its handler runs.
3. What is made here PyJWT reads, and what PyJWT makes is read here (test_credentials.py::test_others_read_it_too,
   ::test_what_others_sign_is_read). PyJWT itself would cost every service 6 MB, most of it for algorithms that are
   refused here.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chassis import faults
from chassis.config import decode_key
from chassis.faults import Fault

LIFETIME_S = 60
CLOCK_SKEW_S = 10  # after a resume from suspend a machine's clock is briefly wrong
TOKEN_BYTES_MAX = 4096
_ALGORITHM = "EdDSA"


@dataclass(frozen=True)
class Caller:
    """The verified maker of a call."""

    issuer: str
    tenant: str


class _Bad(Exception):
    """Why a token is refused."""


def new_key() -> tuple[str, str]:
    """A fresh pair: the private seed and the public key, each 32 bytes in base64url without padding."""
    private = Ed25519PrivateKey.generate()
    return _text(private.private_bytes_raw()), _text(private.public_key().public_bytes_raw())


class Signer:
    """Makes tokens in the name of one service."""

    def __init__(self, issuer: str, seed: str) -> None:
        self._issuer = issuer
        self._key = Ed25519PrivateKey.from_private_bytes(decode_key(seed))
        self._header = _text(json.dumps({"alg": _ALGORITHM, "typ": "JWT"}).encode())

    def token(self, audience: str, tenant: str) -> str:
        """A token for one callee and one tenant, good for LIFETIME_S."""
        now = int(time.time())
        claims = {"iss": self._issuer, "aud": audience, "tenant": tenant, "iat": now, "exp": now + LIFETIME_S}
        signed = f"{self._header}.{_text(json.dumps(claims).encode())}"
        return f"{signed}.{_text(self._key.sign(signed.encode()))}"


class Verifier:
    """Checks tokens made for one service."""

    def __init__(self, audience: str, trusted_keys: Mapping[str, str]) -> None:
        self._audience = audience
        self._keys = {
            issuer: Ed25519PublicKey.from_public_bytes(decode_key(key)) for issuer, key in trusted_keys.items()
        }

    def verify(self, token: str) -> Caller:
        """Who made the token; UNAUTHENTICATED when it is missing, wrong, late, or meant for another service."""
        try:
            return self._verify(token)
        except _Bad as why:
            raise faults.unauthenticated("bad_token", f"The call's token was refused: {why}.") from why

    def _verify(self, token: str) -> Caller:
        if len(token) > TOKEN_BYTES_MAX:
            raise _Bad("it is too long")
        parts = token.split(".")
        if len(parts) != 3:
            raise _Bad("it does not have three parts")
        header, claims = _object(parts[0]), _object(parts[1])
        if header.get("alg") != _ALGORITHM or "crit" in header:
            raise _Bad(f"it is not signed by {_ALGORITHM} alone")
        issuer = claims.get("iss")
        key = self._keys.get(issuer) if isinstance(issuer, str) else None
        if key is None:
            raise _untrusted()
        try:
            key.verify(_bytes(parts[2]), f"{parts[0]}.{parts[1]}".encode())
        except InvalidSignature as error:
            raise _Bad("its signature is not the issuer's") from error
        return self._claimed(claims)

    def _claimed(self, claims: Mapping[str, object]) -> Caller:
        """Whom signed claims name, when they hold here and now."""
        issuer, tenant = claims.get("iss"), claims.get("tenant")
        begins, ends, now = _seconds(claims, "iat"), _seconds(claims, "exp"), time.time()
        if not isinstance(issuer, str) or not isinstance(tenant, str):
            raise _Bad("it names no tenant")
        if claims.get("aud") != self._audience:
            raise _Bad("it was made for another service")
        if begins > now + CLOCK_SKEW_S:
            raise _Bad("it is not valid yet")
        if ends <= now - CLOCK_SKEW_S:
            raise _Bad("it has expired")
        if ends - begins > LIFETIME_S:
            raise _Bad("it lives too long")
        return Caller(issuer, tenant)


def _untrusted() -> Fault:
    return faults.unauthenticated("untrusted_issuer", "The call's token is from a service that is not trusted here.")


def _seconds(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Bad(f"its {name} is no time")
    return value


def _object(part: str) -> dict[str, object]:
    """The JSON object in a part; nothing of it is believed before the signature was checked."""
    try:
        found = json.loads(_bytes(part))
    except (ValueError, RecursionError) as error:
        raise _Bad("it cannot be read") from error
    if not isinstance(found, dict):
        raise _Bad("it cannot be read")
    return found


def _bytes(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _Bad("it is not base64url") from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
