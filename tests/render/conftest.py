"""Sources that the tests of render share, made once for each worker process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.file_server import serve
from tests.render import golden
from tests.render.making import Making

# One beep of 50 ms at the start of each second.
BEEPS = ["-f", "lavfi", "-i", "aevalsrc=exprs='0.7*sin(2*PI*1000*t)*lt(mod(t\\,1)\\,0.05)':s=48000:d=20", "-shortest"]
SILENT = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "30"]
WITH_SOUND = [*SILENT, "-c:a", "pcm_s16le"]


@pytest.fixture(scope="session")
def making(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Making]:
    """beeps.mov: 240 lossless frames at 30 fps with exact beeps; plain.mp4: 120 frames, silent, with B-frames."""
    folder = tmp_path_factory.mktemp("sources")
    golden.encode(folder / "beeps.mov", range(240), before=BEEPS, options=WITH_SOUND)
    golden.encode(
        folder / "plain.mp4",
        range(1000, 1120),
        options=["-c:v", "libx264", "-preset", "fast", "-crf", "12", "-g", "50", "-bf", "3"],
    )
    with serve(folder) as server:
        yield Making(folder, server)
