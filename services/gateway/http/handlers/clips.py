"""Clips over HTTP."""

from __future__ import annotations

from gateway.actions import clips
from gateway.http import types
from gateway.http.changes import changed
from gateway.http.routes import Call, Reply, Route, done, reply


async def create_clip(call: Call[types.NewClip]) -> Reply[types.Clip]:
    new = call.asked
    clip, stamp = await clips.create(
        call.parts.library,
        call.actor,
        call.path["game_id"],
        new.video_id,
        new.start_ms,
        new.end_ms,
        name=new.name,
        notes=new.notes,
        tags=new.tags,
        rating=new.rating,
    )
    return reply(types.Clip, clip, stamp)


async def get_clip(call: Call[types.Nothing]) -> Reply[types.Clip]:
    clip, stamp = await clips.get(call.parts.library, call.actor, call.path["clip_id"])
    return reply(types.Clip, clip, stamp)


async def change_clip(call: Call[types.ClipChanges]) -> Reply[types.Clip]:
    clip, stamp = await clips.change(call.parts.library, call.actor, call.path["clip_id"], changed(call.asked))
    return reply(types.Clip, clip, stamp)


async def delete_clip(call: Call[types.Nothing]) -> Reply[None]:
    return done(await clips.delete(call.parts.library, call.actor, call.path["clip_id"]))


CLIP = "/api/clips/{clip_id}"

ROUTES = (
    Route("POST", "/api/games/{game_id}/clips", create_clip, "Mark a clip", "clips", 201, (404, 409)),
    Route("GET", CLIP, get_clip, "A clip", "clips", errors=(404,)),
    Route("PATCH", CLIP, change_clip, "Change a clip", "clips", errors=(404, 409), versioned=True),
    Route(
        "DELETE", CLIP, delete_clip, "Delete a clip and its places in reels", "clips", 204, (404, 409), versioned=True
    ),
)
