"""The base that a commit answers when another author's commit shares its version."""

from __future__ import annotations

from dbsync.conflicts import Conflict
from dbsync.requests import CommitResult
from tests.dbsync.world import Machine, add_clip, rename_clip, request, sql


def test_a_base_never_passes_what_came_after_in_the_same_version(machine: Machine) -> None:
    writer = machine.founded()
    for clip in "ab":
        machine.ok(writer, add_clip(clip))
    head = writer.replica.version
    mine = rename_clip("a", "mine", author="me", base_version=head)
    again = rename_clip("a", "mine", author="me", base_version=head, idempotency_key=mine.idempotency_key)
    idle = request(sql("UPDATE clips SET name = '' WHERE id = 'none'"), author="me", base_version=head)
    theirs = rename_clip("b", "theirs", author="them", base_version=head)
    answers = machine.commit(writer, mine, again, idle, theirs)
    bases = [one.base_version for one in answers if isinstance(one, CommitResult)]
    assert bases == [head, head, head, head]  # they came after me in version head + 1, and I came before them
    replayed = machine.ok(writer, mine)
    assert replayed.replayed and replayed.base_version == head
    (blind,) = machine.commit(writer, rename_clip("b", "mine", author="me", base_version=bases[0]))
    assert isinstance(blind, Conflict) and blind.clashes[0].author == "them"


def test_a_base_moves_with_whoever_is_alone_in_a_version(machine: Machine) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    head = writer.replica.version
    first = rename_clip("a", "one", author="me", base_version=head)
    second = rename_clip("a", "two", author="me", base_version=head)
    quiet = rename_clip("a", "of the system")
    answers = machine.commit(writer, first, second, quiet)
    assert [one.base_version for one in answers if isinstance(one, CommitResult)] == [head + 1, head + 1, 0]
