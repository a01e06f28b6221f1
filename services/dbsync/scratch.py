"""Room for what is too large for memory: bytes that live in a file without a name, and go when nobody holds them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from mmap import mmap
from pathlib import Path

from dbsync.pages import PAGE_SIZE_BYTES, Body

IN_MEMORY_BYTES = 8 << 20


def room(folder: Path, size_bytes: int) -> mmap:
    """Zeros to be written over; the file is in the folder, and has no name there. OSError when there is no space."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size_bytes)
        return mmap(file.fileno(), size_bytes)


def gathered(folder: Path, parts: Iterable[bytes]) -> Body:
    """The parts as one: in memory when it is small, else in the folder. OSError."""
    first = bytearray()
    remaining = iter(parts)
    for part in remaining:
        first += part
        if len(first) > IN_MEMORY_BYTES:
            break
    else:
        return bytes(first)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(first)
        first.clear()
        for part in remaining:
            file.write(part)
        file.flush()
        return mmap(file.fileno(), 0)


class PageBox(Mapping[int, bytes]):
    """Pages by number: in memory when they are few, else in the folder."""

    def __init__(self, folder: Path, most: int) -> None:
        """For at most so many pages. OSError."""
        self._pages: dict[int, bytes] = {}
        self._places: dict[int, int] = {}
        self._room = room(folder, most * PAGE_SIZE_BYTES) if most * PAGE_SIZE_BYTES > IN_MEMORY_BYTES else None

    def put(self, number: int, page: bytes) -> None:
        """Puts a page in, in the place of an earlier one of that number."""
        if self._room is None:
            self._pages[number] = page
            return
        at = self._places.setdefault(number, len(self._places)) * PAGE_SIZE_BYTES
        self._room[at : at + PAGE_SIZE_BYTES] = page

    def __getitem__(self, number: int) -> bytes:
        if self._room is None:
            return self._pages[number]
        at = self._places[number] * PAGE_SIZE_BYTES
        return self._room[at : at + PAGE_SIZE_BYTES]

    def __contains__(self, number: object) -> bool:
        return number in self._pages or number in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places if self._room is not None else self._pages)

    def __len__(self) -> int:
        return len(self._pages) + len(self._places)
