"""The sound track of a plan, gathered clip by clip on disk, so that hours of it need no memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from render import sound
from render.plan import ClipPlan, Plan
from render.recorded import Sound

_BLOCK = 1 << 20


class Track:
    """Clips are added in order; `alone` is the clip just added, `whole` everything."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._total = plan.samples(plan.frames)
        self._mix = np.memmap(folder / "track.f32", dtype=np.float32, mode="w+", shape=(2, max(1, self._total)))
        self._fades = {joint.after: joint for joint in plan.joints}
        self._own = np.zeros((2, 0), dtype=np.float32)

    def add(self, clip: ClipPlan, recorded: Sound | None) -> None:
        """Puts a clip's sound in its place, faded where it dissolves; silence when it has none."""
        plan = self._plan
        begin, end = plan.samples(clip.first), plan.samples(clip.first + clip.frames)
        if recorded is None:
            self._own = np.zeros((2, end - begin), dtype=np.float32)
            return
        self._own = sound.retimed(clip, recorded.samples(), recorded.start_s, end - begin)
        before, after = self._fades.get(clip.index - 1), self._fades.get(clip.index)
        head = plan.samples(before.first + before.frames) - begin if before else 0
        tail = end - plan.samples(after.first) if after else 0
        self._mix[:, begin:end] += sound.faded(self._own, head, tail)

    def alone(self, clip: ClipPlan) -> Path:
        """The file of the clip just added, of exactly the samples of its frames."""
        count = self._plan.samples(clip.frames)
        own = np.zeros((2, count), dtype=np.float32)
        own[:, : min(count, self._own.shape[1])] = self._own[:, :count]
        path = self._folder / f"clip-{clip.index}.s16"
        path.write_bytes(sound.quantised(own, self._plan.spec.gain_db))
        return path

    def whole(self) -> Path:
        """The file of all clips."""
        path = self._folder / "track.s16"
        with path.open("wb") as file:
            for at in range(0, self._total, _BLOCK):
                block = np.array(self._mix[:, at : min(at + _BLOCK, self._total)])
                file.write(sound.quantised(block, self._plan.spec.gain_db))
        return path
