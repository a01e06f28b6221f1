"""The frames of a plan, in order: footage cut to its window, dissolved at joints, with its spotlights and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from render import lettering, picture
from render.footage import Footage, Picture
from render.keyframes import curve
from render.lettering import Lettering
from render.plan import ClipPlan, DrawnSpotlight, Plan, Window, strength
from render.recorded import Sound
from render.spec import Space, Text

# What a change of tempo hears beyond its end, in s of the source.
SOUND_SPARE_S = Fraction(1, 4)

Open = Callable[[ClipPlan], Footage]
Done = Callable[[ClipPlan, Footage, Sound | None], None]


class Clips:
    """Draws one plan's clips; a clip's source is opened for its first frame, and handed to `done` with its sound after
    its last.
    """

    def __init__(self, plan: Plan, open_footage: Open, done: Done) -> None:
        self._plan = plan
        self._open = open_footage
        self._done = done
        self._texts: dict[int, Lettering] = {}

    def frames(self, first_clip: int, last_clip: int) -> Iterator[Picture]:
        """The timeline's frames of clips first to last, with their joints, without the overlays of output space."""
        plan = self._plan
        held: Iterator[Picture] | None = None
        joints = {joint.after: joint for joint in plan.joints}
        for index in range(first_clip, last_clip + 1):
            clip = plan.clips[index]
            own = self._clip(clip)
            skip = 0
            if held is not None:
                joint = joints[index - 1]
                skip = joint.frames
                for k in range(joint.frames):
                    yield picture.dissolve(next(held), next(own), (k + 1) / (joint.frames + 1))
                next(held, None)  # lets the older clip end
            keep = clip.frames - skip - (joints[index].frames if index in joints and index < last_clip else 0)
            for _ in range(keep):
                yield next(own)
            held = own if index in joints and index < last_clip else None
            if held is None:
                next(own, None)

    def finished(self, frame: Picture, number: int) -> Picture:
        """A timeline frame with the overlays of output space."""
        at = float(Fraction(number) / self._plan.fps)
        for drawn in self._plan.spotlights:
            if drawn.overlay.space is Space.OUTPUT:
                shown = strength(drawn.overlay, at)
                if shown:
                    frame = picture.spotlight(frame, drawn, at, shown)
        for index, overlay in enumerate(self._plan.spec.overlays):
            if isinstance(overlay.content, Text) and overlay.space is Space.OUTPUT:
                shown = strength(overlay, at)
                if shown:
                    frame = lettering.draw(frame, self._text(index, overlay.content), shown)
        return frame

    def _text(self, index: int, text: Text) -> Lettering:
        if index not in self._texts:
            size = (self._plan.width, self._plan.height)
            self._texts[index] = lettering.words(text.text, text.x, text.y, text.height, text.color, *size)
        return self._texts[index]

    def _clip(self, clip: ClipPlan) -> Iterator[Picture]:
        plan = self._plan
        footage = self._open(clip)
        times = [clip.source_time(frame, plan.fps) for frame in range(clip.frames)]
        sound = None
        if plan.spec.audio:
            sound = footage.sound(clip.pieces[0].source_from, clip.source_time(clip.frames, plan.fps) + SOUND_SPARE_S)
        words = lettering.caption(clip.clip.caption_title, clip.clip.caption_text, plan.width, plan.height)
        glued = [d for d in plan.spotlights if d.overlay.space is Space.SOURCE and d.overlay.clip_index == clip.index]
        aspect = plan.width / plan.height
        frames = footage.frames(times, sound)
        for time_s in times:
            at = float(time_s)
            window = clip.window(at, aspect)
            cut = picture.crop(next(frames), window, clip.info.width, clip.info.height, plan.width, plan.height)
            for drawn in glued:
                shown = strength(drawn.overlay, at)
                if shown:
                    cut = picture.spotlight(cut, _seen_through(drawn, clip, window, at), 0.0, shown)
            yield lettering.draw(cut, words, 1.0) if words else cut
        next(frames, None)  # reads the sound to its end
        self._done(clip, footage, sound)


def _seen_through(drawn: DrawnSpotlight, clip: ClipPlan, window: Window, at: float) -> DrawnSpotlight:
    """A spotlight of source space as it stands in the window, as constants."""
    cx, cy, rx, ry = (one.at(at) for one in drawn.curves)
    width, height = clip.info.width, clip.info.height
    values = (
        (cx * width - window.x) / window.width,
        (cy * height - window.y) / window.height,
        rx * width / window.width,
        ry * height / window.height,
    )
    a, b, c, d = (curve([0.0], [value], smooth=False) for value in values)
    return replace(drawn, curves=(a, b, c, d))
