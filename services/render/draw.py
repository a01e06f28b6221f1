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

Open = Callable[[ClipPlan], Footage]
Done = Callable[[ClipPlan, Footage, Sound | None], None]


class Clips:
    """Draws one plan's clips; a clip's source is opened for its first frame, and handed to `done` after its last, with
    its sound when that is `heard` on the way.
    """

    def __init__(self, plan: Plan, open_footage: Open, done: Done, *, heard: bool) -> None:
        self._plan = plan
        self._open = open_footage
        self._done = done
        self._heard = heard
        self._texts: dict[int, Lettering] = {}

    def frames(self, first: int, end: int) -> Iterator[Picture]:
        """Frames [first, end) of the timeline, with their joints, without the overlays of output space.

        A frame is the same whatever range it is drawn in; sound is heard from clips that lie in the range whole.
        """
        plan = self._plan
        coming = [clip for clip in plan.clips if clip.first < end and clip.end > first]
        shown: dict[int, Iterator[Picture]] = {}
        for number in range(first, end):
            while coming and coming[0].first <= number:
                clip = coming.pop(0)
                shown[clip.index] = self._clip(clip, max(0, first - clip.first), min(clip.end, end) - clip.first)
            pictures = [next(frames) for frames in shown.values()]
            if len(pictures) == 1:
                yield pictures[0]
            else:
                yield picture.dissolve(pictures[-2], pictures[-1], plan.dissolved(number))
            for index in [index for index in shown if min(plan.clips[index].end, end) == number + 1]:
                next(shown.pop(index), None)  # lets it end

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

    def _clip(self, clip: ClipPlan, begin: int, until: int) -> Iterator[Picture]:
        plan = self._plan
        footage = self._open(clip)
        times = [clip.source_time(frame, plan.fps) for frame in range(begin, until)]
        whole = (begin, until) == (0, clip.frames)
        sound = footage.sound(*clip.heard(plan.fps)) if self._heard and whole else None
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
