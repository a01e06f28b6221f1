"""Tokens between services: accepted only by whom, from whom, for which tenant and when they were made for."""

from __future__ import annotations

import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import credentials
from chassis.config import decode_key
from chassis.credentials import Caller, Signer, Verifier, new_key
from chassis.faults import Fault, Kind

SEED, PUBLIC = new_key()
VERIFIER = Verifier("dbsync", {"gateway": PUBLIC})


def forged(seed: str = SEED, algorithm: str = "EdDSA", **changes: object) -> str:
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": "gateway",
        "aud": "dbsync",
        "tenant": "u1",
        "iat": now,
        "exp": now + 60,
        **changes,
    }
    key = Ed25519PrivateKey.from_private_bytes(decode_key(seed)) if algorithm == "EdDSA" else PUBLIC
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm=algorithm)


def test_a_good_token_names_its_caller() -> None:
    assert VERIFIER.verify(Signer("gateway", SEED).token("dbsync", "u1")) == Caller("gateway", "u1")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        forged(aud="storage"),
        forged(iss="render"),
        forged(seed=new_key()[0]),
        forged(algorithm="HS256"),
        forged(exp=int(time.time()) - 60),
        forged(iat=int(time.time()) + 60),
        forged(exp=int(time.time()) + 3600),
        forged(tenant=None),
        forged(tenant=7),
        forged(exp=None),
    ],
    ids=lambda token: token[-6:],
)
def test_every_other_token_is_refused(token: str) -> None:
    with pytest.raises(Fault) as caught:
        VERIFIER.verify(token)
    assert caught.value.kind is Kind.UNAUTHENTICATED


def test_a_token_ends_after_its_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = time.time() - credentials.LIFETIME_S - credentials.CLOCK_SKEW_S - 2
    monkeypatch.setattr("chassis.credentials.time.time", lambda: long_ago)
    token = Signer("gateway", SEED).token("dbsync", "u1")
    monkeypatch.undo()
    with pytest.raises(Fault):
        VERIFIER.verify(token)
