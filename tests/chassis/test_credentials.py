"""Tokens between services: accepted only by whom, from whom, for which tenant and when they were made for."""

from __future__ import annotations

import time
from collections.abc import Callable

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


# By name, not by value: tokens are random, and every worker must collect the same tests.
BAD: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no token": lambda: "nonsense",
    "another audience": lambda: forged(aud="storage"),
    "an issuer who is not trusted": lambda: forged(iss="render"),
    "another key": lambda: forged(seed=new_key()[0]),
    "another algorithm": lambda: forged(algorithm="HS256"),
    "too late": lambda: forged(exp=int(time.time()) - 60),
    "too early": lambda: forged(iat=int(time.time()) + 60),
    "too long": lambda: forged(exp=int(time.time()) + 3600),
    "no tenant": lambda: forged(tenant=None),
    "a tenant that is no text": lambda: forged(tenant=7),
    "no end": lambda: forged(exp=None),
}


@pytest.mark.parametrize("why", BAD)
def test_every_other_token_is_refused(why: str) -> None:
    with pytest.raises(Fault) as caught:
        VERIFIER.verify(BAD[why]())
    assert caught.value.kind is Kind.UNAUTHENTICATED


def test_a_token_ends_after_its_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = time.time() - credentials.LIFETIME_S - credentials.CLOCK_SKEW_S - 2
    monkeypatch.setattr("chassis.credentials.time.time", lambda: long_ago)
    token = Signer("gateway", SEED).token("dbsync", "u1")
    monkeypatch.undo()
    with pytest.raises(Fault):
        VERIFIER.verify(token)
