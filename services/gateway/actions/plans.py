"""What an export will render, read from the database at one version."""

from __future__ import annotations

from chassis import faults
from gateway.domain import annotation, specs
from gateway.domain.actor import Actor
from gateway.domain.clips import Clip
from gateway.domain.exports import ExportKind, ExportRequest, Plan
from gateway.domain.footage import StoredVideo
from gateway.domain.reels import Reel
from gateway.library import clips as clip_rows
from gateway.library import games as game_rows
from gateway.library import reels as reel_rows
from gateway.library.exports import MAX_PLAN_BYTES, encode
from gateway.library.steps import missing
from gateway.library.store import Store

MAX_EXPORT_CLIPS = 100  # render's bound


async def plan(store: Store, actor: Actor, export_id: str, request: ExportRequest) -> Plan:
    """The plan of an export; raises `not_found`, or the precondition that is not met, in words."""
    if request.kind is ExportKind.ANNOTATE:
        made = await _of_game(store, actor, export_id, request)
    else:
        made = await _of_reel(store, actor, export_id, request)
    specs.check_length(made.spec)
    if len(encode(made)) > MAX_PLAN_BYTES:
        raise faults.invalid(
            "export_too_large", "This is too much for one export; make the reel shorter or its framing simpler."
        )
    return made


async def _of_game(store: Store, actor: Actor, export_id: str, request: ExportRequest) -> Plan:
    if request.captions and request.instant:
        raise faults.invalid(
            "captions_need_exact", "An instant export copies the footage and cannot burn in captions.", field="mode"
        )
    game_id = request.game_id or ""
    statements = [*game_rows.one_game(game_id), clip_rows.clips_of_game(game_id)]
    reading = await store.read_whole(actor.user_id, statements, min_version=actor.min_version)
    games = game_rows.read_games(*reading.results[:2])
    if not games:
        raise missing("game")
    clips = clip_rows.read_clips(reading.results[2])
    if request.clip_ids is not None:
        known = {clip.id: clip for clip in clips}
        if not set(request.clip_ids) <= set(known):
            raise missing("clip in this game")
        clips = [known[clip_id] for clip_id in request.clip_ids]
    if len(clips) > MAX_EXPORT_CLIPS:
        raise faults.invalid(
            "too_many_clips", f"One export takes {MAX_EXPORT_CLIPS} clips; choose fewer.", field="clip_ids"
        )
    cuts = _cuts(clips, game_rows.read_videos(reading.results[1]))  # of the whole game, in order
    return specs.annotate(export_id, games[0].name, cuts, captions=request.captions, instant=request.instant)


async def _of_reel(store: Store, actor: Actor, export_id: str, request: ExportRequest) -> Plan:
    reel_id = request.reel_id or ""
    statements = [*reel_rows.one_reel(reel_id), reel_rows.clips_in_reel(reel_id), game_rows.videos_in_reel(reel_id)]
    reading = await store.read_whole(actor.user_id, statements, min_version=actor.min_version)
    reels = reel_rows.read_reels(*reading.results[:4])
    if not reels:
        raise missing("reel")
    reel = reels[0]
    if request.kind is ExportKind.OVERLAY:
        if reel.working_video is None:
            raise faults.precondition(
                "no_working_video", "Export the framing of this reel first: the spotlight is drawn on its video."
            )
        return specs.overlay(export_id, reel.name, reel.working_video, reel.overlay)
    cuts = _framed(reel, clip_rows.read_clips(reading.results[4]), game_rows.read_videos(reading.results[5]))
    if request.kind is ExportKind.FRAMING:
        return specs.framing(export_id, reel.name, reel.aspect, cuts)
    return specs.reel(export_id, reel.name, reel.aspect, cuts, reel.overlay)


def _cuts(clips: list[Clip], videos: list[StoredVideo]) -> list[specs.Cut]:
    by_id = {stored.video.id: stored for stored in videos}
    begins = annotation.begins_ms(videos)
    return [specs.Cut(clip, by_id[clip.video_id], video_at_ms=begins[clip.video_id]) for clip in clips]


def _framed(reel: Reel, clips: list[Clip], videos: list[StoredVideo]) -> list[specs.Cut]:
    by_id = {clip.id: clip for clip in clips}
    by_video = {stored.video.id: stored for stored in videos}
    return [
        specs.Cut(clip, by_video[clip.video_id], place.framing)
        for place in reel.clips
        if (clip := by_id.get(place.clip_id)) is not None and clip.video_id in by_video
    ]
