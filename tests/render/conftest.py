"""Sources that the tests of render share, made once for each worker process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import release
from render.engines import modal
from render.kept import Kept
from tests.fakes.file_server import serve
from tests.fakes.modal_plane import Plane, modal_plane
from tests.fakes.object_store import object_store
from tests.render import golden
from tests.render.engine_world import StoreAccess, World
from tests.render.making import Making

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The fake Modal with the app that `make deploy-modal ENV=staging` deployed to it."""
    with modal_plane(tmp_path_factory.mktemp("modal")) as plane:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in plane.settings().items():
                patch.setenv(name, value)
            release.release_modal("staging", ROOT)
        yield plane


@pytest.fixture
def plane(deployed: Plane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """The same as if nothing had happened on it; its containers are warm, and the engine looks often."""
    monkeypatch.setenv("MODAL_SERVER_URL", deployed.url)
    monkeypatch.setattr(modal, "FOLLOW_S", 0.2)
    yield deployed
    deployed.reset()


@pytest.fixture(scope="session")
def stored(making: Making) -> Iterator[StoreAccess]:
    """The embedded store with the sources in it."""
    with object_store() as store:
        access = StoreAccess(store)
        access.put("games/beeps.mov", (making.folder / "beeps.mov").read_bytes())
        access.put("games/text.mp4", b"not a video" * 99)
        yield access


@pytest.fixture
def world(stored: StoreAccess, tmp_path: Path) -> Iterator[World]:
    """The store, and a folder for attempts."""
    yield World(stored, tmp_path, Kept(tmp_path))
    stored.spoilt = False
