"""The built app on a port of this machine, served as Cloudflare Pages would: its headers, its routes, its 404 page.

Differs from Pages in one thing: the origins that the build was made for are replaced by those of this machine.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from aiohttp import web

from devstack.settings import ROOT

DIST = ROOT / "web/dist"
BUILT_API, BUILT_MEDIA = "localhost:8000", "localhost:9000"  # the defaults of web/vite.config.ts
_BUILT = re.compile(r"(?P<scheme>http://|ws://)(?P<host>localhost:8000|localhost:9000)")


@dataclass(frozen=True)
class Rule:
    """Headers for the paths that a pattern fits; `removed` takes earlier rules' headers away."""

    pattern: re.Pattern[str]
    added: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]


def header_rules(text: str) -> list[Rule]:
    """The rules of a `_headers` file."""
    rules: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.strip() and not line.startswith((" ", "\t", "#")):
            rules.append((line.strip(), []))
        elif line.strip() and rules:
            rules[-1][1].append(line.strip())
    out = []
    for pattern, lines in rules:
        added = [line.split(":", 1) for line in lines if not line.startswith("!")]
        removed = tuple(line[1:].strip().lower() for line in lines if line.startswith("!"))
        pairs = tuple((name.strip(), value.strip()) for name, value in added)
        out.append(Rule(_pattern(pattern), pairs, removed))
    return out


def rewrites(text: str) -> list[tuple[re.Pattern[str], str]]:
    """The `200` rules of a `_redirects` file: path pattern and the document that answers."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(_pattern(row[0]), row[1]) for row in rows if len(row) == 3 and row[2] == "200"]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece) for piece in text.split("*")))


class Site:
    """A folder of built files."""

    def __init__(self, folder: Path, replaced: dict[str, str]) -> None:
        self._folder = folder.resolve()
        self._replaced = replaced
        self._rules = header_rules(self._ours((folder / "_headers").read_text()))
        self._rewrites = rewrites((folder / "_redirects").read_text())

    async def answer(self, request: web.Request) -> web.Response:
        """A file, a route's document, or the 404 page."""
        return await asyncio.to_thread(self._answer, unquote(request.path))

    def _answer(self, path: str) -> web.Response:
        file = self._file(path)
        if file is None:
            target = next((target for pattern, target in self._rewrites if pattern.fullmatch(path)), None)
            file = self._file(target) if target else None
        status = 200
        if file is None:
            status, file = 404, self._folder / "404.html"
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        body = file.read_bytes()
        if kind == "text/html":
            body = self._ours(body.decode()).encode()
            kind = "text/html; charset=utf-8"
        response = web.Response(body=body, status=status, headers={"Content-Type": kind})
        for rule in self._rules:
            if rule.pattern.fullmatch(path):
                for name in rule.removed:
                    response.headers.popall(name, None)
                response.headers.update(rule.added)
        if status == 404:
            response.headers["Cache-Control"] = "no-store"
        return response

    def _file(self, path: str) -> Path | None:
        name = path.lstrip("/") or "index.html"
        try:
            file = (self._folder / name).resolve()
            inside = file.is_relative_to(self._folder) and not file.name.startswith("_")
            return file if inside and file.is_file() else None
        except (OSError, ValueError):  # no name of a file: too long, a zero byte
            return None

    def _ours(self, text: str) -> str:
        # In one pass: a part's new port may be another part's old one.
        return _BUILT.sub(lambda found: found["scheme"] + self._replaced[found["host"]], text)


def main() -> None:
    """Serves until SIGTERM."""
    host, _, port = os.environ["LISTEN"].rpartition(":")
    replaced = {
        BUILT_API: os.environ["REEL_API_ORIGIN"].removeprefix("http://"),
        BUILT_MEDIA: os.environ["REEL_MEDIA_ORIGIN"].removeprefix("http://"),
    }
    app = web.Application()
    app.router.add_get("/{path:.*}", Site(DIST, replaced).answer)
    web.run_app(app, host=host, port=int(port), print=None, handle_signals=True, access_log=None)


if __name__ == "__main__":
    main()
