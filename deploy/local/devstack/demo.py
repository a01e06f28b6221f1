"""The main job with no browser: real footage, two clips, framing, a spotlight, every kind of export, all checked."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from devstack import footage, trace
from devstack.api import Api
from devstack.checks import Seen, difference, look, pictures, window

T = TypeVar("T")
Say = Callable[[str], None]

# The window of a tall picture follows the bird's head to the right and back; a second of the turn plays in half speed.
HEAD_X = {9000: 0.32, 10000: 0.37, 11000: 0.38, 11500: 0.62, 12250: 0.68, 13000: 0.56}
TALL_WIDTH = 9 / 16 * footage.HEIGHT / footage.WIDTH
TURN = {"start_ms": 9000, "end_ms": 13000, "name": "The turn", "rating": 5, "tags": ["turn"], "notes": "To the right."}
TURN_FRAMING = {
    "crop_keys": [{"time_ms": at, "x": x, "y": 0.0, "width": TALL_WIDTH, "height": 1.0} for at, x in HEAD_X.items()],
    "trim": None,
    "segments": [{"start_ms": 11000, "end_ms": 12000, "speed": 0.5}],
}
PLANT = {"start_ms": 0, "end_ms": 1000, "name": "Seen by phone", "rating": 4}
SPOTLIGHT = {
    "start_ms": 500,
    "end_ms": 3500,
    "fade_ms": 300,
    "shape": "body",
    "effects": [{"kind": "dim_outside", "strength": 0.7}, {"kind": "ring", "strength": 1.0, "color": "#ffd54a"}],
    "keys": [
        {"time_ms": 500, "center_x": 0.5, "center_y": 0.45, "radius_x": 0.4, "radius_y": 0.3},
        {"time_ms": 2000, "center_x": 0.5, "center_y": 0.45, "radius_x": 0.42, "radius_y": 0.32},
        {"time_ms": 3500, "center_x": 0.5, "center_y": 0.4, "radius_x": 0.36, "radius_y": 0.25},
    ],
}
LIT_S = 2.0
# Where in the reel the source's key times are shown: the slow second lasts for two.
SHOWN_S = {9000: 0.0, 10000: 1.0, 11000: 2.0, 11500: 3.0, 12250: 4.25}
TURN_S, PLANT_S, TURN_REEL_S = 4.0, 1.0, 5.0
REEL_S = TURN_REEL_S + PLANT_S
# The telephone recorded quietly; a silent track would measure 0.
AUDIBLE, AUDIBLE_BY_PHONE = 0.01, 0.0005


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
        game = await self.api.post("/games", {"name": "Demo", "opponent": "the camera", "sport": "wildlife"})
        videos = [await self._upload(game["id"], make(self.folder)) for make in (footage.with_sound, footage.by_phone)]
        reel_id = await self._timed("clips, framing and spotlight", self._edit(game["id"], videos))

        annotated = await self._export("annotate", {"kind": "annotate", "game_id": game["id"], "captions": True})
        await self._expect(annotated, "clip", [TURN_S, PLANT_S], (AUDIBLE, AUDIBLE_BY_PHONE))
        await self._expect(annotated, "compilation", [TURN_S + PLANT_S], (AUDIBLE,))
        framed = await self._export("framing", {"kind": "framing", "reel_id": reel_id})
        working = (await self._expect(framed, "working", [REEL_S], (AUDIBLE,)))[0]
        self._must(_follows(working, self.folder / footage.FILE_NAME))
        lit = await self._export("overlay", {"kind": "overlay", "reel_id": reel_id})
        final = (await self._expect(lit, "final", [REEL_S], (AUDIBLE,)))[0]
        self._must(_lit(working, final))
        whole = await self._export("framing and overlay in one pass", {"kind": "reel", "reel_id": reel_id})
        reel = (await self._expect(whole, "final", [REEL_S], (AUDIBLE,)))[0]
        self._must(_lit(working, reel), _heard(reel))
        self._report(reel, framed["trace_id"])
        return reel

    async def _upload(self, game_id: str, file: Path) -> dict[str, Any]:
        video = await self._timed(f"upload: {file.name}", self.api.upload(game_id, file))
        if video["state"] != "ready":
            raise DemoFailed(f"{file.name} was not accepted: {video['state']} {video['reject_reason']}")
        return video

    async def _edit(self, game_id: str, videos: list[dict[str, Any]]) -> str:
        """Marks a clip of each video, makes a tall reel of them, frames the first, puts a spotlight; the reel's id."""
        clips = [
            await self.api.post(f"/games/{game_id}/clips", {**clip, "video_id": video["id"]})
            for clip, video in zip((TURN, PLANT), videos, strict=True)
        ]
        clip_ids = [clip["id"] for clip in clips]
        reel = await self.api.post("/reels", {"name": "The turn", "aspect": "9:16", "clip_ids": clip_ids})
        await self.api.put(f"/reels/{reel['id']}/clips/{clip_ids[0]}/framing", TURN_FRAMING)
        await self.api.put(f"/reels/{reel['id']}/overlay", {"regions": [SPOTLIGHT]})
        return str(reel["id"])

    async def _export(self, label: str, wanted: dict[str, Any]) -> dict[str, Any]:
        shares = [0.0]

        def seen(export: dict[str, Any]) -> None:
            if export["progress"] != shares[-1]:
                shares.append(export["progress"])

        async def both() -> dict[str, Any]:
            export = await self.api.export(wanted)
            return await self.api.finished(export["id"], seen)

        export = await self._timed(f"export: {label}", both())
        if export["state"] != "succeeded":
            raise DemoFailed(f"{label}: {export['state']}: {export['error']}")
        # It goes back only when a killed renderer had to begin again.
        back = sum(later < earlier for earlier, later in pairwise(shares))
        again = f", began again {back} time(s)" if back else ""
        self.say(f"  {label}: {len(export['outputs'])} video(s), {len(shares) - 1} steps of progress seen{again}")
        return export

    async def _expect(
        self, export: dict[str, Any], role: str, seconds: list[float], audible: tuple[float, ...]
    ) -> list[Path]:
        """Downloads the outputs of a role and checks each against its length; their paths."""
        outputs = [output for output in export["outputs"] if output["role"] == role]
        if len(outputs) != len(seconds):
            raise DemoFailed(f"{export['kind']}: {len(outputs)} outputs are {role}, not {len(seconds)}")
        paths = []
        for output, length_s, least in zip(outputs, seconds, audible, strict=True):
            path = self.folder / f"{export['kind']}-{output['name']}"
            await self._timed(f"download: {path.name}", self.api.download(output["url"], path))
            tall = role in ("working", "final")
            problem = _problem(look(path), output, length_s, least, tall=tall)
            if problem:
                raise DemoFailed(f"{path}: {problem}")
            paths.append(path)
        return paths

    def _must(self, *problems: str) -> None:
        for problem in problems:
            if problem:
                raise DemoFailed(problem)

    async def _timed(self, label: str, work: Awaitable[T]) -> T:
        started = time.monotonic()
        result = await work
        self.took.append((label, time.monotonic() - started))
        return result

    def _report(self, reel: Path, trace_id: str) -> None:
        self.say("\nHow long each step took:")
        for label, seconds in self.took:
            self.say(f"  {seconds:7.2f} s  {label}")
        (self.folder / "steps.json").write_text(json.dumps(dict(self.took), indent=1))
        self.say("\nThe framing export's trace:")
        self.say(trace.render(trace.tree(trace.spans(self.traces, trace_id))))
        self.say(f"\nThe reel: {reel}")


