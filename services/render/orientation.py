"""How a stored picture is turned and mirrored to be shown: phones and cameras write it into the file, as a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Orientation:
    """Rows and columns are swapped first, then columns and rows are reversed."""

    swapped: bool
    columns_reversed: bool
    rows_reversed: bool

    def shown(self, plane: Plane) -> Plane:
        """A plane as it is shown."""
        if self.swapped:
            plane = np.asarray(cv2.transpose(plane), dtype=np.uint8)
        if self.columns_reversed or self.rows_reversed:
            both = self.columns_reversed and self.rows_reversed
            plane = np.asarray(cv2.flip(plane, -1 if both else int(self.columns_reversed)), dtype=np.uint8)
        return plane


def of(frame: Any) -> Orientation | None:
    """What a decoded frame says; None when it is shown as it is stored. Angles between are rounded."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    # A stored point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if swapped else (a, d)
    found = Orientation(swapped, across < 0, down < 0)
    return None if found == Orientation(False, False, False) else found
