"""Videos and their uploads over HTTP; the bytes go straight to the object store."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.actions import videos
from gateway.domain.footage import Video, VideoState
from gateway.http import types
from gateway.http.routes import Call, Reply, Route, done, redirect, reply


async def create_video(call: Call[types.NewVideo]) -> Reply[types.VideoWithUpload]:
    new = call.asked
    video = Video(
        id="",
        game_id=call.path["game_id"],
        position=0,
        file_name=new.file_name,
        size_bytes=new.size_bytes,
        content_type=new.content_type,
        state=VideoState.UPLOADING,
        reject_reason="",
        duration_ms=new.duration_ms,
        width=new.width,
        height=new.height,
        fps=new.fps,
        has_audio=None,
        fingerprint=new.fingerprint,
    )
    parts = call.parts
    made, upload, stamp = await videos.create(parts.library, parts.objects, call.actor, video, parts.max_upload_bytes)
    return Reply(types.VideoWithUpload(reply(types.Video, made).value, reply(types.Upload, upload).value), stamp)


async def get_upload(call: Call[types.Nothing]) -> Reply[types.Upload]:
    upload, stamp = await videos.upload(call.parts.library, call.parts.objects, call.actor, call.path["video_id"])
    return reply(types.Upload, upload, stamp)


async def sign_parts(call: Call[types.PartNumbers]) -> Reply[types.SignedParts]:
    numbers = sorted(set(call.asked.part_numbers))
    signed, stamp = await videos.sign_parts(
        call.parts.library, call.parts.objects, call.actor, call.path["video_id"], numbers
    )
    expires_at = datetime.fromtimestamp(min(part.expires_ms for part in signed) / 1000, UTC)
    return Reply(types.SignedParts([reply(types.SignedPart, part).value for part in signed], expires_at), stamp)


async def complete_upload(call: Call[types.Nothing]) -> Reply[types.Video]:
    parts = call.parts
    video, stamp = await videos.complete(
        parts.library, parts.objects, parts.renderer, call.actor, call.path["video_id"]
    )
    return reply(types.Video, video, stamp)


async def delete_video(call: Call[types.Nothing]) -> Reply[None]:
    return done(await videos.delete(call.parts.library, call.parts.objects, call.actor, call.path["video_id"]))


async def get_video_file(call: Call[types.Download]) -> Reply[None]:
    url, stamp = await videos.file_url(
        call.parts.library, call.parts.objects, call.actor, call.path["video_id"], download=call.asked.download
    )
    return redirect(url, stamp)


VIDEO = "/api/videos/{video_id}"
NEW = "Make a video of a game and begin its upload; repeated with its key it answers the same video"

ROUTES = (
    Route("POST", "/api/games/{game_id}/videos", create_video, NEW, "videos", 201, (404, 409)),
    Route(
        "GET", f"{VIDEO}/upload", get_upload, "How far the upload is, by the store's own list", "videos", errors=(404,)
    ),
    Route("POST", f"{VIDEO}/upload/parts", sign_parts, "Presigned PUTs for some parts", "videos", errors=(404, 409)),
    Route(
        "POST",
        f"{VIDEO}/upload/complete",
        complete_upload,
        "End the upload and probe the file",
        "videos",
        errors=(404, 409),
    ),
    Route("DELETE", VIDEO, delete_video, "Delete a video with its clips", "videos", 204, (404, 409), versioned=True),
    Route("GET", f"{VIDEO}/file", get_video_file, "To the video's file", "videos", 302, (404, 409)),
)
