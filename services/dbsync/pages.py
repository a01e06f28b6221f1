"""Pages of a database: their checksum, the frames that a transaction put into the WAL, the delta between versions, and
the delta packed against the pages before it.

1. The checksum of a database is the XOR over its pages of xxh3-64(page, seed = its number): it does not depend on the
   order of writes, and a delta updates it in time of its own size (test_pages.py::test_incremental_is_whole).
2. A delta that grows the database holds every new page; one that does not is refused, because the bytes of a page that
   nobody wrote differ between machines (test_pages.py::test_growth_without_pages_is_refused).
3. What is packed against the old pages comes back with the same old pages, and is bounded by its own numbers
   (test_pages.py::test_packed_and_back, ::test_a_packed_bomb_is_refused).

A gesture changes some hundred bytes on seven pages of 4 KB: packed by itself that is 5 KB, packed against the pages as
they were 0.3 KB.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap

import xxhash
import zstandard

PAGE_SIZE_BYTES = 4096
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_SIZE_BYTES
# The page that holds SQLite's lock bytes is never written; a database stays below it.
PAGE_COUNT_MAX = (1 << 30) // PAGE_SIZE_BYTES - 1
FORMAT_BYTES = slice(18, 20)  # of page 1: the file format's write and read versions
PORTABLE, CANONICAL = b"\x01\x01", b"\x02\x02"  # with a rollback journal; with a WAL
_FRAME_HEADER = struct.Struct(">II")
_PAGES_IN_CHUNK = 256
_LEVEL = 3

Body = bytes | mmap  # a whole file or object: in memory, or in a file that is mapped into it
OldPage = Callable[[int], bytes]  # the page as it was; empty for one that was not there


class BadDelta(Exception):
    """Pages that cannot be the change from one version to the next."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The pages that a version changed, by number from 1, and how many pages the database then has."""

    pages: Mapping[int, bytes]
    page_count: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A delta as it is stored: the numbers of its pages, ascending, and their bytes in compressed chunks."""

    page_count: int
    numbers: tuple[int, ...]
    chunks: Sequence[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Step:
    """What a delta does to the checksums: the whole's, the count of pages, and the hashes of those that it changes."""

    checksum: int
    page_count: int
    sums: Mapping[int, int]


class PageSums:
    """The hash of every page of one database, and their XOR."""

    __slots__ = ("_sums", "checksum")

    def __init__(self, pages: Iterable[bytes | memoryview] = ()) -> None:
        self._sums = array("Q", (page_sum(number, page) for number, page in enumerate(pages, 1)))
        self.checksum = self.whole()

    @property
    def page_count(self) -> int:
        """How many pages the database has."""
        return len(self._sums)

    def step(self, delta: Delta) -> Step:
        """The step that the delta makes; BadDelta when the delta is not one of this database."""
        count = len(self._sums)
        if not 0 < delta.page_count <= PAGE_COUNT_MAX:
            raise BadDelta(f"a database of {delta.page_count} pages")
        checksum, sums = self.checksum, {}
        for number, page in delta.pages.items():
            if not 0 < number <= delta.page_count or len(page) != PAGE_SIZE_BYTES:
                raise BadDelta(f"page {number} of {len(page)} bytes in a database of {delta.page_count} pages")
            if number <= count:
                checksum ^= self._sums[number - 1]
            sums[number] = page_sum(number, page)
            checksum ^= sums[number]
        for number in range(delta.page_count + 1, count + 1):
            checksum ^= self._sums[number - 1]
        if missing := sum(1 for number in range(count + 1, delta.page_count + 1) if number not in sums):
            raise BadDelta(f"{missing} of the pages after {count} are missing")
        return Step(checksum, delta.page_count, sums)

    def take(self, step: Step) -> None:
        """Moves to the database after the step."""
        self.checksum = step.checksum
        if step.page_count < len(self._sums):
            del self._sums[step.page_count :]
        elif step.page_count > len(self._sums):
            self._sums.extend([0] * (step.page_count - len(self._sums)))
        for number, value in step.sums.items():
            self._sums[number - 1] = value

    def holds(self, number: int, page: bytes) -> bool:
        """Whether that is the page of that number."""
        return 0 < number <= len(self._sums) and self._sums[number - 1] == page_sum(number, page)

    def whole(self) -> int:
        """The checksum, from the beginning."""
        checksum = 0
        for value in self._sums:
            checksum ^= value
        return checksum

    def differing(self, other: PageSums) -> list[int]:
        """The numbers of the pages that are not the same in the other, or not there."""
        shared = min(len(self._sums), len(other._sums))
        pairs = zip(self._sums[:shared], other._sums[:shared], strict=True)
        numbers = [number for number, (mine, theirs) in enumerate(pairs, 1) if mine != theirs]
        return numbers + list(range(shared + 1, len(self._sums) + 1))

    def copy(self) -> PageSums:
        """An independent copy."""
        twin = PageSums()
        twin._sums = self._sums[:]
        twin.checksum = self.checksum
        return twin


def page_sum(number: int, page: bytes | memoryview) -> int:
    """The hash of one page, counted from 1."""
    return xxhash.xxh3_64_intdigest(page, seed=number)