def _problem(seen: Seen, output: dict[str, Any], seconds: float, audible: float, *, tall: bool) -> str:
    """What is wrong with a video, empty when nothing is."""
    expected = round(seconds * seen.fps)
    size = (output["width"], output["height"])
    loudest = max(seen.loudness, default=0.0)
    checks = (
        ((seen.width, seen.height) == size, f"is {seen.width} x {seen.height}, the API says {size}"),
        (not tall or seen.width * 16 == seen.height * 9, f"is {seen.width} x {seen.height}, which is not 9:16"),
        (
            abs(seen.frames - expected) <= (0 if seen.fps.is_integer() else 1),
            f"has {seen.frames} frames, not {expected}",
        ),
        (abs(seen.video_s - seconds) <= 0.5 / seen.fps, f"its picture lasts {seen.video_s} s, not {seconds}"),
        (abs(seen.sound_s - seconds) < 0.05, f"its sound lasts {seen.sound_s} s, not {seconds}"),
        (abs(output["duration_ms"] - seconds * 1000) <= 500 / seen.fps, f"the API says {output['duration_ms']} ms"),
        (loudest >= audible, f"its sound is silent: {loudest:.5f}"),
        (seen.faststart, "its index comes after its media: a player waits for the whole file"),
        (seen.bright > 40, f"its picture is black: {seen.bright:.1f}"),
        (seen.moved > 1, f"its picture stands still: {seen.moved:.2f}"),
    )
    return "; ".join(words for ok, words in checks if not ok)


def _follows(working: Path, source: Path) -> str:
    """What is wrong with where the window was: at each key it shows the source through that key's window."""
    shown = pictures(working, list(SHOWN_S.values()))
    whole = pictures(source, [at / 1000 for at in SHOWN_S])
    for at, picture, frame in zip(SHOWN_S, shown, whole, strict=True):
        right = difference(picture, window(frame, HEAD_X[at], 0, TALL_WIDTH, 1))
        beside = difference(picture, window(frame, HEAD_X[at] - 0.05, 0, TALL_WIDTH, 1))
        if right > 4 or right > beside / 2:
            return f"at {at} ms the window is not where its key says (off by {right:.1f}, 5% beside it {beside:.1f})"
    return ""


def _lit(working: Path, final: Path) -> str:
    """What is wrong with the spotlight: dark outside the ellipse, as it was inside, and nothing before it begins."""
    before, after = pictures(working, [0.0, LIT_S]), pictures(final, [0.0, LIT_S])
    outside = float(window(after[1], 0, 0.9, 1, 0.1).mean() / window(before[1], 0, 0.9, 1, 0.1).mean())
    inside = difference(window(after[1], 0.35, 0.4, 0.3, 0.1), window(before[1], 0.35, 0.4, 0.3, 0.1))
    untouched = difference(before[0], after[0])
    if not 0.15 < outside < 0.5 or inside > 6 or untouched > 3:
        return (
            f"{final}: the spotlight is wrong: outside it {outside:.2f} of the light is left,"
            f" inside it differs by {inside:.1f}, before it by {untouched:.1f}"
        )
    return ""


def _heard(reel: Path) -> str:
    """What is wrong with the sound of the reel's two parts, generated and recorded."""
    loudness = look(reel).loudness
    first, second = loudness[: int(TURN_REEL_S * 2)], loudness[int(TURN_REEL_S * 2) : int(REEL_S * 2)]
    if min(first) < AUDIBLE / 2 or max(second) < AUDIBLE_BY_PHONE:
        return f"{reel}: a part of its sound is missing: {loudness}"
    return ""
