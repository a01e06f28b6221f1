"""Games and their videos as rows."""

# ruff: noqa: S608 (every piece of SQL that is put together here is a constant; values are parameters)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from gateway.domain.footage import Game, Probe, StoredVideo, Video, VideoState
from gateway.library.records import NOW_MS, Record, column, records
from gateway.library.steps import Step, full, missing, one, select, step
from gateway.ports import CreatedUpload, Rows, Scalar, Statement

MAX_GAMES = 1000
MAX_VIDEOS_A_GAME = 50

GAME_COLUMNS = ("name", "opponent", "sport", "played_on")

_GAMES = "SELECT id, name, opponent, sport, played_on, created_ms FROM games"
_VIDEOS = """SELECT v.id, v.game_id, v.position, v.file_name, v.size_bytes, v.content_type, v.object_key, v.fingerprint,
    m.state, m.reject_reason, m.upload_id, m.part_size_bytes, m.part_count, m.etag, m.has_audio,
    coalesce(m.duration_ms, v.duration_ms) AS duration_ms, coalesce(m.width, v.width) AS width,
    coalesce(m.height, v.height) AS height, coalesce(m.fps, v.fps) AS fps
    FROM videos v JOIN video_media m ON m.video_id = v.id"""


def all_games() -> tuple[Statement, Statement]:
    """Every game, and every video."""
    return select(f"{_GAMES} ORDER BY created_ms, id"), select(f"{_VIDEOS} ORDER BY v.game_id, v.position, v.id")


def one_game(game_id: str) -> tuple[Statement, Statement]:
    """A game, and its videos."""
    return (
        select(f"{_GAMES} WHERE id = ?", game_id),
        select(f"{_VIDEOS} WHERE v.game_id = ? ORDER BY v.position, v.id", game_id),
    )


def one_video(video_id: str) -> Statement:
    """A video."""
    return select(f"{_VIDEOS} WHERE v.id = ?", video_id)


def videos_in_reel(reel_id: str) -> Statement:
    """The videos that a reel's clips are of."""
    of_reel = "SELECT c.video_id FROM reel_clips p JOIN clips c ON c.id = p.clip_id WHERE p.reel_id = ?"
    return select(f"{_VIDEOS} WHERE v.id IN ({of_reel})", reel_id)


def insert_game(game_id: str, name: str, opponent: str, sport: str, played_on: date | None) -> list[Step]:
    """Creates a game."""
    return [
        one(full("games", MAX_GAMES), "SELECT 1 WHERE (SELECT count(*) FROM games) < ?", MAX_GAMES),
        step(
            f"INSERT INTO games (id, name, opponent, sport, played_on, created_ms) VALUES (?, ?, ?, ?, ?, {NOW_MS})",
            game_id, name, opponent, sport, column(played_on),
        ),
    ]  # fmt: skip


def update_game(game_id: str, changes: Mapping[str, object]) -> list[Step]:
    """Changes some columns of a game."""
    names = [name for name in GAME_COLUMNS if name in changes]
    assignments = ", ".join(f"{name} = ?" for name in names) or "name = name"
    return [
        one(
            missing("game"),
            f"UPDATE games SET {assignments} WHERE id = ?",
            *(column(changes[name]) for name in names),
            game_id,
        )
    ]


def delete_game(game_id: str) -> list[Step]:
    """Deletes a game with its videos and clips, and the clips' places in reels. Exports stay."""
    clips = "(SELECT id FROM clips WHERE game_id = ?)"
    return [
        one(missing("game"), "DELETE FROM games WHERE id = ?", game_id),
        step(f"DELETE FROM reel_clips WHERE clip_id IN {clips}", game_id),
        step(f"DELETE FROM framings WHERE clip_id IN {clips}", game_id),
        step("DELETE FROM clips WHERE game_id = ?", game_id),
        step("DELETE FROM videos WHERE game_id = ?", game_id),
    ]


