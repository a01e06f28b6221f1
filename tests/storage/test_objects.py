"""The grammar of keys: what is accepted stays with its tenant and its areas, and nothing else can be written."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chassis.faults import Fault, Kind
from storage import objects
from storage.objects import Keys

AREAS = ("games", "raw_clips", "downloads")
KEYS = Keys(AREAS)

tenants = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
letters = st.characters(categories=("L", "M", "N"), include_characters=" !'()+,-.=@_~")
segments = (
    st.text(letters, min_size=1, max_size=20)
    .map(lambda text: unicodedata.normalize("NFC", text).strip(" "))
    .filter(lambda text: text not in ("", ".", ".."))
)
good_keys = (
    st.tuples(st.sampled_from(AREAS), st.lists(segments, min_size=1, max_size=4))
    .map(lambda pair: "/".join((pair[0], *pair[1])))
    .filter(lambda key: unicodedata.is_normalized("NFC", key) and len(key.encode()) <= objects.MAX_KEY_BYTES)
)
# Close to the grammar, so that most of what is drawn is nearly a key.
near_keys = st.one_of(
    st.text(),
    st.lists(
        st.one_of(st.sampled_from([*AREAS, "", ".", "..", "db", "snap", "database.sqlite"]), st.text(max_size=8))
    ).map("/".join),
)


def refused(tenant: str, key: str) -> None:
    """Neither an object nor a folder can be named so."""
    for read in (KEYS.key, KEYS.folder):
        with pytest.raises(Fault) as caught:
            read(tenant, key)
        assert (caught.value.kind, caught.value.reason) == (Kind.INVALID, "invalid_key")


@given(tenants, good_keys)
def test_good_keys_are_accepted(tenant: str, key: str) -> None:
    full = KEYS.key(tenant, key)
    assert full == f"{tenant}/{key}"
    assert KEYS.relative(tenant, full) == key
    assert KEYS.in_area(tenant, full)


@given(tenants, near_keys)
@example("dev-local", "games/../db/1")
@example("dev-local", "games/..")
@example("dev-local", "games//x")
def test_accepted_keys_have_one_spelling(tenant: str, key: str) -> None:
    try:
        full = KEYS.key(tenant, key)
    except Fault as fault:
        assert fault.reason == "invalid_key"
        return
    area, *rest = key.split("/")
    assert area in AREAS
    assert rest
    assert full == f"{tenant}/{key}" == unicodedata.normalize("NFC", full)
    for segment in rest:
        assert segment not in ("", ".", "..")
        assert segment == segment.strip()
        assert "\\" not in segment
        assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in segment)


@given(tenants, good_keys, tenants, good_keys)
@example("a", "games/x", "a-b", "games/x")
def test_tenants_never_meet(mine: str, my_key: str, theirs: str, their_key: str) -> None:
    full = KEYS.key(mine, my_key)
    if mine != theirs:
        assert full != KEYS.key(theirs, their_key)
        assert not full.startswith(KEYS.home(theirs))
        assert not KEYS.in_area(theirs, full)


@given(tenants, st.one_of(good_keys, near_keys))
@example("t", "games/" + "x" * (objects.MAX_KEY_BYTES - 6))
@example("t", "games/" + "é" * ((objects.MAX_KEY_BYTES - 6) // 2))
def test_accepted_keys_fit_the_store(tenant: str, key: str) -> None:
    try:
        full = KEYS.key(tenant, key)
    except Fault:
        return
    assert len(full.encode()) <= objects.MAX_TENANT_LENGTH + 1 + objects.MAX_KEY_BYTES <= 1024


@pytest.mark.parametrize(
    "path", ["database.sqlite", "db", "db/00000001", "snap", "snap/1.zst", "_directory.production"]
)
def test_databases_cannot_be_named(path: str) -> None:
    refused("dev-local", path)
    for way in (f"games/../{path}", f"./{path}", f"/{path}", f"games/./../{path}", f"games\\..\\{path}"):
        refused("dev-local", way)


@pytest.mark.parametrize(
    "tenant", ["_directory.production", "_jobs.local", "_", "", ".", "..", "a/b", "a.b", "a b", "ä", "a" * 65, "a\n"]
)
def test_what_is_no_tenant(tenant: str) -> None:
    refused(tenant, "games/x")
    with pytest.raises(Fault):
        KEYS.home(tenant)


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "games/", "/games/x", "games//x", "games/x/", "games/./x", "games/../x", "games/ x", "games/x "),
        *("games/a\\b", "games/a\x00b", "games/a\nb", "games/a\tb", "games/a\x7fb", "games/a\u200bb", "games/a\u202eb"),
        *("games/a\ud800b", "games/a\ufffeb", "games/e\u0301"),
        *("games/a?b", "games/a#b", "games/a%2Fb", "games/a&b", "games/a<b", "games/a:b", "games/a*b", 'games/a"b'),
        *("Games/x", "GAMES/x", "game/x", "gamess/x", "games /x", "../games/x"),
        *("games/" + "x" * 507, "games/" + "é" * 254),
    ],
)
def test_what_is_no_key(key: str) -> None:
    refused("dev-local", key)


def test_an_object_is_not_an_area() -> None:
    assert KEYS.folder("t", "games") == "t/games/"
    with pytest.raises(Fault, match="names no object"):
        KEYS.key("t", "games")


def test_a_folder_is_not_its_neighbour() -> None:
    folder = KEYS.folder("t", "games/1")
    assert KEYS.key("t", "games/1/a").startswith(folder)
    assert not KEYS.key("t", "games/10").startswith(folder)
    assert not KEYS.key("t", "games/1").startswith(folder)


@pytest.mark.parametrize("area", ["db", "snap", "", "_x", "Games", "a/b", "a.b", "database.sqlite", "1a", "a" * 33])
def test_reserved_names_are_no_areas(area: str) -> None:
    assert objects.area_fault(area)
    with pytest.raises(ValueError, match=r"must be|belongs"):
        Keys((area,))
