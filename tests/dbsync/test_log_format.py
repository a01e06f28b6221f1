"""The log entry's bytes: what goes in comes out, and nothing else is ever read."""

from __future__ import annotations

import hashlib
import string

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbsync import wire
from dbsync.log_format import HASH_BYTES, MAGIC, BadEntry, Entry, SubCommit, decode, encode
from dbsync.pages import Packed
from dbsync.requests import RowKey

few = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
DATABASE = "user-1"

values = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
)
rows = st.builds(RowKey, st.text(string.ascii_letters, min_size=1, max_size=8), st.lists(values, max_size=3).map(tuple))
subs = st.builds(
    SubCommit,
    commit_id=st.binary(min_size=16, max_size=16),
    author=st.text(max_size=12),
    idempotency_key=st.binary(min_size=16, max_size=16),
    system=st.booleans(),
    migration=st.booleans(),
    rows=st.lists(rows, max_size=4).map(tuple),
    changeset=st.binary(max_size=60),
    undoes=st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)),
    restores=st.integers(0, 1 << 40),
    terminal=st.booleans(),
    virtual=st.lists(st.text(max_size=8), max_size=2).map(tuple),
)
numbers = st.sets(st.integers(1, 1000), max_size=9).map(lambda some: tuple(sorted(some)))
packed = numbers.flatmap(
    lambda some: st.builds(
        Packed, st.integers(0, 2000), st.just(some), st.lists(st.binary(max_size=50), max_size=len(some)).map(tuple)
    )
)
entries = st.builds(
    Entry,
    database=st.just(DATABASE),
    version=st.integers(1, 1 << 40),
    commit_id=st.binary(min_size=16, max_size=16),
    before=st.integers(0, (1 << 64) - 1),
    after=st.integers(0, (1 << 64) - 1),
    schema_version=st.integers(0, 1 << 31),
    committed_ms=st.integers(0, 1 << 48),
    subs=st.lists(subs, min_size=1, max_size=3).map(tuple),
    pages=packed,
)
SAMPLE = Entry(
    DATABASE,
    7,
    b"c" * 16,
    1,
    2,
    3,
    1_750_000_000_000,
    (SubCommit(b"s" * 16, "page-1", b"k" * 16, False, False, (RowKey("clips", ("a", 1)),), b"change"),),
    Packed(4, (1, 4), (b"a packed chunk", bytes(range(256)))),
)


def sealed(raw: bytes, chunks: bytes = b"", magic: bytes = MAGIC) -> bytes:
    """An object with a right hash, whatever is in it."""
    outer = wire.Writer()
    outer.raw(magic)
    outer.blob(zstandard.compress(raw))
    outer.raw(chunks)
    body = outer.finish()
    return body + hashlib.sha256(body).digest()


def parts_of(entry: Entry) -> tuple[bytes, bytes]:
    """The fields of an entry before compression, and what follows them."""
    read = wire.Reader(encode(entry)[len(MAGIC) : -HASH_BYTES])
    return zstandard.decompress(read.blob()), read.rest()


RAW, CHUNKS = parts_of(SAMPLE)


@few
@given(entries)
def test_round_trip(entry: Entry) -> None:
    assert decode(encode(entry), database=DATABASE, version=entry.version) == entry


@few
@given(st.integers(0, len(encode(SAMPLE)) - 1), st.integers(1, 255))
def test_any_damage_is_refused(at: int, flip: int) -> None:
    data = bytearray(encode(SAMPLE))
    data[at] ^= flip
    with pytest.raises(BadEntry):
        decode(bytes(data), database=DATABASE, version=7)


def test_every_truncation_is_refused() -> None:
    data = encode(SAMPLE)
    for size in range(len(data)):
        with pytest.raises(BadEntry):
            decode(data[:size], database=DATABASE, version=7)
    with pytest.raises(BadEntry):
        decode(data + b"\0", database=DATABASE, version=7)


def test_a_foreign_entry_is_refused() -> None:
    data = encode(SAMPLE)
    for database, version in (("user-2", 7), (DATABASE, 8)):
        with pytest.raises(BadEntry, match="copied from elsewhere"):
            decode(data, database=database, version=version)


@few
@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, MAGIC + noise, sealed(noise)):
        with pytest.raises(BadEntry):
            decode(data, database=DATABASE, version=7)


@few
@given(st.integers(0, len(RAW + CHUNKS) - 1), st.integers(1, 255))
def test_damage_under_a_right_hash_is_refused_or_an_entry(at: int, flip: int) -> None:
    both = bytearray(RAW + CHUNKS)
    both[at] ^= flip
    raw, chunks = bytes(both[: len(RAW)]), bytes(both[len(RAW) :])
    try:
        entry = decode(sealed(raw, chunks), database=DATABASE, version=7)
    except BadEntry:
        return
    assert parts_of(entry) == (raw, chunks)  # one encoding for each entry: nothing was skipped or guessed


def test_a_bomb_is_refused() -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 22))
    outer = wire.Writer()
    outer.raw(MAGIC)
    outer.blob(bomb)
    with pytest.raises(BadEntry):
        decode(outer.finish() + hashlib.sha256(outer.finish()).digest(), database=DATABASE, version=7)
    many = wire.Writer()
    many.text(DATABASE)
    many.uint(7)
    many.raw(b"c" * 16 + b"\0" * 16)
    many.uint(1)
    many.uint(1)
    many.uint((1 << 63) - 1)  # so many sub-commits
    with pytest.raises(BadEntry):
        decode(sealed(many.finish()), database=DATABASE, version=7)


def test_a_later_format_is_refused() -> None:
    later = MAGIC[:-1] + bytes([MAGIC[-1] + 1])
    with pytest.raises(BadEntry, match="known format"):
        decode(sealed(RAW, CHUNKS, later), database=DATABASE, version=7)


@few
@given(st.lists(values, max_size=6))
def test_values_have_one_encoding(some: list[wire.Value]) -> None:
    out = wire.Writer()
    out.values(tuple(some))
    read = wire.Reader(out.finish())
    assert read.values() == tuple(some)
    read.end()


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff" * 10, b"\xff" * 11, b"\x80", b"\x81\x80\x80\x00"])
def test_an_integer_has_one_form(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.Reader(data).uint()
