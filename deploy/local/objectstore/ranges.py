"""HTTP byte ranges over one object."""

from __future__ import annotations

import re

from objectstore.errors import S3Error

_SINGLE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def resolve(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """(offset, length) of the bytes asked for, or None for the whole object.

    A header that is not one well-formed range is ignored, as RFC 9110 allows and S3 does; a range with no byte in
    the object raises InvalidRange with the Content-Range that tells the size.
    """
    match = _SINGLE.fullmatch((header or "").replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start = int(match[1])
        last = int(match[2]) if match[2] else size_bytes - 1
        if match[2] and last < start:
            return None
    else:
        start = max(0, size_bytes - int(match[2]))
        last = size_bytes - 1
    if start >= size_bytes:
        raise S3Error(
            "InvalidRange",
            "The requested range is not satisfiable.",
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return start, min(last, size_bytes - 1) - start + 1


def pieces(sizes: list[int], offset: int, length: int) -> list[tuple[int, int, int]]:
    """(segment index, offset within it, count) for each segment that the range touches, in order."""
    found = []
    for index, size in enumerate(sizes):
        if length <= 0:
            break
        if offset < size:
            count = min(size - offset, length)
            found.append((index, offset, count))
            length -= count
            offset = 0
        else:
            offset -= size
    return found
