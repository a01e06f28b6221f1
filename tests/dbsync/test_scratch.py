"""What is too large for memory, in files without a name; and that it is the same there as in memory."""

from __future__ import annotations

import random
from mmap import mmap
from pathlib import Path

import pytest

from dbsync import gate, scratch
from dbsync.commit import Spent
from dbsync.log_format import BadEntry, decode, encode, parts
from dbsync.pages import PAGE_SIZE_BYTES
from dbsync.scratch import PageBox, gathered, room
from dbsync.slots import slot_key
from tests.dbsync.restoring import back_to, content, content_at, entries, restored
from tests.dbsync.world import DATABASE, Machine, add_clip, request, sql


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing worth mentioning is kept in memory."""
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", PAGE_SIZE_BYTES)


def mapped(folder: Path, data: bytes) -> mmap:
    """The bytes in a file."""
    made = room(folder, len(data))
    made[:] = data
    return made


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_gathered(tmp_path: Path, little_memory: None, count: int) -> None:
    pieces = [bytes([number]) * 700 for number in range(count)]
    whole = gathered(tmp_path, iter(pieces))
    assert bytes(whole) == b"".join(pieces) and isinstance(whole, mmap) == (count * 700 > PAGE_SIZE_BYTES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most", [1, 50])
def test_a_box_of_pages(tmp_path: Path, little_memory: None, most: int) -> None:
    box, twin, rng = PageBox(tmp_path, most), dict[int, bytes](), random.Random(most)
    for _ in range(most * 3):
        number = rng.choice(sorted(twin)) if len(twin) == most else rng.randrange(10_000)
        page = rng.randbytes(PAGE_SIZE_BYTES)
        box.put(number, page)
        twin[number] = page
        assert len(box) == len(twin) and dict(box) == twin and number in box and -1 not in box
    with pytest.raises(KeyError):
        box[-1]
    assert not list(tmp_path.iterdir())


def test_an_entry_is_read_where_it_is(machine: Machine, tmp_path: Path) -> None:
    writer = machine.founded()
    machine.ok(writer, add_clip("a"))
    data = bytes(machine.store.objects[slot_key(DATABASE, 2)].body)
    entry = decode(data, database=DATABASE, version=2)
    found = decode(mapped(tmp_path, data), database=DATABASE, version=2)
    assert found == entry and all(isinstance(chunk, memoryview) for chunk in found.pages.chunks)
    assert encode(found) == data == b"".join(parts(entry))
    for at in range(0, len(data), 7):
        spoilt = mapped(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(BadEntry):
            decode(spoilt, database=DATABASE, version=2)


def test_large_transactions(machine: Machine, little_memory: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits whose pages are read from the WAL, one by one, are the same commits."""
    monkeypatch.setattr(gate, "LARGE_BYTES", 0)
    rng, twin = random.Random(7), dict[str, str]()
    writer = machine.founded()
    for number in range(30):
        clip, name = f"{rng.randrange(8)}", rng.randbytes(rng.choice((9, 9000))).hex()
        twin[clip] = name
        machine.ok(writer, request(sql("INSERT OR REPLACE INTO clips VALUES (?, ?, ?)", clip, name, number)))
    for committer in (writer, machine.open()):
        assert dict(machine.rows(committer, "SELECT id, name FROM clips")) == twin  # type: ignore[arg-type]
        assert committer.replica.checksum == writer.replica.checksum


def test_large_versions(machine: Machine, little_memory: None) -> None:
    """Restores, and the catching up of others over them, through files."""
    writer, behind = machine.founded(), machine.open()
    blob = random.Random(1).randbytes
    machine.ok(
        writer, request(*(sql("INSERT INTO clips VALUES (?, ?, 1)", f"{n}", blob(900).hex()) for n in range(60)))
    )
    machine.ok(writer, request(sql("UPDATE clips SET name = hex(randomblob(900))")))
    wanted = content_at(machine, 2)
    assert restored(machine, writer, back_to(2)).version == 4
    assert len(entries(machine.store)[-1].pages.numbers) > 20
    behind.catch_up(machine.clock.now_s() + 5, Spent())
    for committer in (writer, behind, machine.open()):
        assert content(committer.replica) == wanted and committer.replica.checksum == writer.replica.checksum
