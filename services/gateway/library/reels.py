"""Reels, their clips, framings and overlays as rows."""

# ruff: noqa: S608 (every piece of SQL that is put together here is a constant; values are parameters)

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.domain.exports import Output, Role
from gateway.domain.reels import Aspect, CropKey, Framing, Overlay, Reel, ReelClip, Region, Segment, Trim
from gateway.library.exports import OUTPUT_COLUMNS, read_output
from gateway.library.records import NOW_MS, Record, column, marks, records
from gateway.library.steps import Step, full, missing, one, select, step
from gateway.ports import Rows, Statement

MAX_REELS = 1000
MAX_REEL_CLIPS = 100

REEL_COLUMNS = ("name", "aspect")

_REELS = "SELECT id, name, aspect, created_ms FROM reels"
_HAS_CLIP = "SELECT 1 FROM reel_clips WHERE reel_id = ? AND clip_id = ?"
_CLIPS = """SELECT p.reel_id, p.clip_id, f.crop_keys, f.trim, f.segments FROM reel_clips p
    LEFT JOIN framings f ON f.reel_id = p.reel_id AND f.clip_id = p.clip_id"""
_OVERLAYS = "SELECT reel_id, regions FROM overlays"
# Of several exports the one that was asked for last counts, whichever ended last.
_OUTPUTS = f"""SELECT e.reel_id, {", ".join(f"o.{name}" for name in OUTPUT_COLUMNS)} FROM export_outputs o
    JOIN exports e ON e.id = o.export_id WHERE e.state = 'succeeded' AND o.role IN ('working', 'final')"""

Selects = tuple[Statement, Statement, Statement, Statement]


def all_reels() -> Selects:
    """Every reel, its clips, overlays and videos."""
    return (
        select(f"{_REELS} ORDER BY created_ms, id"),
        select(f"{_CLIPS} ORDER BY p.reel_id, p.position, p.clip_id"),
        select(_OVERLAYS),
        select(f"{_OUTPUTS} AND e.reel_id IS NOT NULL ORDER BY e.created_ms, e.id"),
    )


def one_reel(reel_id: str) -> Selects:
    """A reel with everything of it."""
    return (
        select(f"{_REELS} WHERE id = ?", reel_id),
        select(f"{_CLIPS} WHERE p.reel_id = ? ORDER BY p.position, p.clip_id", reel_id),
        select(f"{_OVERLAYS} WHERE reel_id = ?", reel_id),
        select(f"{_OUTPUTS} AND e.reel_id = ? ORDER BY e.created_ms, e.id", reel_id),
    )


def clips_in_reel(reel_id: str) -> Statement:
    """The clips of a reel, in no order."""
    return select("SELECT * FROM clips WHERE id IN (SELECT clip_id FROM reel_clips WHERE reel_id = ?)", reel_id)


def insert_reel(reel_id: str, name: str, aspect: Aspect, clip_ids: Sequence[str]) -> list[Step]:
    """Creates a reel of clips that exist."""
    return [
        one(full("reels", MAX_REELS), "SELECT 1 WHERE (SELECT count(*) FROM reels) < ?", MAX_REELS),
        step(
            f"INSERT INTO reels (id, name, aspect, created_ms) VALUES (?, ?, ?, {NOW_MS})", reel_id, name, aspect.value
        ),
        *_place(reel_id, clip_ids),
    ]


def update_reel(reel_id: str, changes: Mapping[str, object]) -> list[Step]:
    """Changes some columns of a reel."""
    names = [name for name in REEL_COLUMNS if name in changes]
    assignments = ", ".join(f"{name} = ?" for name in names) or "name = name"
    return [
        one(
            missing("reel"),
            f"UPDATE reels SET {assignments} WHERE id = ?",
            *(column(changes[name]) for name in names),
            reel_id,
        )
    ]


def delete_reel(reel_id: str) -> list[Step]:
    """Deletes a reel. Its exports stay: a finished video is not lost with the reel."""
    return [
        one(missing("reel"), "DELETE FROM reels WHERE id = ?", reel_id),
        step("DELETE FROM reel_clips WHERE reel_id = ?", reel_id),
        step("DELETE FROM framings WHERE reel_id = ?", reel_id),
        step("DELETE FROM overlays WHERE reel_id = ?", reel_id),
    ]


