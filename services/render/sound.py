"""Sound in step with the picture: every clip has exactly the samples of its frames, at any speed.

1. n frames have round(n * 48000 / fps) samples, counted from the timeline's start, so that joints never drift
   (tests/render/test_sound.py).
2. Slow motion keeps the pitch (FFmpeg's atempo) and is cut or padded to its exact length.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from render.plan import SAMPLE_RATE, ClipPlan

Samples = NDArray[np.float32]
_SPARE = SAMPLE_RATE // 5


def retimed(clip: ClipPlan, recorded: Samples, start_s: float, count: int) -> Samples:
    """The clip's sound of `count` samples from what was recorded from `start_s` of the source on."""
    out = np.zeros((2, count), dtype=np.float32)
    for number, piece in enumerate(clip.pieces):
        begin, end = _at(piece.out_from), min(count, _at(piece.out_to))
        if number + 1 == len(clip.pieces):
            end = count  # a clip has whole frames: up to half of one more than was asked for
        source = max(0, _at(piece.source_from) - round(start_s * SAMPLE_RATE))
        length = round((end - begin) * piece.rate)
        if piece.rate == 1:
            taken = recorded[:, source : source + length]
        else:
            # The filter holds some back: it hears more than the piece, and silence beyond what there is.
            heard = recorded[:, source : source + length + _SPARE]
            taken = _tempo(np.pad(heard, ((0, 0), (0, length + _SPARE - heard.shape[1]))), piece.rate)
        taken = taken[:, : end - begin]
        out[:, begin : begin + taken.shape[1]] = taken
    return out


def faded(samples: Samples, head: int, tail: int) -> Samples:
    """Equal-power fades over the first `head` and the last `tail` samples, for a dissolve."""
    out = samples.copy()
    if head:
        out[:, :head] *= np.sin(np.linspace(0, np.pi / 2, head, dtype=np.float32))
    if tail:
        out[:, -tail:] *= np.cos(np.linspace(0, np.pi / 2, tail, dtype=np.float32))
    return out


def quantised(samples: Samples, gain_db: float) -> bytes:
    """16-bit interleaved stereo."""
    scaled = np.clip(samples * np.float32(10 ** (gain_db / 20) * 32767), -32768, 32767)
    return np.ascontiguousarray(scaled.T).astype("<i2").tobytes()


def _at(seconds: Fraction) -> int:
    return round(seconds * SAMPLE_RATE)


def _tempo(samples: Samples, rate: Fraction) -> Samples:
    graph = av.filter.Graph()
    chain = [
        graph.add_abuffer(format="fltp", sample_rate=SAMPLE_RATE, layout="stereo", time_base=Fraction(1, SAMPLE_RATE))
    ]
    left = float(rate)
    while left < 0.5 or left > 2:
        step = 0.5 if left < 1 else 2.0
        chain.append(graph.add("atempo", f"{step}"))
        left /= step
    chain += [graph.add("atempo", f"{left:.9f}"), graph.add("abuffersink")]
    graph.link_nodes(*chain).configure()
    pieces: list[Samples] = []

    def drain() -> None:
        while True:
            try:
                pulled = graph.pull()
                assert isinstance(pulled, av.AudioFrame)
                pieces.append(pulled.to_ndarray().astype(np.float32, copy=False))
            except (av.BlockingIOError, av.EOFError):
                return

    for at in range(0, samples.shape[1], 4096):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, at : at + 4096]), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
        graph.push(frame)
        drain()
    graph.push(None)
    drain()
    return np.concatenate(pieces, axis=1) if pieces else samples[:, :0]
