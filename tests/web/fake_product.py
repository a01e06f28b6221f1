"""The product of the fake gateway: games, clips, reels, exports in memory; versions, authors and exact conflicts."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chassis.ids import uuid7
from tests.web.fake_store import FakeStore

Json = dict[str, Any]
PART_BYTES = 100_000
CREATED_AT = "2026-05-03T10:00:00Z"
MEASURES: Json = {"size_bytes": 1_234_567, "duration_ms": 4000, "width": 720, "height": 1280, "fps": 30.0}
CLIP: Json = {"name": "", "notes": "", "tags": [], "rating": None}


@dataclass(frozen=True)
class Faulty(Exception):
    """A refusal."""

    status: int
    reason: str
    detail: str
    extra: Json = field(default_factory=dict)


@dataclass
class Done:
    """An answer."""

    body: Any
    base: int
    version: int
    status: int = 200
    wrote: bool = False
    location: str = ""


@dataclass
class Product:
    """What one user owns."""

    store: FakeStore
    store_origin: str = ""
    version: int = 1
    tables: dict[str, dict[str, Json]] = field(
        default_factory=lambda: {name: {} for name in ("games", "videos", "clips", "reels", "exports")}
    )
    written: list[tuple[int, str, str, str]] = field(default_factory=list)  # version, author, table, key
    answers: dict[str, Done] = field(default_factory=dict)
    author: str = ""
    reject: str = ""
    auto_finish: bool = False

    def handle(self, method: str, path: str, query: Json, body: Json, headers: dict[str, str]) -> Done:
        """One request; raises Faulty. Known idempotency keys get their first answer again."""
        key, base = headers.get("Idempotency-Key", ""), _base(headers)
        self.author = headers.get("X-Client-Id", "")
        if method == "POST" and not key:
            raise Faulty(400, "idempotency_key_missing", "Send an Idempotency-Key.")
        if method in ("PATCH", "PUT", "DELETE") and base is None:
            raise Faulty(428, "if_match_missing", "Send If-Match.")
        if key in self.answers:
            return self.answers[key]
        for pattern, act in self._routes(method):
            match = re.fullmatch(pattern, path)
            if match:
                before = self.version
                done = act(*match.groups(), body=body, base=base, query=query)
                if not isinstance(done, Done):
                    done = Done(copy.deepcopy(done), self.version, self.version, 201 if method == "POST" else 200)
                done.wrote = self.version > before
                foreign = any(
                    base is not None and base < v <= before and a != self.author for v, a, _, _ in self.written
                )
                done.base = base if foreign and base is not None else self.version
                if key:
                    self.answers[key] = done
                return done
        raise Faulty(404, "no_such_route", f"{method} {path} is nothing here.")

    def _routes(self, method: str) -> list[tuple[str, Callable[..., Any]]]:
        one = r"([\w-]+)"
        routes: dict[str, list[tuple[str, Callable[..., Any]]]] = {
            "GET": [
                ("/api/session", lambda **_: {"user_id": "dev-local", "kind": "development", "environment": "local"}),
                ("/api/library", lambda **_: self.library()),
                (f"/api/exports/{one}", lambda key, **_: self._row("exports", key)),
                (f"/api/videos/{one}/upload", self._upload),
                (f"/api/videos/{one}/file", self._file),
                (f"/api/exports/{one}/outputs/{one}/file", self._output_file),
            ],
            "POST": [
                ("/api/session", lambda **_: {"user_id": "u", "kind": "anonymous", "environment": "staging"}),
                ("/api/games", self._new_game),
                (f"/api/games/{one}/videos", self._new_video),
                (f"/api/videos/{one}/upload/parts", self._sign),
                (f"/api/videos/{one}/upload/complete", self._complete),
                (f"/api/games/{one}/clips", self._new_clip),
                ("/api/reels", self._new_reel),
                ("/api/exports", self._new_export),
                (
                    f"/api/exports/{one}/cancel",
                    lambda key, **_: self.advance(key, state="cancelled", finished_at=CREATED_AT),
                ),
                (f"/api/exports/{one}/retry", lambda key, **_: self._new_export(body=self._row("exports", key))),
            ],
            "PATCH": [(f"/api/{table}/{one}", self._patch(table)) for table in ("games", "clips", "reels")],
            "PUT": [(f"/api/reels/{one}/clips", self._arrange), (f"/api/reels/{one}/clips/{one}/framing", self._frame)],
            "DELETE": [
                *(
                    (f"/api/{table}/{one}", self._delete(table))
                    for table in ("games", "videos", "clips", "reels", "exports")
                ),
                (
                    f"/api/reels/{one}/clips/{one}/framing",
                    lambda reel, clip, base, **_: self._frame(reel, clip, base=base, body=None),
                ),
            ],
        }
        return routes.get(method, [])

    def library(self) -> Json:
        """Everything, at one version."""
        games = [self._game(key) for key in self.tables["games"]]
        return {
            "version": self.version,
            "games": games,
            **{name: list(self.tables[name].values()) for name in ("clips", "reels", "exports")},
        }

    def add(self, table: str, row: Json, author: str | None = None) -> Json:
        """Makes or replaces a row in a version of its own."""
        self.version += 1
        self.tables[table][row["id"]] = row
        self.written.append((self.version, self.author if author is None else author, table, row["id"]))
        return row

    def remove(self, table: str, key: str, author: str | None = None) -> None:
        """Deletes a row in a version of its own."""
        self.version += 1
        del self.tables[table][key]
        self.written.append((self.version, self.author if author is None else author, table, key))

    def advance(self, key: str, **news: Any) -> Json:
        """An export moves on: its sequence grows; done, it has an output and its reel too."""
        export = self._row("exports", key)
        export.update(news, sequence=export["sequence"] + 1)
        if export["state"] == "succeeded":
            role = "final" if export["reel_id"] else "compilation"
            output = {"id": uuid7(), "name": "reel.mp4", "role": role, "clip_id": None, "poster_url": None, **MEASURES}
            output["url"] = f"/api/exports/{key}/outputs/{output['id']}/file"
            export.update(progress=1.0, outputs=[output], finished_at=CREATED_AT)
            if export["reel_id"]:
                self.add("reels", {**self._row("reels", export["reel_id"]), "final_video": output}, author="gateway")
        return export

    def _row(self, table: str, key: str) -> Json:
        if key not in self.tables[table]:
            raise Faulty(404, "not_found", "There is no such thing, or it is not yours.")
        return self.tables[table][key]

    def _check(self, table: str, key: str, base: int | None) -> None:
        news = [
            1
            for v, a, t, k in self.written
            if base is not None and v > base and a != self.author and (t, k) == (table, key)
        ]
        if news:
            extra = {"local_version": base, "remote_version": self.version, "conflicts": [{"table": table, "key": key}]}
            raise Faulty(409, "stale_session", "This was changed elsewhere since you opened it.", extra)
        self._row(table, key)

    def _game(self, key: str) -> Json:
        videos = [video for video in self.tables["videos"].values() if video["game_id"] == key]
        return {**self.tables["games"][key], "videos": videos}

    def _new_game(self, body: Json, **_: Any) -> Json:
        game = {
            "id": uuid7(),
            "name": body["name"],
            "opponent": "",
            "sport": "",
            "played_on": body.get("played_on"),
            "created_at": CREATED_AT,
        }
        self.add("games", game)
        return self._game(game["id"])

    def _new_video(self, game: str, body: Json, **_: Any) -> Json:
        self._row("games", game)
        known = {"duration_ms": None, "width": None, "height": None, "fps": None, "fingerprint": ""}
        position = len(self._game(game)["videos"])
        video = {
            "id": uuid7(),
            "game_id": game,
            "position": position,
            "state": "uploading",
            "reject_reason": "",
            "has_audio": None,
            **known,
            **body,
        }
        self.add("videos", video)
        return {"video": video, "upload": self._upload(video["id"])}

    def _upload(self, key: str, **_: Any) -> Json:
        video = self._row("videos", key)
        parts = self.store.parts.get(key, {})
        done = sum(len(part) for part in parts.values())
        return {
            "part_size_bytes": PART_BYTES,
            "part_count": -(-video["size_bytes"] // PART_BYTES),
            "parts_done": sorted(parts),
            "bytes_done": done,
        }

    def _sign(self, key: str, body: Json, **_: Any) -> Json:
        at = f"{self.store_origin}/uploads/{key}"
        numbers = body["part_numbers"]
        signed = [
            {"number": n, "url": f"{at}/{n}?signature={self.store.signature}", "size_bytes": PART_BYTES, "headers": {}}
            for n in numbers
        ]
        return {"parts": signed, "expires_at": CREATED_AT}

    def _complete(self, key: str, **_: Any) -> Done:
        video = self._row("videos", key)
        upload = self._upload(key)
        if len(upload["parts_done"]) < upload["part_count"]:
            raise Faulty(409, "upload_incomplete", "Parts are missing.")
        self.store.whole(key)
        state: Json = (
            {"state": "rejected", "reject_reason": self.reject}
            if self.reject
            else {"state": "ready", "fps": 30.0, "has_audio": False}
        )
        row = self.add("videos", {**video, **state})
        return Done(row, self.version, self.version)

    def _file(self, key: str, query: Json, **_: Any) -> Done:
        self._row("videos", key)
        return Done(None, 0, 0, location=f"{self.store_origin}/files/{key}")

    def _output_file(self, export: str, output: str, query: Json, **_: Any) -> Done:
        self._row("exports", export)
        return Done(
            None, 0, 0, location=f"{self.store_origin}/files/output.mp4?{'download' if query.get('download') else ''}"
        )

    def _new_clip(self, game: str, body: Json, **_: Any) -> Json:
        self._row("games", game)
        return self.add("clips", {"id": uuid7(), "game_id": game, "created_at": CREATED_AT, **CLIP, **body})

    def _new_reel(self, body: Json, **_: Any) -> Json:
        clips = [{"clip_id": key, "framing": None} for key in body["clip_ids"]]
        made: Json = {"overlay": {"regions": []}, "working_video": None, "final_video": None, "created_at": CREATED_AT}
        return self.add(
            "reels", {"id": uuid7(), "name": body["name"], "aspect": body["aspect"], "clips": clips, **made}
        )

    def _new_export(self, body: Json, **_: Any) -> Done:
        where = {"kind": body["kind"], "game_id": body.get("game_id"), "reel_id": body.get("reel_id")}
        begun = {
            "state": "queued",
            "progress": 0.0,
            "eta_s": None,
            "phase": "",
            "error": None,
            "outputs": [],
            "sequence": 1,
        }
        export = {
            "id": uuid7(),
            **where,
            **begun,
            "created_at": CREATED_AT,
            "finished_at": None,
            "trace_id": "ab" * 16,
        }
        self.add("exports", export)
        return Done(copy.deepcopy(export), self.version, self.version, status=202)

    def _patch(self, table: str) -> Callable[..., Json]:
        def patch(key: str, body: Json, base: int | None, **_: Any) -> Json:
            self._check(table, key, base)
            row = self.add(table, {**self.tables[table][key], **body})
            return self._game(key) if table == "games" else row

        return patch

    def _delete(self, table: str) -> Callable[..., None]:
        def delete(key: str, base: int | None, **_: Any) -> None:
            self._check(table, key, base)
            self.remove(table, key)

        return delete

    def _arrange(self, key: str, body: Json, base: int | None, **_: Any) -> Json:
        self._check("reels", key, base)
        reel = self.tables["reels"][key]
        framing = {clip["clip_id"]: clip["framing"] for clip in reel["clips"]}
        return self.add(
            "reels", {**reel, "clips": [{"clip_id": clip, "framing": framing.get(clip)} for clip in body["clip_ids"]]}
        )

    def _frame(self, key: str, clip: str, body: Json | None, base: int | None, **_: Any) -> Json:
        self._check("reels", key, base)
        reel = self.tables["reels"][key]
        clips = [{**one, "framing": body} if one["clip_id"] == clip else one for one in reel["clips"]]
        return self.add("reels", {**reel, "clips": clips})


def _base(headers: dict[str, str]) -> int | None:
    text = headers.get("If-Match", "").strip('"')
    return int(text) if text.isdigit() else None