def set_clips(reel_id: str, clip_ids: Sequence[str]) -> list[Step]:
    """Makes these the reel's clips in this order; the framing of those that stay is kept."""
    gone = f"reel_id = ? AND clip_id NOT IN ({marks(len(clip_ids))})"
    return [
        one(missing("reel"), "SELECT 1 FROM reels WHERE id = ?", reel_id),
        step(f"DELETE FROM framings WHERE {gone}", reel_id, *clip_ids),
        step(f"DELETE FROM reel_clips WHERE {gone}", reel_id, *clip_ids),
        *_place(reel_id, clip_ids),
    ]


def _place(reel_id: str, clip_ids: Sequence[str]) -> list[Step]:
    if not clip_ids:
        return []
    known = f"SELECT 1 WHERE (SELECT count(*) FROM clips WHERE id IN ({marks(len(clip_ids))})) = ?"
    values = ", ".join("(?, ?, ?)" for _ in clip_ids)
    parameters = [value for position, clip_id in enumerate(clip_ids) for value in (reel_id, clip_id, position)]
    return [
        one(missing("clip"), known, *clip_ids, len(clip_ids)),
        step(
            f"""INSERT INTO reel_clips (reel_id, clip_id, position) VALUES {values}
            ON CONFLICT (reel_id, clip_id) DO UPDATE SET position = excluded.position
            WHERE position <> excluded.position""",
            *parameters,
        ),
    ]


def set_framing(reel_id: str, clip_id: str, framing: Framing) -> list[Step]:
    """Says how a clip is shown in a reel that has it."""
    return [
        one(missing("clip in this reel"), _HAS_CLIP, reel_id, clip_id),
        step(
            """INSERT INTO framings (reel_id, clip_id, crop_keys, trim, segments) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (reel_id, clip_id) DO UPDATE SET crop_keys = excluded.crop_keys, trim = excluded.trim,
            segments = excluded.segments""",
            reel_id, clip_id, _text(framing.crop_keys), _text(framing.trim), _text(framing.segments),
        ),
    ]  # fmt: skip


def clear_framing(reel_id: str, clip_id: str) -> list[Step]:
    """Shows a clip of a reel as it is by default."""
    return [
        one(
            missing("clip in this reel"), "SELECT 1 FROM reel_clips WHERE reel_id = ? AND clip_id = ?", reel_id, clip_id
        ),
        step("DELETE FROM framings WHERE reel_id = ? AND clip_id = ?", reel_id, clip_id),
    ]


def set_overlay(reel_id: str, overlay: Overlay) -> list[Step]:
    """Sets a reel's spotlights."""
    return [
        one(missing("reel"), "SELECT 1 FROM reels WHERE id = ?", reel_id),
        step(
            """INSERT INTO overlays (reel_id, regions) VALUES (?, ?)
            ON CONFLICT (reel_id) DO UPDATE SET regions = excluded.regions""",
            reel_id, _text(overlay.regions),
        ),
    ]  # fmt: skip


def read_reels(reels: Rows, clips: Rows, overlays: Rows, outputs: Rows) -> list[Reel]:
    """Reels with everything of them."""
    places: dict[str, list[ReelClip]] = {}
    for record in records(clips):
        places.setdefault(record.text("reel_id"), []).append(ReelClip(record.text("clip_id"), _framing(record)))
    spots = {record.text("reel_id"): Overlay(_regions(record)) for record in records(overlays)}
    videos: dict[tuple[str, Role], Output] = {}
    for record in records(outputs):
        output = read_output(record)
        videos[record.text("reel_id"), output.role] = output
    return [
        Reel(
            id=(reel_id := record.text("id")),
            name=record.text("name"),
            aspect=Aspect(record.text("aspect")),
            clips=tuple(places.get(reel_id, ())),
            overlay=spots.get(reel_id, Overlay()),
            working_video=videos.get((reel_id, Role.WORKING)),
            final_video=videos.get((reel_id, Role.FINAL)),
            created_at=record.moment("created_ms"),
        )
        for record in records(reels)
    ]


def _framing(record: Record) -> Framing | None:
    keys = record.maybe_text("crop_keys")
    if keys is None:
        return None
    return Framing(
        crop_keys=msgspec.json.decode(keys, type=tuple[CropKey, ...]),
        trim=msgspec.json.decode(record.text("trim"), type=Trim | None),
        segments=msgspec.json.decode(record.text("segments"), type=tuple[Segment, ...]),
    )


def _regions(record: Record) -> tuple[Region, ...]:
    return msgspec.json.decode(record.text("regions"), type=tuple[Region, ...])


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
