"""A range of a source's sound, gathered as its packets come by."""

from __future__ import annotations

import tempfile
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from render.plan import SAMPLE_RATE

IN_MEMORY_MAX_S = 120  # more is gathered in a file
# Times of packets are rounded to their container's ticks (1 ms in Matroska): sound is laid end to end, and only a real
# gap moves it.
_GAP_SAMPLES = SAMPLE_RATE // 100
_SETTLE_S = 0.1


class Sound:
    """Decoded sound of [start_s, end_s) of a source's clock: 2 channels at SAMPLE_RATE, silence where there is none."""

    def __init__(self, origin: Fraction, start_s: float, end_s: float) -> None:
        self._origin = float(origin)
        self.start_s, self.end_s = start_s, end_s
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[str, int, str] | None = None
        self._next: int | None = None
        shape = (2, max(1, round((end_s - start_s) * SAMPLE_RATE)))
        self._samples: NDArray[np.float32]
        if end_s - start_s <= IN_MEMORY_MAX_S:
            self._samples = np.zeros(shape, dtype=np.float32)
        else:
            with tempfile.TemporaryFile() as file:  # its pages stay while they are mapped
                self._samples = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
        self.complete = False

    def restart(self) -> None:
        """The packets that come next do not follow the last ones."""
        self._resampler, self._form, self._next = None, None, None
        self.complete = False

    def add(self, frame: av.AudioFrame) -> None:
        """Takes a decoded frame; what lies outside the range is dropped."""
        if frame.pts is None or frame.time_base is None or not frame.sample_rate:
            return
        begin_s = float(frame.pts * frame.time_base) - self._origin
        if begin_s >= self.end_s:
            self.complete = True
            return
        if begin_s + frame.samples / frame.sample_rate <= self.start_s - _SETTLE_S:
            return
        form = (frame.format.name, frame.sample_rate, frame.layout.name)
        if self._resampler is None or form != self._form:
            self._flush()
            # One channel goes to both sides as loud as it is: FFmpeg's own mixing would take 3 dB.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=SAMPLE_RATE)
            self._form = form
        for piece in self._resampler.resample(frame):
            self._place(piece)

    def finish(self) -> None:
        """Takes what the resampler still holds."""
        self._flush()
        self.complete = True

    def samples(self) -> NDArray[np.float32]:
        """All of it."""
        return self._samples

    def _flush(self) -> None:
        if self._resampler is not None:
            for piece in self._resampler.resample(None):
                self._place(piece)
            self._resampler = None

    def _place(self, piece: av.AudioFrame) -> None:
        if piece.pts is None or piece.time_base is None:
            return
        data = piece.to_ndarray()
        begin = round((float(piece.pts * piece.time_base) - self._origin - self.start_s) * SAMPLE_RATE)
        at = begin if self._next is None or abs(begin - self._next) > _GAP_SAMPLES else self._next
        self._next = at + data.shape[1]
        first, last = max(0, at), min(self._samples.shape[1], self._next)
        if last > first:
            self._samples[:, first:last] = data[:, first - at : last - at]
