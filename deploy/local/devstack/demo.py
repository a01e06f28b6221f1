"""The main job with no browser: real footage, two clips, framing, a spotlight, every kind of export, all checked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from devstack import footage, trace
from devstack.api import Api
from devstack.checks import Seen, look

T = TypeVar("T")
Say = Callable[[str], None]

CLIPS = (
    {
        "start_ms": 1000,
        "end_ms": 4000,
        "name": "Out of the corner",
        "rating": 5,
        "tags": ["sprint"],
        "notes": "Left side.",
    },
    {"start_ms": 6000, "end_ms": 9000, "name": "The chase", "rating": 4},
)
# The window follows the riders from right to left, with a second in half speed.
FRAMING = {
    "crop_keys": [
        {"time_ms": 1000, "x": 0.60, "y": 0.0, "width": 0.24, "height": 1.0},
        {"time_ms": 2500, "x": 0.40, "y": 0.0, "width": 0.24, "height": 1.0},
        {"time_ms": 4000, "x": 0.15, "y": 0.0, "width": 0.24, "height": 1.0},
    ],
    "trim": None,
    "segments": [{"start_ms": 2000, "end_ms": 3000, "speed": 0.5}],
}
SPOTLIGHT = {
    "start_ms": 500,
    "end_ms": 3000,
    "fade_ms": 300,
    "shape": "body",
    "effects": [{"kind": "dim_outside", "strength": 0.7}, {"kind": "ring", "strength": 1.0, "color": "#ffd54a"}],
    "keys": [
        {"time_ms": 500, "center_x": 0.5, "center_y": 0.55, "radius_x": 0.22, "radius_y": 0.18},
        {"time_ms": 3000, "center_x": 0.45, "center_y": 0.55, "radius_x": 0.25, "radius_y": 0.2},
    ],
}
FIRST_S, SECOND_S = 4.0, 3.0  # 3 s of which one plays for two; 3 s


class DemoFailed(Exception):
    """What was wrong with the result."""


@dataclass
class Demo:
    """One run against a running system; `say` gets a line for each step."""

    api: Api
    folder: Path
    traces: Path
    say: Say
    took: list[tuple[str, float]] = field(default_factory=list)

    async def run(self) -> Path:
        """The whole job; the path of the finished reel. DemoFailed, ApiError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = footage.with_sound(self.folder)
        api = self.api
        game = await api.post("/games", {"name": "Demo", "opponent": "Rovers", "sport": "cycling"})
        video = await self._timed("upload", api.upload(game["id"], file))
        if video["state"] != "ready":
            raise DemoFailed(f"the upload was not accepted: {video['state']} {video['reject_reason']}")
        started = time.monotonic()
        clips = [await api.post(f"/games/{game['id']}/clips", {**clip, "video_id": video["id"]}) for clip in CLIPS]
        clip_ids = [clip["id"] for clip in clips]
        reel = await api.post("/reels", {"name": "Best of the street", "aspect": "9:16", "clip_ids": clip_ids})
        await api.put(f"/reels/{reel['id']}/clips/{clip_ids[0]}/framing", FRAMING)
        await api.put(f"/reels/{reel['id']}/overlay", {"regions": [SPOTLIGHT]})
        self.took.append(("clips, framing and spotlight", time.monotonic() - started))

        annotated = await self._export("annotate", {"kind": "annotate", "game_id": game["id"], "captions": True})
        await self._expect(annotated, "clip", footage.WIDTH, footage.HEIGHT, 3.0, count=2)
        await self._expect(annotated, "compilation", footage.WIDTH, footage.HEIGHT, 6.0)
        framed = await self._export("framing", {"kind": "framing", "reel_id": reel["id"]})
        size = (framed["outputs"][0]["width"], framed["outputs"][0]["height"])
        await self._expect(framed, "working", *size, FIRST_S + SECOND_S)
        lit = await self._export("overlay", {"kind": "overlay", "reel_id": reel["id"]})
        await self._expect(lit, "final", *size, FIRST_S + SECOND_S)
        whole = await self._export("framing and overlay in one pass", {"kind": "reel", "reel_id": reel["id"]})
        reel_path = await self._expect(whole, "final", *size, FIRST_S + SECOND_S)
        if abs(size[0] / size[1] - 9 / 16) > 0.01:
            raise DemoFailed(f"the reel is {size[0]} x {size[1]}, which is not 9:16")
        self._report(reel_path, framed["trace_id"])
        return reel_path

    async def _export(self, label: str, wanted: dict[str, Any]) -> dict[str, Any]:
        shares = [0.0]

        def seen(export: dict[str, Any]) -> None:
            if export["progress"] < shares[-1]:
                raise DemoFailed(f"{label}: progress went back from {shares[-1]} to {export['progress']}")
            if export["progress"] > shares[-1]:
                shares.append(export["progress"])

        async def both() -> dict[str, Any]:
            export = await self.api.export(wanted)
            return await self.api.finished(export["id"], seen)

        export = await self._timed(f"export: {label}", both())
        if export["state"] != "succeeded":
            raise DemoFailed(f"{label}: {export['state']}: {export['error']}")
        self.say(f"  {label}: {len(export['outputs'])} video(s), {len(shares) - 1} steps of progress seen")
        return export

    async def _expect(
        self, export: dict[str, Any], role: str, width: int, height: int, seconds: float, *, count: int = 1
    ) -> Path:
        """Downloads the outputs of a role and checks each; the path of the last."""
        outputs = [output for output in export["outputs"] if output["role"] == role]
        if len(outputs) != count:
            raise DemoFailed(f"{export['kind']}: {len(outputs)} outputs are {role}, not {count}")
        path = self.folder
        for output in outputs:
            path = self.folder / f"{export['kind']}-{output['name']}"
            await self._timed(f"download: {path.name}", self.api.download(output["url"], path))
            problem = _problem(look(path), output, width, height, seconds)
            if problem:
                raise DemoFailed(f"{path}: {problem}")
        return path

    async def _timed(self, label: str, work: Awaitable[T]) -> T:
        started = time.monotonic()
        result = await work
        self.took.append((label, time.monotonic() - started))
        return result

    def _report(self, reel: Path, trace_id: str) -> None:
        self.say("\nHow long each step took:")
        for label, seconds in self.took:
            self.say(f"  {seconds:7.2f} s  {label}")
        self.say("\nThe framing export's trace:")
        self.say(trace.render(trace.tree(trace.spans(self.traces, trace_id))))
        self.say(f"\nThe reel: {reel}")


def _problem(seen: Seen, output: dict[str, Any], width: int, height: int, seconds: float) -> str:
    """What is wrong with a video, empty when nothing is."""
    expected = round(seconds * footage.FPS)
    checks = (
        ((seen.width, seen.height) == (width, height), f"is {seen.width} x {seen.height}, not {width} x {height}"),
        (seen.frames == expected, f"has {seen.frames} frames, not {expected}"),
        (abs(seen.video_s - seconds) < 0.001, f"its picture lasts {seen.video_s} s, not {seconds}"),
        (abs(seen.sound_s - seconds) < 0.05, f"its sound lasts {seen.sound_s} s, not {seconds}"),
        (abs(output["duration_ms"] - seconds * 1000) <= 1, f"the API says {output['duration_ms']} ms"),
        (seen.faststart, "its index comes after its media: a player waits for the whole file"),
        (max(seen.bright) > 40 and len(set(seen.bright)) > 2, f"its picture is black or still: {seen.bright}"),
    )
    return "; ".join(words for ok, words in checks if not ok)
