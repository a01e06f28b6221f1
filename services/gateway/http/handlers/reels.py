"""Reels over HTTP."""

from __future__ import annotations

import msgspec

from gateway.actions import reels
from gateway.domain.reels import Aspect, Framing, Overlay
from gateway.http import types
from gateway.http.changes import changed
from gateway.http.routes import Call, Reply, Route, done, reply


async def list_reels(call: Call[types.Nothing]) -> Reply[types.Reels]:
    found, stamp = await reels.listed(call.parts.library, call.actor)
    return Reply(types.Reels(stamp.version, [reply(types.Reel, reel).value for reel in found]), stamp)


async def create_reel(call: Call[types.NewReel]) -> Reply[types.Reel]:
    new = call.asked
    reel, stamp = await reels.create(call.parts.library, call.actor, new.name, Aspect(new.aspect), new.clip_ids)
    return reply(types.Reel, reel, stamp)


async def get_reel(call: Call[types.Nothing]) -> Reply[types.Reel]:
    reel, stamp = await reels.get(call.parts.library, call.actor, call.path["reel_id"])
    return reply(types.Reel, reel, stamp)


async def change_reel(call: Call[types.ReelChanges]) -> Reply[types.Reel]:
    reel, stamp = await reels.change(call.parts.library, call.actor, call.path["reel_id"], changed(call.asked))
    return reply(types.Reel, reel, stamp)


async def delete_reel(call: Call[types.Nothing]) -> Reply[None]:
    return done(await reels.delete(call.parts.library, call.actor, call.path["reel_id"]))


async def set_reel_clips(call: Call[types.ClipOrder]) -> Reply[types.Reel]:
    reel, stamp = await reels.set_clips(call.parts.library, call.actor, call.path["reel_id"], call.asked.clip_ids)
    return reply(types.Reel, reel, stamp)


async def set_framing(call: Call[types.Framing]) -> Reply[types.Reel]:
    framing = msgspec.convert(call.asked, Framing, from_attributes=True)
    reel, stamp = await reels.set_framing(
        call.parts.library, call.actor, call.path["reel_id"], call.path["clip_id"], framing
    )
    return reply(types.Reel, reel, stamp)


async def clear_framing(call: Call[types.Nothing]) -> Reply[types.Reel]:
    reel, stamp = await reels.clear_framing(call.parts.library, call.actor, call.path["reel_id"], call.path["clip_id"])
    return reply(types.Reel, reel, stamp)


async def set_overlay(call: Call[types.Overlay]) -> Reply[types.Reel]:
    overlay = msgspec.convert(call.asked, Overlay, from_attributes=True)
    reel, stamp = await reels.set_overlay(call.parts.library, call.actor, call.path["reel_id"], overlay)
    return reply(types.Reel, reel, stamp)


REEL = "/api/reels/{reel_id}"
FRAMING = f"{REEL}/clips/{{clip_id}}/framing"

ROUTES = (
    Route("GET", "/api/reels", list_reels, "Every reel, oldest first", "reels"),
    Route("POST", "/api/reels", create_reel, "Make a reel", "reels", 201, (404, 409)),
    Route("GET", REEL, get_reel, "A reel with its clips, framing, spotlights and videos", "reels", errors=(404,)),
    Route("PATCH", REEL, change_reel, "Change a reel", "reels", errors=(404, 409), versioned=True),
    Route("DELETE", REEL, delete_reel, "Delete a reel; its exports stay", "reels", 204, (404, 409), versioned=True),
    Route(
        "PUT",
        f"{REEL}/clips",
        set_reel_clips,
        "Set a reel's clips and their order",
        "reels",
        errors=(404, 409),
        versioned=True,
    ),
    Route("PUT", FRAMING, set_framing, "Frame a clip of a reel", "reels", errors=(404, 409), versioned=True),
    Route(
        "DELETE",
        FRAMING,
        clear_framing,
        "Show a clip of a reel as by default",
        "reels",
        errors=(404, 409),
        versioned=True,
    ),
    Route("PUT", f"{REEL}/overlay", set_overlay, "Set a reel's spotlights", "reels", errors=(404, 409), versioned=True),
)
