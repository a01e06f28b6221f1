"""The storm's judge finds nothing in an honest log, and sees every kind of broken promise in one that is not."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from chassis import ids
from dbsync.log_format import Entry, decode, encode
from tests.chaos.storm.authors import Author, Line
from tests.chaos.storm.deeds import Book, Deed, Done, Kind, Refused
from tests.chaos.storm.fleet import Fleet
from tests.chaos.storm.judge import Judge, slot_key
from tests.chaos.storm.killer import Killer

DATABASE = "judged"
TURNS = 6
LATER_S = 1e12

Case = tuple[Book, list[bytes]]


async def worked(fleet: Fleet) -> Case:
    """What two authors did, and its log."""
    line, book = Line(fleet), Book(DATABASE)
    try:
        fleet.start()
        await Killer(fleet, line, random.Random(0)).peace()
        authors = [Author(line, book, f"author {number}", random.Random(number)) for number in range(2)]
        await authors[0].found()
        for act, kind in ((authors[0].restore, Kind.RESTORE), (authors[0].undo, Kind.UNDO)):
            for _ in range(TURNS):
                for other in (authors[0].write, authors[1].system, authors[1].burst, authors[1].read):
                    await other()
            while not any(one.kind is kind and isinstance(one.answer, Done) for one in book.deeds.values()):
                await authors[0].read()
                await act()
        await authors[1].look_back()
        log = fleet.log_of(DATABASE, 0, slot_key)
    finally:
        await line.close()
    return book, log


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Case:
    fleet = Fleet(tmp_path_factory.mktemp("judged"), 1)
    try:
        return asyncio.run(worked(fleet))
    finally:
        fleet.close()


def done(book: Book, kind: Kind = Kind.WRITE) -> tuple[Deed, Done]:
    """A deed in the middle that was acknowledged."""
    found = [(one, one.answer) for one in book.deeds.values() if one.kind is kind and isinstance(one.answer, Done)]
    return found[len(found) // 2]


def tampered(log: list[bytes], version: int, change: Callable[[Entry], Entry]) -> list[bytes]:
    """The log with one entry changed, and sealed as if it were right."""
    entry = change(decode(log[version - 1], database=DATABASE, version=version))
    return [*log[: version - 1], encode(entry), *log[version:]]


def lost(book: Book, log: list[bytes]) -> Case:
    return book, log[:-1]


def foreign(book: Book, log: list[bytes]) -> Case:
    del book.deeds[done(book)[0].key]
    return book, log


def refused(book: Book, log: list[bytes]) -> Case:
    done(book)[0].answer = Refused("schema_mismatch")
    return book, log


def elsewhere(book: Book, log: list[bytes]) -> Case:
    deed, answer = done(book)
    deed.answer = replace(answer, version=answer.version + 1)
    return book, log


def false_base(book: Book, log: list[bytes]) -> Case:
    deed, answer = done(book)
    deed.answer = replace(answer, base_version=answer.base_version - 1)
    return book, log


def miscounted(book: Book, log: list[bytes]) -> Case:
    deed, answer = done(book, Kind.SYSTEM)
    deed.answer = replace(answer, counter=(answer.counter or 0) + 1)
    return book, log


def stale(book: Book, log: list[bytes]) -> Case:
    for deed in book.deeds.values():
        deed.base = None if deed.base is None else 0
    return book, log


def false_conflict(book: Book, log: list[bytes]) -> Case:
    rows = ((("notes", ("shared 1",)), 3, "nobody"),)
    told = Refused("conflict", len(log), rows)
    base = done(book, Kind.RESTORE)[1].version  # after which nothing is stale by that alone
    book.add(Deed(ids.uuid7(), "author 0", Kind.WRITE, base, 1, 0.0, {"shared 1": "x"}, ended_s=1.0, answer=told))
    return book, log


def false_undo(book: Book, log: list[bytes]) -> Case:
    deed, _ = done(book, Kind.UNDO)
    deed.target_commit = "0" * 32
    return book, log


def misread(book: Book, log: list[bytes]) -> Case:
    reading = book.readings[3]
    book.readings[3] = replace(reading, content=replace(reading.content, counter=77))
    return book, log


def old_read(book: Book, log: list[bytes]) -> Case:
    book.readings[1] = replace(book.readings[1], began_s=LATER_S, ended_s=LATER_S, min_version=None)
    return book, log


def out_of_order(book: Book, log: list[bytes]) -> Case:
    done(book)[0].began_s = LATER_S
    return book, log


def false_history(book: Book, log: list[bytes]) -> Case:
    past = book.pasts[-1]
    (newest, commits), *others = past.versions
    book.pasts[-1] = replace(past, versions=((newest, (replace(commits[0], author="nobody"),)), *others))
    return book, log


def broken_chain(book: Book, log: list[bytes]) -> Case:
    return book, tampered(log, 5, lambda entry: replace(entry, after=entry.after ^ 1))


def false_rows(book: Book, log: list[bytes]) -> Case:
    _, answer = done(book)

    def change(entry: Entry) -> Entry:
        return replace(entry, subs=tuple(replace(sub, rows=()) for sub in entry.subs))

    return book, tampered(log, answer.version, change)


def unreadable(book: Book, log: list[bytes]) -> Case:
    return book, [*log[:7], log[7][:-1], *log[8:]]


CASES: dict[Callable[[Book, list[bytes]], Case], str] = {
    lost: "was acknowledged as version",
    foreign: "nobody asked for",
    refused: "which was refused as schema_mismatch",
    elsewhere: "was acknowledged as version",
    false_base: "was given the base",
    miscounted: "counted",
    stale: "which was stale",
    false_conflict: "was refused as stale",
    false_undo: "no longer held what was to be undone",
    misread: "was read as",
    old_read: "was due",
    out_of_order: "was known before it",
    false_history: "the history showed",
    broken_chain: "checksum that it names",
    false_rows: "names other rows",
    unreadable: "cannot be followed",
}


def test_an_honest_log_is_found_so(honest: Case) -> None:
    book, log = honest
    assert Judge(book).judge(log) == []
    in_two = Judge(book)
    in_two.judge(log[:9])
    assert in_two.judge(log[9:]) == []


@pytest.mark.parametrize("tamper", CASES, ids=lambda tamper: tamper.__name__)
def test_what_was_tampered_with_is_seen(honest: Case, tamper: Callable[[Book, list[bytes]], Case]) -> None:
    book, log = tamper(copy.deepcopy(honest[0]), list(honest[1]))
    assert [fault for fault in Judge(book).judge(log) if CASES[tamper] in fault]
