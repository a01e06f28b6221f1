"""Pictures to H.264, by an encoder that PyAV's wheel carries, in this process: no raw frame passes through a pipe, and
footage that is not drawn on is not even copied.

That is x264, which does what the bare FFmpeg of the bench does with the same settings, frame for frame
(tests/render/test_encode.py); where an operator wants it and a probe has shown that it works, NVENC (nvenc.py).
"""

from __future__ import annotations

import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.frame import PictureType

from render.footage import Picture
from render.products import Codec
from render.spec import Quality

# By itself `fast` looks 30 frames ahead, which hold 6 MB each at 1080p; the file gets about as small with fewer.
_X264 = {
    Quality.DRAFT: {"preset": "ultrafast", "crf": "26"},
    Quality.STANDARD: {"preset": "veryfast", "crf": "19"},
    Quality.HIGH: {"preset": "fast", "crf": "17", "rc-lookahead": "10"},
}
# NVIDIA's names for about the same; not measured on a card.
_NVENC = {
    Quality.DRAFT: {"preset": "p1", "cq": "30"},
    Quality.STANDARD: {"preset": "p4", "cq": "23"},
    Quality.HIGH: {"preset": "p6", "cq": "20"},
}
_TAGS = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
_BT709, _LIMITED = 1, 1  # ITU-T H.273; FFmpeg's AVCOL_RANGE_MPEG
GROUP_S = 2  # at most between two key frames; a group never refers to another
AHEAD_FRAMES = 2  # drawn while x264 is still busy


class EncodeError(Exception):
    """FFmpeg failed; the message is the end of what it said."""


def settings(quality: Quality, fps: Fraction, codec: Codec = Codec.X264) -> dict[str, str]:
    """The encoder's options, by FFmpeg's names."""
    options = {"g": str(max(1, round(fps * GROUP_S))), "a53cc": "0"}
    if codec is Codec.NVENC:
        return {**_NVENC[quality], **options, "rc": "vbr", "b": "0"}
    return {**_X264[quality], **options, "x264-params": _TAGS}


class Encoder:
    """Encodes pictures of one size to an H.264 file without sound; `threads` 0 takes as many as suit the cores."""

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: Fraction,
        quality: Quality,
        *,
        threads: int = 0,
        codec: Codec = Codec.X264,
    ) -> None:
        self._width, self._height = width, height
        self._step = 1 / fps
        # One time base for all pieces, or joining them would round their times.
        self._out = av.open(str(path), "w", format="mp4", options={"video_track_timescale": str(_timescale(fps))})
        self._stream = cast(Any, self._out.add_stream(codec, rate=fps, options=settings(quality, fps, codec)))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._step
        if codec is Codec.X264:  # PyAV asks for slices, which cost bytes
            context.thread_type, context.thread_count = ThreadType.FRAME, threads
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED
        self._canvas = av.VideoFrame(width, height, "yuv420p")
        self._planes = [_writable(plane) for plane in self._canvas.planes]
        self._frames = 0
        self._queue: queue.Queue[Picture | None] = queue.Queue(AHEAD_FRAMES)
        self._failure: EncodeError | MemoryError | None = None
        self._writer = threading.Thread(target=self._write_on, daemon=True)
        self._writer.start()

    def write(self, picture: Picture) -> None:
        """Adds a frame, which must not change any more; EncodeError when the encoder has given up."""
        self._queue.put(picture)
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Waits for the file to be whole; EncodeError."""
        self._queue.put(None)
        self._writer.join()
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Ends it; the file is not whole."""
        self._failure = self._failure or EncodeError("given up")
        self._queue.put(None)
        self._writer.join()

    def _write_on(self) -> None:
        """Encodes while the next frames are drawn; what comes after a failure is dropped."""
        while (picture := self._queue.get()) is not None:
            if self._failure is None:
                self._try(self._encode, picture)
        if self._failure is None:
            self._try(self._close)

    def _try(self, step: Any, *arguments: Any) -> None:
        try:
            step(*arguments)
        except MemoryError as error:
            self._failure = error
        except Exception as error:  # whatever it is: a writer that is gone would be waited for
            self._failure = EncodeError(f"the encoder ended: {error}")
            self._failure.__cause__ = error

    def _encode(self, picture: Picture) -> None:
        frame = picture.frame
        if frame is None:
            frame = self._canvas
            for plane, drawn in zip(self._planes, picture.planes, strict=True):
                np.copyto(plane, drawn)
        # What a decoded frame was is nothing to the encoder.
        frame.pict_type = PictureType.NONE
        frame.pts, frame.time_base = self._frames, self._step
        self._frames += 1
        self._out.mux(self._stream.encode(frame))  # x264 has copied the frame when this returns

    def _close(self) -> None:
        self._out.mux(self._stream.encode(None))
        self._out.close()


def _writable(plane: Any) -> Any:
    return np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _timescale(fps: Fraction) -> int:
    scale = fps.numerator
    while scale < 10_000:
        scale *= 10
    return scale
