"""High dynamic range to standard: PQ or HLG of BT.2020 to BT.709, by a table over red, green and blue.

The table holds what the standards say: the transfer functions of ITU-R BT.2100 (HLG shown at 1,000 cd/m²), white of
graphics at 203 cd/m² (BT.2408), a shoulder that leaves the darker half as it is and rolls off up to PEAK, the same for
all three colours so that hues stay, and the display gamma 2.4 of BT.1886.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

STEPS = 49  # of the table, each way
WHITE_NITS = 203.0
PEAK_NITS = 1000.0
KNEE = 0.5  # of the light of white
PQ = 16  # ITU-T H.273; any other transfer here is HLG

Values = NDArray[np.float64]

_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])


class Graph:
    """A filter graph for frames like the first one; gives limited-range BT.709 in 8 bits."""

    def __init__(self, like: av.VideoFrame) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.cube"
            path.write_text(cube(int(like.color_trc)))
            self._graph = av.filter.Graph()
            source = self._graph.add_buffer(
                width=like.width, height=like.height, format=like.format, time_base=like.time_base
            )
            nodes = [
                source,
                self._graph.add("scale", f"in_color_matrix=bt2020:in_range={_range(like)}:out_range=pc"),
                self._graph.add("format", "gbrp10le"),
                self._graph.add("lut3d", f"file={path}:interp=tetrahedral"),
                self._graph.add("scale", "out_color_matrix=bt709:out_range=tv"),
                self._graph.add("format", "yuv420p"),
                self._graph.add("buffersink"),
            ]
            self._graph.link_nodes(*nodes).configure()

    def convert(self, frame: av.VideoFrame) -> Any:
        """The frame as standard range shows it."""
        self._graph.push(frame)
        return self._graph.pull()


def cube(transfer: int) -> str:
    """The table in the Cube format, red fastest."""
    steps = np.linspace(0.0, 1.0, STEPS)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    signal = np.stack([red.ravel(), green.ravel(), blue.ravel()], axis=1)
    lines = "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in shown(signal, transfer))
    return f"LUT_3D_SIZE {STEPS}\n{lines}\n"


def shown(signal: Values, transfer: int) -> Values:
    """Standard-range R'G'B' of BT.709, 0 to 1, of R'G'B' signals of BT.2020 (n x 3)."""
    light = (_pq_light(signal) if transfer == PQ else _hlg_light(signal)) / WHITE_NITS
    most = np.maximum(light.max(axis=1, keepdims=True), 1e-9)
    mapped = light * (_shoulder(most) / most)
    narrow = mapped @ _TO_709.T
    return np.asarray(np.clip(narrow, 0.0, 1.0) ** (1 / 2.4))


def _shoulder(light: Values) -> Values:
    """1 is reached at PEAK_NITS; below KNEE nothing changes; the slope is continuous."""
    u = np.maximum(light - KNEE, 0) / (1 - KNEE)
    most = (PEAK_NITS / WHITE_NITS - KNEE) / (1 - KNEE)
    rolled = KNEE + (1 - KNEE) * u * (1 + u / most**2) / (1 + u)
    return np.where(light <= KNEE, light, np.minimum(rolled, 1.0))


def _pq_light(signal: Values) -> Values:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = signal ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1))


def _hlg_light(signal: Values) -> Values:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = scene @ _LUMA_2020
    return np.asarray(1000 * np.maximum(luma, 1e-9)[:, None] ** 0.2 * scene)


def _range(frame: av.VideoFrame) -> str:
    return "pc" if int(frame.color_range) == 2 else "tv"
