"""Exports over HTTP."""

from __future__ import annotations

from typing import Literal

from gateway.domain.exports import ExportKind, ExportRequest
from gateway.http import types
from gateway.http.problems import Refusal
from gateway.http.routes import Call, Reply, Route, done, redirect, reply


async def list_exports(call: Call[types.ExportFilter]) -> Reply[types.Exports]:
    wanted = call.asked
    if wanted.game_id and wanted.reel_id:
        raise Refusal(400, "invalid_query", "Ask for the exports of a game or of a reel, not of both.", field="reel_id")
    column: Literal["game_id", "reel_id"] | None = (
        "game_id" if wanted.game_id else "reel_id" if wanted.reel_id else None
    )
    found, stamp = await call.parts.exports.listed(call.actor, column, wanted.game_id or wanted.reel_id or "")
    return Reply(types.Exports(stamp.version, [reply(types.Export, export).value for export in found]), stamp)


async def create_export(call: Call[types.NewExport]) -> Reply[types.Export]:
    new = call.asked
    if isinstance(new, types.NewAnnotateExport):
        clip_ids = None if new.clip_ids is None else tuple(dict.fromkeys(new.clip_ids))
        wanted = ExportRequest(
            ExportKind.ANNOTATE,
            game_id=new.game_id,
            clip_ids=clip_ids,
            captions=new.captions,
            instant=new.mode == "instant",
        )
    else:
        wanted = ExportRequest(ExportKind(str(type(new).__struct_config__.tag)), reel_id=new.reel_id)
    export, stamp = await call.parts.exports.create(call.actor, wanted)
    return reply(types.Export, export, stamp)


async def get_export(call: Call[types.Nothing]) -> Reply[types.Export]:
    export, stamp = await call.parts.exports.get(call.actor, call.path["export_id"])
    return reply(types.Export, export, stamp)


async def cancel_export(call: Call[types.Nothing]) -> Reply[types.Export]:
    export, stamp = await call.parts.exports.cancel(call.actor, call.path["export_id"])
    return reply(types.Export, export, stamp)


async def retry_export(call: Call[types.Nothing]) -> Reply[types.Export]:
    export, stamp = await call.parts.exports.retry(call.actor, call.path["export_id"])
    return reply(types.Export, export, stamp)


async def delete_export(call: Call[types.Nothing]) -> Reply[None]:
    return done(await call.parts.exports.delete(call.actor, call.path["export_id"]))


async def get_output_file(call: Call[types.Download]) -> Reply[None]:
    path = call.path
    url, stamp = await call.parts.exports.file_url(
        call.actor, path["export_id"], path["output_id"], download=call.asked.download
    )
    return redirect(url, stamp)


async def get_output_poster(call: Call[types.Download]) -> Reply[None]:
    path = call.path
    url, stamp = await call.parts.exports.file_url(
        call.actor, path["export_id"], path["output_id"], poster=True, download=call.asked.download
    )
    return redirect(url, stamp)


EXPORT = "/api/exports/{export_id}"
OUTPUT = f"{EXPORT}/outputs/{{output_id}}"

ROUTES = (
    Route("GET", "/api/exports", list_exports, "Exports, newest first", "exports"),
    Route("POST", "/api/exports", create_export, "Export what the library holds", "exports", 202, (404, 409)),
    Route("GET", EXPORT, get_export, "An export as it is now", "exports", errors=(404,)),
    Route("POST", f"{EXPORT}/cancel", cancel_export, "Stop an export", "exports", errors=(404,)),
    Route(
        "POST",
        f"{EXPORT}/retry",
        retry_export,
        "Ask again for what failed or was cancelled",
        "exports",
        202,
        (404, 409),
    ),
    Route("DELETE", EXPORT, delete_export, "Take an export off the list", "exports", 204, (404, 409), versioned=True),
    Route("GET", f"{OUTPUT}/file", get_output_file, "To an output's file", "exports", 302, (404,)),
    Route("GET", f"{OUTPUT}/poster", get_output_poster, "To an output's still", "exports", 302, (404,)),
)
