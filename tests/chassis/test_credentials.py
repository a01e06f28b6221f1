"""Tokens between services: accepted only by whom, from whom, for which tenant and when they were made for.

PyJWT is the oracle: its tokens are read by ours, ours by it.
"""

from __future__ import annotations

import base64
import json
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


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(header: bytes, payload: bytes, seed: str = SEED) -> str:
    """A token of any bytes, with a good signature."""
    both = f"{text(header)}.{text(payload)}"
    return f"{both}.{text(Ed25519PrivateKey.from_private_bytes(decode_key(seed)).sign(both.encode()))}"


def claims(**changes: object) -> bytes:
    now = int(time.time())
    good = {"iss": "gateway", "aud": "dbsync", "tenant": "u1", "iat": now, "exp": now + 60}
    return json.dumps({**good, **changes}).encode()


HEADER, UNSIGNED = b'{"alg": "EdDSA", "typ": "JWT"}', b'{"alg": "none"}'


def test_others_read_it_too() -> None:
    token = Signer("gateway", SEED).token("dbsync", "u1")
    public = Ed25519PrivateKey.from_private_bytes(decode_key(SEED)).public_key()
    found = jwt.decode(token, public, algorithms=["EdDSA"], audience="dbsync", issuer="gateway")
    assert found["tenant"] == "u1" and found["exp"] - found["iat"] == credentials.LIFETIME_S
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT"}


def test_what_others_sign_is_read() -> None:
    assert VERIFIER.verify(forged()) == Caller("gateway", "u1")
    assert VERIFIER.verify(signed(HEADER, claims(more="unknown"))) == Caller("gateway", "u1")


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
    "no beginning": lambda: forged(iat=None),
    "no audience": lambda: forged(aud=None),
    "one audience of several": lambda: forged(aud=["dbsync", "storage"]),
    "no issuer": lambda: forged(iss=None),
    "an end that is no number": lambda: signed(HEADER, claims(exp="never")),
    "an end that is true": lambda: signed(HEADER, claims(exp=True)),
    "an end without end": lambda: signed(HEADER, claims().replace(b'"exp": ', b'"exp": 1e999, "x": ')),
    "no signature": lambda: forged().rpartition(".")[0] + ".",
    "a signature of other claims": lambda: ".".join((*forged().split(".")[:2], forged(tenant="u2").split(".")[2])),
    "claims of another signature": lambda: ".".join(
        (forged().split(".")[0], forged(tenant="u2").split(".")[1], forged().split(".")[2])
    ),
    "unsigned": lambda: f"{text(UNSIGNED)}.{text(claims())}.",
    "an algorithm that is signed but not ours": lambda: signed(UNSIGNED, claims()),
    "a header that must be understood": lambda: signed(b'{"alg": "EdDSA", "crit": ["b64"], "b64": false}', claims()),
    "a header that is a list": lambda: signed(b'["EdDSA"]', claims()),
    "claims that are a list": lambda: signed(HEADER, b"[]"),
    "claims that are no text": lambda: signed(HEADER, b"\xff\xfe"),
    "claims without an end in sight": lambda: signed(HEADER, b"[" * 2500),
    "four parts": lambda: forged() + ".x",
    "padding": lambda: forged() + "====",
    "a letter that is none": lambda: "é" + forged(),
    "too much of it": lambda: signed(HEADER, claims(more="x" * credentials.TOKEN_BYTES_MAX)),
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
