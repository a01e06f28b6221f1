"""One page of a listing: keys under a prefix, folded at a delimiter, resumed by a token."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from objectstore.errors import S3Error
from objectstore.records import Stored

HIGHEST = 0x10FFFF


@dataclass(frozen=True)
class Page:
    """Objects and common prefixes of one page; `resume` is the lowest key not looked at yet, None at the end."""

    objects: Sequence[Stored]
    prefixes: Sequence[str]
    resume: str | None

    @property
    def count(self) -> int:
        return len(self.objects) + len(self.prefixes)

    @property
    def last(self) -> str:
        """The greatest key or common prefix of the page, or empty."""
        return max([*(stored.key for stored in self.objects[-1:]), *self.prefixes[-1:]], default="")


def after(key: str) -> str:
    """The smallest string greater than `key`."""
    return key + "\0"


def beyond(prefix: str) -> str | None:
    """The smallest string greater than everything that begins with `prefix`; None when there is none."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if code <= HIGHEST:
            # Surrogates are no characters: the next one after U+D7FF is U+E000.
            return prefix[:-1] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
        prefix = prefix[:-1]
    return None


def page(scan: Callable[[str, int], Sequence[Stored]], *, prefix: str, delimiter: str, start: str, limit: int) -> Page:
    """At most `limit` objects and common prefixes from the key `start` on; `scan(lower, count)` reads keys in order."""
    objects: list[Stored] = []
    prefixes: list[str] = []
    lower: str | None = max(start, prefix)
    while lower is not None:
        room = limit - len(objects) - len(prefixes)
        rows = scan(lower, room + 1)
        lower = after(rows[-1].key) if len(rows) > room else None
        for row in rows:
            if not row.key.startswith(prefix):
                return Page(objects, prefixes, None)
            if len(objects) + len(prefixes) >= limit:
                return Page(objects, prefixes, row.key)
            cut = row.key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                folded = row.key[: cut + len(delimiter)]
                prefixes.append(folded)
                lower = beyond(folded)
                break
            objects.append(row)
    return Page(objects, prefixes, None)


def token_of(resume: str) -> str:
    """A continuation token for the key to resume from."""
    return base64.urlsafe_b64encode(resume.encode()).decode("ascii")


def resume_of(token: str) -> str:
    """The key that a continuation token resumes from; raises InvalidArgument when it is none of ours."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as fault:
        raise S3Error("InvalidArgument", "The continuation token is not valid.") from fault