class OnDemand(Mapping[int, bytes]):
    """Pages that are read when they are asked for: there may be a whole database of them."""

    def __init__(self, numbers: Sequence[int], read: Callable[[int], bytes]) -> None:
        self._numbers = numbers
        self._read = read

    def __getitem__(self, number: int) -> bytes:
        return self._read(number)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class _Packing(Sequence[bytes]):
    """The chunks of a delta, each packed when it is asked for."""

    def __init__(self, delta: Delta, numbers: tuple[int, ...], old: OldPage) -> None:
        self._delta = delta
        self._chunks = list(_in_chunks(numbers))
        self._old = old

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, place: int) -> bytes:  # type: ignore[override]  # nobody asks for slices
        some = self._chunks[place]
        packer = zstandard.ZstdCompressor(level=_LEVEL, dict_data=_dictionary(some, self._old))
        return packer.compress(b"".join(self._delta.pages[number] for number in some))


def pack(delta: Delta, old: OldPage) -> Packed:
    """The delta against the pages as they were."""
    found = pack_on_demand(delta, old)
    return Packed(found.page_count, found.numbers, tuple(found.chunks))


def pack_on_demand(delta: Delta, old: OldPage) -> Packed:
    """The same, each chunk of it made anew whenever it is asked for: a large delta is never in memory."""
    numbers = tuple(sorted(delta.pages))
    return Packed(delta.page_count, numbers, _Packing(delta, numbers, old))


def unpack(packed: Packed, old: OldPage) -> Delta:
    """The delta again, given the same old pages; BadDelta when it cannot be had from these."""
    return Delta(dict(unpack_each(packed, old)), packed.page_count)


def unpack_each(packed: Packed, old: OldPage) -> Iterator[tuple[int, bytes]]:
    """The same, page by page, so that a large delta need not be in memory."""
    some_numbers = list(_in_chunks(packed.numbers))
    if len(some_numbers) != len(packed.chunks):
        raise BadDelta(f"{len(packed.chunks)} chunks for {len(packed.numbers)} pages")
    for some, chunk in zip(some_numbers, packed.chunks, strict=True):
        size = len(some) * PAGE_SIZE_BYTES
        try:
            if zstandard.frame_content_size(chunk) != size:
                raise BadDelta(f"a chunk that does not hold {len(some)} pages")
            unpacker = zstandard.ZstdDecompressor(dict_data=_dictionary(some, old))
            raw = unpacker.decompress(chunk, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise BadDelta(f"zstd: {error}") from error
        for place, number in enumerate(some):
            yield number, raw[place * PAGE_SIZE_BYTES : (place + 1) * PAGE_SIZE_BYTES]


def _in_chunks(numbers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return (numbers[at : at + _PAGES_IN_CHUNK] for at in range(0, len(numbers), _PAGES_IN_CHUNK))


def _dictionary(numbers: tuple[int, ...], old: OldPage) -> zstandard.ZstdCompressionDict | None:
    content = b"".join(old(number) for number in numbers)
    if not content:
        return None
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def split(image: Body) -> Iterator[bytes | memoryview]:
    """The canonical pages of a database's whole file, portable or not; BadDelta when it is not made of pages."""
    if len(image) % PAGE_SIZE_BYTES or len(image) // PAGE_SIZE_BYTES > PAGE_COUNT_MAX:
        raise BadDelta(f"{len(image)} bytes are not whole pages of a database")
    view = memoryview(image)
    found = (view[at : at + PAGE_SIZE_BYTES] for at in range(0, len(image), PAGE_SIZE_BYTES))
    return (page if at else canonical(bytes(page)) for at, page in enumerate(found))


def from_frames(frames: bytes) -> tuple[Delta, dict[int, int]]:
    """The delta of one transaction, and where in `frames` each of its pages begins.

    `frames` are its WAL frames, from its first one to its commit frame; what follows is ignored. BadDelta when there is
    no commit frame.
    """
    found: dict[int, int] = {}
    for at in range(0, len(frames) - FRAME_BYTES + 1, FRAME_BYTES):
        number, page_count = _FRAME_HEADER.unpack_from(frames, at)
        found[number] = at + FRAME_HEADER_BYTES
        if page_count:
            places = {number: found[number] for number in sorted(found) if number <= page_count}
            pages = {number: frames[place : place + PAGE_SIZE_BYTES] for number, place in places.items()}
            return Delta(pages, page_count), places
    raise BadDelta("no commit frame among the frames of a transaction")


def in_log(read: Callable[[int, int], bytes], size_bytes: int) -> tuple[Delta, dict[int, int]]:
    """As `from_frames`, of frames that are read where they are: `read(offset, size)`. There may be a whole database."""
    found: dict[int, int] = {}
    for at in range(0, size_bytes - FRAME_BYTES + 1, FRAME_BYTES):
        number, page_count = _FRAME_HEADER.unpack(read(at, _FRAME_HEADER.size))
        found[number] = at + FRAME_HEADER_BYTES
        if page_count:
            places = {number: found[number] for number in sorted(found) if number <= page_count}
            return Delta(OnDemand(tuple(places), _reading(read, places)), page_count), places
    raise BadDelta("no commit frame among the frames of a transaction")


def _reading(read: Callable[[int, int], bytes], places: Mapping[int, int]) -> Callable[[int], bytes]:
    return lambda number: read(places[number], PAGE_SIZE_BYTES)


def portable(page: bytes) -> bytes:
    """Page 1 of a file that any SQLite opens without a WAL."""
    return _with_format(page, PORTABLE)


def canonical(page: bytes) -> bytes:
    """Page 1 as checksums know it: of a file in WAL mode."""
    return _with_format(page, CANONICAL)


def _with_format(page: bytes, versions: bytes) -> bytes:
    return page[: FORMAT_BYTES.start] + versions + page[FORMAT_BYTES.stop :]
