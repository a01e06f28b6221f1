"""The schema of a user's database, as numbered migrations.

1. A released migration is never edited: what changes is a new one, and old and new code run together (expand, then
   contract).
2. What a user edits and what the system writes lie in different tables (videos and video_media, reels and exports),
   so that the system's own writes never make a session stale (tests/gateway/test_http_conflicts.py).
3. Every table has a NOT NULL primary key, which is what a conflict names.
"""

from __future__ import annotations

from gateway.library.store import Migration

FIRST = (
    """CREATE TABLE games (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, opponent TEXT NOT NULL, sport TEXT NOT NULL, played_on TEXT,
        created_ms INTEGER NOT NULL) STRICT""",
    """CREATE TABLE videos (
        id TEXT NOT NULL PRIMARY KEY, game_id TEXT NOT NULL, position INTEGER NOT NULL, file_name TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, content_type TEXT NOT NULL, object_key TEXT NOT NULL, fingerprint TEXT NOT NULL,
        duration_ms INTEGER, width INTEGER, height INTEGER, fps REAL, created_ms INTEGER NOT NULL) STRICT""",
    "CREATE INDEX videos_by_game ON videos (game_id, position)",
    """CREATE TABLE video_media (
        video_id TEXT NOT NULL PRIMARY KEY, state TEXT NOT NULL, reject_reason TEXT NOT NULL, upload_id TEXT NOT NULL,
        part_size_bytes INTEGER NOT NULL, part_count INTEGER NOT NULL, etag TEXT NOT NULL,
        duration_ms INTEGER, width INTEGER, height INTEGER, fps REAL, has_audio INTEGER) STRICT""",
    """CREATE TABLE clips (
        id TEXT NOT NULL PRIMARY KEY, game_id TEXT NOT NULL, video_id TEXT NOT NULL, start_ms INTEGER NOT NULL,
        end_ms INTEGER NOT NULL, name TEXT NOT NULL, notes TEXT NOT NULL, tags TEXT NOT NULL, rating INTEGER,
        created_ms INTEGER NOT NULL) STRICT""",
    "CREATE INDEX clips_by_game ON clips (game_id)",
    "CREATE INDEX clips_by_video ON clips (video_id)",
    """CREATE TABLE reels (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, aspect TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT""",
    """CREATE TABLE reel_clips (
        reel_id TEXT NOT NULL, clip_id TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (reel_id, clip_id))
    STRICT""",
    "CREATE INDEX reel_clips_by_clip ON reel_clips (clip_id)",
    """CREATE TABLE framings (
        reel_id TEXT NOT NULL, clip_id TEXT NOT NULL, crop_keys TEXT NOT NULL, trim TEXT NOT NULL, segments TEXT NOT
        NULL, PRIMARY KEY (reel_id, clip_id)) STRICT""",
    "CREATE INDEX framings_by_clip ON framings (clip_id)",
    "CREATE TABLE overlays (reel_id TEXT NOT NULL PRIMARY KEY, regions TEXT NOT NULL) STRICT",
    """CREATE TABLE exports (
        id TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, game_id TEXT, reel_id TEXT, request TEXT NOT NULL, plan TEXT
        NOT NULL, state TEXT NOT NULL, error_code TEXT, error_message TEXT, error_retryable INTEGER, created_ms
        INTEGER NOT NULL, finished_ms INTEGER, sequence INTEGER NOT NULL, traceparent TEXT NOT NULL, trace_id TEXT NOT
    NULL) STRICT""",
    "CREATE INDEX exports_by_game ON exports (game_id)",
    "CREATE INDEX exports_by_reel ON exports (reel_id)",
    """CREATE TABLE export_outputs (
        id TEXT NOT NULL PRIMARY KEY, export_id TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, role
        TEXT NOT NULL, clip_id TEXT, object_key TEXT NOT NULL, poster_key TEXT NOT NULL, etag TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, duration_ms INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    fps REAL NOT NULL) STRICT""",
    "CREATE INDEX export_outputs_by_export ON export_outputs (export_id, position)",
)

MIGRATIONS = (Migration(1, FIRST),)
