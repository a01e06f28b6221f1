"""The sheet: what users wrote comes through whole, and is never more than text."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import Fault
from reel.render.v1 import render_pb2 as pb
from render.products import Product
from render.rpc import messages
from render.sheet import clock, files

NASTY = "=HYPERLINK(\"x\")\t+1\r\n'quoted' \\n \u2028 ★ ñ 球"
UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def spec_of(*rows: list[pb.Field], joined: str = "all.mp4", sheet: str = "notes") -> pb.RenderSpec:
    """An export of a clip of 1 s for each row."""
    clips = [
        pb.Clip(
            source=pb.Source(key="games/a.mp4"),
            in_us=0,
            out_us=1_000_000,
            output_name=f"{number}.mp4",
            metadata=pb.Metadata(fields=row),
        )
        for number, row in enumerate(rows)
    ]
    output = pb.Output(folder="raw_clips/x", name=joined, sheet=sheet)
    return pb.RenderSpec(spec_version=1, clips=clips, output=output, metadata=pb.Metadata(title="Spring"))


def made(spec: pb.RenderSpec, *lengths_us: int) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The rows of the TSV, and the JSON."""
    products = [
        Product(f"{number}.mp4", "", length, 640, 360, Fraction(30), 1) for number, length in enumerate(lengths_us)
    ]
    tsv, told = files(messages.spec_from(spec), products)
    assert (tsv.name, told.name) == ("notes.tsv", "notes.json")
    columns, *lines = [line.split("\t") for line in tsv.body.decode("utf-8-sig").removesuffix("\r\n").split("\r\n")]
    return [dict(zip(columns, line, strict=True)) for line in lines], json.loads(told.body)


def field(name: str, value: object) -> pb.Field:
    match value:
        case str():
            return pb.Field(name=name, text=value)
        case int():
            return pb.Field(name=name, number=value)
        case list():
            return pb.Field(name=name, words=pb.Field.Words(words=value))
    return pb.Field(name=name)


def read(cell: str) -> str:
    """The text of a cell, its escapes undone."""
    return re.sub(r"\\[\\tnr]", lambda found: UNESCAPED[found[0]], cell)


def test_a_row_for_each_clip_with_its_fields_and_times() -> None:
    first = [field("name", "Goal"), field("rating", 5), field("tags", ["left foot", "corner"])]
    second = [field("name", "Save"), field("rating", None), field("notes", "")]
    rows, told = made(spec_of(first, second), 1_000_500, 2_000_000)
    assert rows[0] == {
        "name": "Goal", "rating": "5", "tags": "left foot, corner", "file": "0.mp4", "notes": "",
        "joined_start": "0:00:00.000", "joined_end": "0:00:01.000",
        "joined_start_ms": "0", "joined_end_ms": "1000",
    }  # fmt: skip
    assert (rows[1]["joined_start_ms"], rows[1]["joined_end"], rows[1]["rating"]) == ("1000", "0:00:03.000", "")
    assert (told["title"], told["file"]) == ("Spring", "all.mp4")
    assert told["clips"][0]["tags"] == ["left foot", "corner"] and told["clips"][0]["rating"] == 5
    assert told["clips"][1]["rating"] is None and told["clips"][1]["joined_end_ms"] == 3000


def test_without_a_joined_video_there_are_no_times_in_it() -> None:
    rows, told = made(spec_of([field("name", "Goal")], joined=""), 1_000_000)
    assert rows == [{"name": "Goal", "file": "0.mp4"}]
    assert told == {"title": "Spring", "file": None, "clips": [{"name": "Goal", "file": "0.mp4"}]}


@pytest.mark.parametrize("first", list("=+-@\uff1d\uff0b\uff0d\uff20"))
def test_nothing_is_a_formula(first: str) -> None:
    (row,), told = made(spec_of([field("notes", f"{first}1+1"), field("tags", [f"{first}2", "b"])]), 1_000_000)
    assert row["notes"] == f"'{first}1+1" and row["tags"] == f"'{first}2, b"
    assert told["clips"][0]["notes"] == f"{first}1+1"


def test_a_negative_number_is_no_formula() -> None:
    (row,), _ = made(spec_of([field("offset", -3)]), 1_000_000)
    assert row["offset"] == "-3"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_whatever_was_written_is_one_cell_and_can_be_read_back(text: str) -> None:
    (row,), told = made(spec_of([field("notes", text + NASTY), field("name", "after")]), 1_000_000)
    assert row["name"] == "after" and told["clips"][0]["notes"] == text + NASTY
    cell = row["notes"]
    assert not cell.startswith(tuple("=+-@"))
    assert read(cell) in (text + NASTY, f"'{text}{NASTY}")


def test_the_clock() -> None:
    assert [clock(ms) for ms in (0, 61_001, 36_000_000)] == ["0:00:00.000", "0:01:01.001", "10:00:00.000"]


def test_no_sheet_unless_asked_for() -> None:
    assert files(messages.spec_from(spec_of([], sheet="")), []) == []


@pytest.mark.parametrize(
    ("break_", "where"),
    [
        (lambda spec: setattr(spec.output, "sheet", "../x"), "output.sheet"),
        (lambda spec: spec.clips[0].ClearField("output_name"), "output.sheet"),
        (lambda spec: setattr(spec.clips[0].metadata.fields[0], "name", "A B"), "clips[0].metadata.fields"),
        (lambda spec: spec.clips[0].metadata.fields.add(name="name"), "clips[0].metadata.fields"),
        (lambda spec: setattr(spec.clips[0].metadata.fields[0], "text", "x" * 2001), "clips[0].metadata.fields"),
    ],
    ids=["a path", "a clip without a file", "no column's name", "a column twice", "too long a text"],
)
def test_what_is_refused(break_: Any, where: str) -> None:
    spec = spec_of([field("name", "Goal")])
    break_(spec)
    with pytest.raises(Fault) as refused:
        messages.spec_from(spec)
    assert (refused.value.reason, refused.value.metadata["field"]) == ("invalid_spec", where)
