"""The sheet beside an export's videos: a row for each clip with its fields and times, for spreadsheets and for
programs. Pure.

1. What a user wrote never becomes a formula of a spreadsheet, nor another cell or row (tests/render/test_sheet.py).
2. The JSON has every text as it was written; so has the TSV, by its escapes: a backslash, a tab and line ends are
   written \\\\, \\t, \\n and \\r, and an apostrophe stands before what a spreadsheet would take for a formula.
3. Times in the joined video are those of its pieces as they were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from render.products import Product
from render.spec import Cell, Spec

TSV_TYPE = "text/tab-separated-values; charset=utf-8"
JSON_TYPE = "application/json"
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # and their full-width forms
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Row = Mapping[str, Cell]


@dataclass(frozen=True)
class SheetFile:
    """A finished file of the sheet."""

    name: str
    content_type: str
    body: bytes


def files(spec: Spec, products: Sequence[Product]) -> list[SheetFile]:
    """The sheet of an export whose videos were made; none when none is asked for."""
    name = spec.output.sheet
    if not name:
        return []
    rows = _rows(spec, products)
    return [
        SheetFile(f"{name}.tsv", TSV_TYPE, _tsv(rows)),
        SheetFile(f"{name}.json", JSON_TYPE, _json(spec, rows)),
    ]


def clock(time_ms: int) -> str:
    """A time as people read it: 1:02:03.004."""
    seconds, millis = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}.{millis:03}"


def _rows(spec: Spec, products: Sequence[Product]) -> list[Row]:
    made = {product.name: product for product in products}
    rows: list[Row] = []
    at_us = 0
    for clip in spec.clips:
        row: dict[str, Cell] = {**dict(clip.fields), "file": clip.output_name}
        end_us = at_us + made[clip.output_name].duration_us
        if spec.output.name:
            start_ms, end_ms = round(at_us / 1000), round(end_us / 1000)
            row |= {"joined_start": clock(start_ms), "joined_end": clock(end_ms)}
            row |= {"joined_start_ms": start_ms, "joined_end_ms": end_ms}
        rows.append(row)
        at_us = end_us
    return rows


def _tsv(rows: Sequence[Row]) -> bytes:
    # With a mark of its encoding, without which Excel takes it for another one.
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\r\n" for line in lines).encode("utf-8-sig")


def _cell(cell: Cell) -> str:
    if isinstance(cell, int):
        return str(cell)
    text = ", ".join(cell) if isinstance(cell, tuple) else cell or ""
    return ("'" if text.startswith(_FORMULA) else "") + text.translate(_ESCAPES)


def _json(spec: Spec, rows: Sequence[Row]) -> bytes:
    told = {"title": spec.title, "file": spec.output.name or None, "clips": rows}
    return json.dumps(told, ensure_ascii=False, indent=2).encode() + b"\n"
