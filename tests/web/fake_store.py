"""A store for the browser tests: takes presigned PUTs of parts, gives files by Range, and fails on demand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web


@dataclass
class FakeStore:
    """Parts by upload and number, files by name; `faults` are statuses that the next PUTs answer instead of storing."""

    folder: Path
    app_origin: str = ""
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    signature: str = "good"
    delay_s: float = 0.0
    puts: list[tuple[str, int]] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    def __post_init__(self) -> None:
        self.held.set()

    def application(self) -> web.Application:
        """The store's own server: another origin than the gateway's, as in production."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("OPTIONS", "/{path:.*}", self._preflight)
        app.router.add_put("/uploads/{upload}/{number}", self._put)
        app.router.add_get("/files/{name}", self._get)
        return app

    def whole(self, upload: str) -> Path:
        """Joins an upload's parts into a file."""
        path = self.folder / upload
        path.write_bytes(b"".join(data for _, data in sorted(self.parts[upload].items())))
        return path

    def _cors(self) -> dict[str, str]:
        return {
            "Access-Control-Allow-Origin": self.app_origin,
            "Access-Control-Allow-Methods": "GET, PUT",
            "Access-Control-Allow-Headers": "content-type",
            "Access-Control-Expose-Headers": "ETag",
        }

    async def _preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=self._cors())

    async def _put(self, request: web.Request) -> web.Response:
        self.under_way += 1
        try:
            return await self._keep(request)
        finally:
            self.under_way -= 1

    async def _keep(self, request: web.Request) -> web.Response:
        upload, number = request.match_info["upload"], int(request.match_info["number"])
        body = await request.read()
        await self.held.wait()
        await asyncio.sleep(self.delay_s)
        self.puts.append((upload, number))
        if request.query.get("signature") != self.signature:
            return web.Response(status=403, headers=self._cors())
        if self.faults:
            return web.Response(status=self.faults.pop(0), headers=self._cors())
        self.parts.setdefault(upload, {})[number] = body
        return web.Response(headers={**self._cors(), "ETag": f'"{number}"'})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = self.folder / request.match_info["name"]
        if not path.is_file():
            return web.Response(status=404)
        headers = {"Content-Disposition": 'attachment; filename="reel.mp4"'} if "download" in request.query else {}
        return web.FileResponse(path, headers={"Content-Type": "video/mp4", **headers})
