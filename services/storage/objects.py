"""The grammar of keys: which objects of a tenant can be named at all.

1. A full key is made here and nowhere else, as `{tenant}/{area}/{segment}[/…]`: every key of a tenant begins with the
   tenant's own id and a slash, so no key and no prefix reaches another tenant
   (tests/storage/test_objects.py::test_tenants_never_meet).
2. The first segment is a configured area. A database, its log and its snapshots (`database.sqlite`, `db/`, `snap/`) are
   no areas and cannot be made one, and system ids begin with `_`, which is no tenant: neither can be expressed
   (test_databases_cannot_be_named, test_reserved_names_are_no_areas).
3. One object has one spelling: NFC, no empty segment, no `.` or `..`, no backslash, no control character, no blank at
   an edge (test_accepted_keys_have_one_spelling).
4. A key that is accepted fits S3: at most MAX_KEY_BYTES after its tenant, MAX_TENANT_LENGTH before it
   (test_accepted_keys_fit_the_store).
5. A folder's prefix ends with a slash: `games/1` never takes `games/10` with it (test_a_folder_is_not_its_neighbour).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from chassis import faults

MAX_KEY_BYTES = 512
MAX_TENANT_LENGTH = 64
RESERVED = frozenset({"db", "snap"})

_TENANT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_TENANT_LENGTH - 1}}}")
_AREA = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PUNCTUATION = frozenset(" !'()+,-.=@_~")


def area_fault(area: str) -> str:
    """Why a name cannot be an area, as a sentence's end; empty when it can."""
    if not _AREA.fullmatch(area):
        return "must be 1 to 32 lower-case letters, digits and underscores, a letter first"
    return "belongs to the databases" if area in RESERVED else ""


class Keys:
    """Full keys from relative ones, and back, over a closed set of areas."""

    def __init__(self, areas: Iterable[str]) -> None:
        self.areas = tuple(areas)
        for area in self.areas:
            if fault := area_fault(area):
                raise ValueError(f"{area!r} {fault}")

    def key(self, tenant: str, key: str) -> str:
        """The full key of one object: an area and at least one segment. Raises invalid_key."""
        home = self.home(tenant)
        if len(self._segments(key)) < 2:
            raise _invalid(key, "names no object: give an area and at least one segment, as in area/name")
        return home + key

    def folder(self, tenant: str, prefix: str) -> str:
        """The full prefix, with its closing slash, of an area or of a folder below one. Raises invalid_key."""
        home = self.home(tenant)
        self._segments(prefix)
        return f"{home}{prefix}/"

    def home(self, tenant: str) -> str:
        """What every full key of the tenant begins with. Raises invalid_key for what is no tenant's id."""
        if not _TENANT.fullmatch(tenant):
            raise faults.invalid("invalid_key", "The tenant is not a tenant's id.", tenant=tenant[:80])
        return f"{tenant}/"

    def relative(self, tenant: str, full_key: str) -> str:
        """The key as its tenant knows it; the inverse of `key`."""
        return full_key.removeprefix(self.home(tenant))

    def in_area(self, tenant: str, full_key: str) -> bool:
        """Whether a key that the store listed lies in one of the tenant's areas."""
        return full_key.startswith(tuple(f"{self.home(tenant)}{area}/" for area in self.areas))

    def _segments(self, key: str) -> list[str]:
        if not key:
            raise _invalid(key, "is empty")
        if len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
            raise _invalid(key, f"is longer than {MAX_KEY_BYTES} bytes of UTF-8")
        if not unicodedata.is_normalized("NFC", key):
            raise _invalid(key, "is not in Unicode's normal form C")
        segments = key.split("/")
        for segment in segments:
            if fault := _segment_fault(segment):
                raise _invalid(key, fault)
        if segments[0] not in self.areas:
            raise _invalid(key, f"does not begin with an area; the areas are {', '.join(self.areas)}")
        return segments


def _segment_fault(segment: str) -> str:
    if segment in ("", ".", ".."):
        return f"has a segment {segment!r}"
    if segment != segment.strip(" "):
        return "has a blank at the edge of a segment"
    for character in segment:
        # Letters, their marks and digits of every script; of the rest only what no store, URL or shell of ours trips
        # over.
        if character not in _PUNCTUATION and unicodedata.category(character)[0] not in "LMN":
            return f"has a character that is not allowed: {character!r}"
    return ""


def _invalid(key: str, fault: str) -> faults.Fault:
    return faults.invalid("invalid_key", f"The key {fault}.", key=repr(key[:80]))
