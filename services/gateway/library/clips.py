"""Clips as rows."""

# ruff: noqa: S608 (every piece of SQL that is put together here is a constant; values are parameters)

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gateway.domain.clips import END_SLACK_MS, MAX_CLIP_MS, MIN_CLIP_MS, Clip, bad_range, outside_video
from gateway.library.records import NOW_MS, Record, column, records
from gateway.library.steps import Step, full, missing, one, select, step
from gateway.ports import Rows, Statement

MAX_CLIPS = 5000

CLIP_COLUMNS = ("start_ms", "end_ms", "name", "notes", "tags", "rating")

_CLIPS = "SELECT id, game_id, video_id, start_ms, end_ms, name, notes, tags, rating, created_ms FROM clips"


def all_clips() -> Statement:
    """Every clip, by place in its video."""
    return select(f"{_CLIPS} ORDER BY video_id, start_ms, id")


def clips_of_game(game_id: str) -> Statement:
    """A game's clips in the order of its footage."""
    return select(
        f"""SELECT c.* FROM ({_CLIPS} WHERE game_id = ?) c JOIN videos v ON v.id = c.video_id
        ORDER BY v.position, v.id, c.start_ms, c.id""", game_id,
    )  # fmt: skip


def one_clip(clip_id: str) -> Statement:
    """A clip."""
    return select(f"{_CLIPS} WHERE id = ?", clip_id)


def insert_clip(
    clip_id: str,
    game_id: str,
    video_id: str,
    start_ms: int,
    end_ms: int,
    name: str,
    notes: str,
    tags: Sequence[str],
    rating: int | None,
) -> list[Step]:
    """Creates a clip of a video of the game."""
    return [
        one(missing("video in this game"), "SELECT 1 FROM videos WHERE id = ? AND game_id = ?", video_id, game_id),
        one(full("clips", MAX_CLIPS), "SELECT 1 WHERE (SELECT count(*) FROM clips) < ?", MAX_CLIPS),
        step(
            f"""INSERT INTO clips (id, game_id, video_id, start_ms, end_ms, name, notes, tags, rating, created_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {NOW_MS})""",
            clip_id, game_id, video_id, start_ms, end_ms, name, notes, column(tags), rating,
        ),
        *_within(clip_id),
    ]  # fmt: skip


def update_clip(clip_id: str, changes: Mapping[str, object]) -> list[Step]:
    """Changes some columns of a clip; its range must still be one."""
    names = [name for name in CLIP_COLUMNS if name in changes]
    assignments = ", ".join(f"{name} = ?" for name in names) or "name = name"
    update = one(
        missing("clip"),
        f"UPDATE clips SET {assignments} WHERE id = ?",
        *(column(changes[name]) for name in names),
        clip_id,
    )
    return [update, *(_within(clip_id) if {"start_ms", "end_ms"} & set(names) else ())]


def delete_clip(clip_id: str) -> list[Step]:
    """Deletes a clip and its places in reels."""
    return [
        one(missing("clip"), "DELETE FROM clips WHERE id = ?", clip_id),
        step("DELETE FROM reel_clips WHERE clip_id = ?", clip_id),
        step("DELETE FROM framings WHERE clip_id = ?", clip_id),
    ]


def _within(clip_id: str) -> list[Step]:
    return [
        one(
            bad_range(),
            "SELECT 1 FROM clips WHERE id = ? AND end_ms - start_ms BETWEEN ? AND ?",
            clip_id, MIN_CLIP_MS, MAX_CLIP_MS,
        ),
        one(
            outside_video(),
            """SELECT 1 FROM clips c JOIN videos v ON v.id = c.video_id LEFT JOIN video_media m ON m.video_id = v.id
            WHERE c.id = ? AND c.end_ms <= coalesce(m.duration_ms, v.duration_ms, c.end_ms) + ?""",
            clip_id, END_SLACK_MS,
        ),
    ]  # fmt: skip


def read_clips(rows: Rows) -> list[Clip]:
    """Clips."""
    return [_clip(record) for record in records(rows)]


def _clip(record: Record) -> Clip:
    return Clip(
        id=record.text("id"),
        game_id=record.text("game_id"),
        video_id=record.text("video_id"),
        start_ms=record.integer("start_ms"),
        end_ms=record.integer("end_ms"),
        name=record.text("name"),
        notes=record.text("notes"),
        tags=tuple(json.loads(record.text("tags"))),
        rating=record.maybe_integer("rating"),
        created_at=record.moment("created_ms"),
    )
