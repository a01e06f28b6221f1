"""The rules of staleness."""

from __future__ import annotations

import pytest

from dbsync.conflicts import NAMED_MAX, Conflict, Earlier, check, earlier, last_changes, next_base
from dbsync.log_format import SubCommit
from dbsync.requests import RowKey

A, B = RowKey("clips", ("a",)), RowKey("clips", ("b",))


def past(version: int, author: str, *rows: RowKey, quiet: bool = False) -> Earlier:
    """A commit of the past."""
    return Earlier(version, author, quiet, frozenset(rows))


def stale(before: list[Earlier], *rows: RowKey, base: int | None = 3, author: str = "me", scope: bool = False) -> bool:
    """Whether a commit would be refused."""
    try:
        check(before, base_version=base, head_version=9, author=author, rows=rows, scope_database=scope)
    except Conflict:
        return True
    return False


def test_rows() -> None:
    assert stale([past(4, "you", A)], A)
    assert not stale([past(4, "you", A)], B)
    assert not stale([past(4, "you", A)], RowKey("reels", ("a",)))
    assert stale([past(4, "you", A, B), past(5, "you")], B)
    assert stale([past(4, "you", A)], RowKey("CLIPS", ("a",)))  # SQLite's table names have no case


def test_own_author() -> None:
    assert not stale([past(4, "me", A)], A)
    assert stale([past(4, "me", A), past(5, "you", A)], A)
    assert stale([past(4, "", A)], A, author="")  # without an author, each commit is somebody else's


def test_base_bounds() -> None:
    assert not stale([past(3, "you", A)], A)
    assert stale([past(3, "you", A)], A, base=2)


def test_no_base() -> None:
    assert not stale([past(4, "you", A)], A, base=None)
    assert not stale([past(4, "you", A)], A, base=None, scope=True)


def test_scope_database() -> None:
    assert stale([past(4, "you", A)], B, scope=True)
    assert not stale([past(4, "me", A), past(3, "you", A)], B, scope=True)


def test_system_and_migration() -> None:
    assert not stale([past(4, "", A, quiet=True)], A)
    assert not stale([past(4, "", A, quiet=True)], A, scope=True)


def test_restore() -> None:
    for author in ("you", "me", ""):
        restored = Earlier(4, author, False, frozenset(), everything=True)
        assert stale([restored], A) and stale([restored]) and stale([restored], A, scope=True)
        assert not stale([restored], A, base=4)
        assert not stale([restored], A, base=None)
        assert next_base([restored], base_version=3, version=6, author="me") == 3


def test_a_restore_of_the_system_is_not_quiet() -> None:
    made = SubCommit(b"c" * 16, "", b"k" * 16, True, False, (), b"", restores=2)
    assert stale([earlier(4, made)], A)


def test_the_answer_names_the_newest_change_of_each_row() -> None:
    with pytest.raises(Conflict) as caught:
        check(
            [past(4, "x", A), past(5, "y", B), past(6, "z", A)],
            base_version=3,
            head_version=6,
            author="me",
            rows=(A, B),
        )
    assert [(c.row, c.version, c.author) for c in caught.value.clashes] == [(B, 5, "y"), (A, 6, "z")]
    assert (caught.value.base_version, caught.value.head_version) == (3, 6)


def test_the_answer_is_bounded() -> None:
    rows = [RowKey("clips", (n,)) for n in range(NAMED_MAX * 2)]
    with pytest.raises(Conflict) as caught:
        check([past(4, "you", *rows)], base_version=3, head_version=4, author="me", rows=rows)
    assert len(caught.value.clashes) == NAMED_MAX


def test_who_changed_a_row_last() -> None:
    before = [past(4, "x", A), past(5, "y", A, B), past(6, "", A, quiet=True)]
    found = last_changes(before, [RowKey("CLIPS", ("a",)), B, RowKey("reels", ("r",))])
    assert [(c.row, c.version, c.author) for c in found] == [(RowKey("reels", ("r",)), 0, ""), (B, 5, "y"), (A, 6, "")]
    restored = Earlier(7, "z", False, frozenset(), everything=True)
    assert {(c.version, c.author) for c in last_changes([*before, restored], [A, B])} == {(7, "z")}
    assert len(last_changes([], [RowKey("clips", (n,)) for n in range(NAMED_MAX * 2)])) == NAMED_MAX


def test_next_base() -> None:
    mine = [past(4, "me", A), past(5, "", B, quiet=True)]
    assert next_base(mine, base_version=3, version=6, author="me") == 6
    assert next_base([*mine, past(5, "you", B)], base_version=3, version=6, author="me") == 3
    assert next_base([past(5, "you", B)], base_version=5, version=6, author="me") == 6
    assert next_base(mine, base_version=None, version=6, author="me") == 0
