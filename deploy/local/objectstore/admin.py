"""What is not S3: a health answer for whoever starts the store, and the faults that tests arm."""

from __future__ import annotations

import json
from dataclasses import fields

from aiohttp import web

from objectstore.faults import Fault
from objectstore.store import Store

PREFIX = "/-/"
LARGEST_BYTES = 64 * 1024


async def answer(store: Store, request: web.BaseRequest, path: str) -> web.StreamResponse:
    """GET /-/health; with fault injection on, GET, POST and DELETE /-/faults."""
    if path == "/-/health" and request.method in ("GET", "HEAD"):
        await store.read(lambda db: db.execute("SELECT 1").fetchone())
        return web.json_response({"status": "ok"})
    if path != "/-/faults" or not store.settings.fault_injection:
        return web.json_response({"error": "there is nothing here"}, status=404)
    if request.method == "GET":
        return web.json_response(store.faults.describe())
    if request.method == "DELETE":
        store.faults.clear()
        return web.Response(status=204)
    # The content type keeps web pages out: a form cannot send it, and no CORS rule covers this path.
    if request.method != "POST" or request.content_type != "application/json":
        return web.json_response({"error": "POST a fault as application/json"}, status=405)
    try:
        given = json.loads(await request.content.read(LARGEST_BYTES))
        unknown = set(given) - {field.name for field in fields(Fault)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        number = store.faults.add(Fault(**given))
    except (TypeError, ValueError) as fault:
        return web.json_response({"error": str(fault)}, status=400)
    return web.json_response({"id": number}, status=201)