def insert_video(video: Video, key: str) -> list[Step]:
    """Creates a video that is uploading, last in its game."""
    return [
        one(missing("game"), "SELECT 1 FROM games WHERE id = ?", video.game_id),
        one(
            full("videos in a game", MAX_VIDEOS_A_GAME),
            "SELECT 1 WHERE (SELECT count(*) FROM videos WHERE game_id = ?) < ?", video.game_id, MAX_VIDEOS_A_GAME,
        ),
        step(
            f"""INSERT INTO videos (id, game_id, position, file_name, size_bytes, content_type, object_key, fingerprint,
            duration_ms, width, height, fps, created_ms)
            SELECT ?, ?, coalesce(max(position) + 1, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, {NOW_MS}
            FROM videos WHERE game_id = ?""",
            video.id, video.game_id, video.file_name, video.size_bytes, video.content_type, key, video.fingerprint,
            video.duration_ms, video.width, video.height, video.fps, video.game_id,
        ),
        step(
            """INSERT INTO video_media (video_id, state, reject_reason, upload_id, part_size_bytes, part_count, etag)
            VALUES (?, 'uploading', '', '', 0, 0, '')""", video.id,
        ),
    ]  # fmt: skip


def delete_video(video_id: str) -> list[Step]:
    """Deletes a video with its clips. Its media row stays, as its object does, so that undoing the deletion brings
    both back.
    """
    clips = "(SELECT id FROM clips WHERE video_id = ?)"
    return [
        one(missing("video"), "DELETE FROM videos WHERE id = ?", video_id),
        step(f"DELETE FROM reel_clips WHERE clip_id IN {clips}", video_id),
        step(f"DELETE FROM framings WHERE clip_id IN {clips}", video_id),
        step("DELETE FROM clips WHERE video_id = ?", video_id),
    ]


def set_upload(video_id: str, before: str, upload: CreatedUpload) -> list[Step]:
    """Remembers a multipart upload in place of the one named `before`, unless somebody was faster;
    returns whose it is now.
    """
    return [
        step(
            """UPDATE video_media SET upload_id = ?, part_size_bytes = ?, part_count = ?
            WHERE video_id = ? AND upload_id = ? AND state = 'uploading'""",
            upload.upload_id, upload.part_size_bytes, upload.part_count, video_id, before,
        ),
        Step(one_video(video_id)),
    ]  # fmt: skip


def set_probed(video_id: str, etag: str, probe: Probe | None, reject_reason: str) -> list[Step]:
    """Ends an upload: ready with its measures, or rejected with a reason. Only the first such call has an effect."""
    state = VideoState.REJECTED if reject_reason else VideoState.READY
    measures: tuple[Scalar, ...] = (None,) * 5
    if probe is not None:
        measures = (probe.duration_us // 1000, probe.width, probe.height, probe.fps, int(probe.has_audio))
    return [
        step(
            """UPDATE video_media SET state = ?, reject_reason = ?, etag = ?, duration_ms = ?, width = ?, height = ?,
            fps = ?, has_audio = ? WHERE video_id = ? AND state = 'uploading'""",
            state.value, reject_reason, etag, *measures, video_id,
        ),
        Step(one_video(video_id)),
    ]  # fmt: skip


def read_games(games: Rows, videos: Rows) -> list[Game]:
    """Games with their videos."""
    by_game: dict[str, list[Video]] = {}
    for stored in read_videos(videos):
        by_game.setdefault(stored.video.game_id, []).append(stored.video)
    return [_game(record, by_game.get(record.text("id"), ())) for record in records(games)]


def read_videos(rows: Rows) -> list[StoredVideo]:
    """Videos with where their bytes are."""
    return [_stored(record) for record in records(rows)]


def _game(record: Record, videos: Sequence[Video]) -> Game:
    played_on = record.maybe_text("played_on")
    return Game(
        id=record.text("id"),
        name=record.text("name"),
        opponent=record.text("opponent"),
        sport=record.text("sport"),
        played_on=date.fromisoformat(played_on) if played_on else None,
        created_at=record.moment("created_ms"),
        videos=tuple(videos),
    )


def _stored(record: Record) -> StoredVideo:
    has_audio = record.maybe_integer("has_audio")
    video = Video(
        id=record.text("id"),
        game_id=record.text("game_id"),
        position=record.integer("position"),
        file_name=record.text("file_name"),
        size_bytes=record.integer("size_bytes"),
        content_type=record.text("content_type"),
        state=VideoState(record.text("state")),
        reject_reason=record.text("reject_reason"),
        duration_ms=record.maybe_integer("duration_ms"),
        width=record.maybe_integer("width"),
        height=record.maybe_integer("height"),
        fps=record.maybe_number("fps"),
        has_audio=None if has_audio is None else bool(has_audio),
        fingerprint=record.text("fingerprint"),
    )
    return StoredVideo(
        video=video,
        key=record.text("object_key"),
        etag=record.text("etag"),
        upload_id=record.text("upload_id"),
        part_size_bytes=record.integer("part_size_bytes"),
        part_count=record.integer("part_count"),
    )
