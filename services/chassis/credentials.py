"""Short-lived signed call credentials between services: Ed25519 JWTs that say who calls whom for which tenant.

1. A token is accepted by the one service it was made for, from an issuer whose key is trusted, within LIFETIME_S
   (tests/chassis/test_credentials.py).
2. Its tenant is part of what is signed: a request for another tenant is refused by the server before its handler runs.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis import faults
from chassis.config import decode_key

LIFETIME_S = 60
CLOCK_SKEW_S = 10  # after a resume from suspend a machine's clock is briefly wrong
_ALGORITHM = "EdDSA"


@dataclass(frozen=True)
class Caller:
    """The verified maker of a call."""

    issuer: str
    tenant: str


def new_key() -> tuple[str, str]:
    """A fresh pair: the private seed and the public key, each 32 bytes in base64url without padding."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return _text(private.private_bytes_raw()), _text(public)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Signer:
    """Makes tokens in the name of one service."""

    def __init__(self, issuer: str, seed: str) -> None:
        self._issuer = issuer
        self._key = Ed25519PrivateKey.from_private_bytes(decode_key(seed))

    def token(self, audience: str, tenant: str) -> str:
        """A token for one callee and one tenant, good for LIFETIME_S."""
        now = int(time.time())
        claims = {"iss": self._issuer, "aud": audience, "tenant": tenant, "iat": now, "exp": now + LIFETIME_S}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)


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
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            key = self._keys.get(issuer) if isinstance(issuer, str) else None
            if key is None:
                raise faults.unauthenticated(
                    "untrusted_issuer", "The call's token is from a service that is not trusted here."
                )
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                leeway=CLOCK_SKEW_S,
                options={"require": ["iss", "aud", "exp", "iat", "tenant"]},
            )
        except jwt.PyJWTError as error:
            raise faults.unauthenticated("bad_token", f"The call's token was refused: {error}.") from error
        tenant = claims["tenant"]
        if not isinstance(tenant, str) or claims["exp"] - claims["iat"] > LIFETIME_S:
            raise faults.unauthenticated("bad_token", "The call's token was refused: its claims are out of bounds.")
        return Caller(str(issuer), tenant)
