"""Page checksums and deltas."""

from __future__ import annotations

import random
import struct

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbsync.pages import (
    FRAME_HEADER_BYTES,
    PAGE_SIZE_BYTES,
    BadDelta,
    Delta,
    Packed,
    PageSums,
    canonical,
    from_frames,
    pack,
    portable,
    split,
    unpack,
)

page = st.binary(min_size=1, max_size=2).map(lambda seed: (seed * PAGE_SIZE_BYTES)[:PAGE_SIZE_BYTES])

few = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def filled(letter: str) -> bytes:
    """A page of one letter."""
    return letter.encode() * PAGE_SIZE_BYTES


def frame(number: int, letter: str, page_count: int = 0) -> bytes:
    """A WAL frame; with a page count it commits."""
    return struct.pack(">II", number, page_count) + bytes(FRAME_HEADER_BYTES - 8) + filled(letter)


@few
@given(st.lists(page, max_size=6), st.data())
def test_incremental_is_whole(before: list[bytes], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    changed = data.draw(st.dictionaries(st.integers(1, count), page))
    changed |= {number: filled("n") for number in range(len(before) + 1, count + 1) if number not in changed}
    after = [changed.get(n, before[n - 1] if n <= len(before) else b"") for n in range(1, count + 1)]
    sums = PageSums(before)
    twin = sums.copy()
    step = sums.step(Delta(changed, count))
    assert step.checksum == PageSums(after).checksum and sums.checksum == PageSums(before).checksum
    sums.take(step)
    assert sums.checksum == PageSums(after).checksum
    assert sums.page_count == count and all(sums.holds(n, one) for n, one in enumerate(after, 1))
    assert not sums.holds(count + 1, filled("x")) and not sums.holds(0, filled("x"))
    assert twin.checksum == PageSums(before).checksum


def test_the_place_of_a_page_counts() -> None:
    assert PageSums([filled("a"), filled("b")]).checksum != PageSums([filled("b"), filled("a")]).checksum
    assert PageSums([filled("a"), filled("a")]).checksum != 0


def test_growth_without_pages_is_refused() -> None:
    sums = PageSums([filled("a")])
    with pytest.raises(BadDelta, match="missing"):
        sums.step(Delta({3: filled("c")}, 3))


@pytest.mark.parametrize(
    "delta", [Delta({}, 0), Delta({2: filled("b")}, 1), Delta({0: filled("b")}, 1), Delta({1: b"short"}, 1)]
)
def test_what_is_no_page_is_refused(delta: Delta) -> None:
    with pytest.raises(BadDelta):
        PageSums([filled("a")]).step(delta)


def test_frames_of_one_transaction() -> None:
    frames = frame(1, "a") + frame(3, "b") + frame(1, "c") + frame(9, "z") + frame(2, "d", 3) + frame(1, "x", 3)
    delta, places = from_frames(frames)
    assert delta.page_count == 3
    assert delta.pages == {1: filled("c"), 2: filled("d"), 3: filled("b")}  # newest of each, none beyond the end
    assert {number: frames[at : at + PAGE_SIZE_BYTES] for number, at in places.items()} == delta.pages
    with pytest.raises(BadDelta):
        from_frames(frame(1, "a"))


@few
@given(st.dictionaries(st.integers(1, 9), page), st.dictionaries(st.integers(1, 9), page))
def test_packed_and_back(old: dict[int, bytes], new: dict[int, bytes]) -> None:
    delta = Delta(new, 9)
    packed = pack(delta, lambda number: old.get(number, b""))
    assert unpack(packed, lambda number: old.get(number, b"")) == delta


def test_packing_many_pages() -> None:
    rng = random.Random(1)
    old = {number: rng.randbytes(PAGE_SIZE_BYTES) for number in range(1, 701)}
    new = {number: page[:100] + b"?" + page[101:] for number, page in old.items()} | {701: filled("n")}
    packed = pack(Delta(new, 701), lambda number: old.get(number, b""))
    assert len(packed.chunks) == 3 and sum(map(len, packed.chunks)) < 40_000
    assert unpack(packed, lambda number: old.get(number, b"")).pages == new


def test_a_gesture_packs_to_little() -> None:
    rng = random.Random(2)
    old = {number: rng.randbytes(PAGE_SIZE_BYTES) for number in range(1, 8)}
    new = {
        number: page[:1000] + b"forty bytes of something new in a page.." + page[1040:] for number, page in old.items()
    }
    assert len(pack(Delta(new, 7), old.__getitem__).chunks[0]) < 600


def test_a_packed_bomb_is_refused() -> None:
    bomb = zstandard.compress(bytes(1 << 24))
    nameless = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(PAGE_SIZE_BYTES))
    for chunk in (bomb, nameless, b"", b"noise", zstandard.compress(bytes(PAGE_SIZE_BYTES))[:-1]):
        with pytest.raises(BadDelta):
            unpack(Packed(1, (1,), (chunk,)), lambda number: b"")
    for packed in (Packed(1, (1,), ()), Packed(1, (), (bomb,))):
        with pytest.raises(BadDelta):
            unpack(packed, lambda number: b"")


def test_other_old_pages_are_noticed() -> None:
    old, other = random.Random(1).randbytes(PAGE_SIZE_BYTES), random.Random(2).randbytes(PAGE_SIZE_BYTES)
    packed = pack(Delta({1: old[:-1] + b"!"}, 1), lambda number: old)
    try:
        assert unpack(packed, lambda number: other).pages[1] != old[:-1] + b"!"  # the checksum would tell
    except BadDelta:
        return


def test_portable_and_back() -> None:
    image = filled("a")[:18] + b"\x02\x02" + filled("a")[20:] + filled("b")
    assert portable(image)[18:20] == b"\x01\x01"
    assert canonical(portable(image)) == image
    assert [bytes(one) for one in split(image)] == [image[:PAGE_SIZE_BYTES], filled("b")]
    with pytest.raises(BadDelta):
        split(image[:-1])
