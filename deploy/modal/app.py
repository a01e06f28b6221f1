"""The Modal app: the renderer of services/render in containers, deployed by `make deploy-modal`.

The packages are those of the render service, by the same lock; the code is what services/render holds on the day of the
deploy. What a container has and may use is said in render.engines.capacity, which the service reads too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import modal

from render.engines import container
from render.engines.capacity import CHUNK, EXPORT, Capacity
from render.rpc import messages

APP = "reel-ballers-video"
BOARD = "reel-ballers-render"
ROOT = Path(__file__).resolve().parents[2] if modal.is_local() else Path()

image = (
    modal.Image.debian_slim(python_version="3.11")
    .pip_install_from_requirements(
        str(ROOT / "requirements/render.txt"), extra_options="--require-hashes --only-binary :all:"
    )
    .env({"OPENCV_LOG_LEVEL": "ERROR"})
    .add_local_python_source("chassis", "render", "reel")
)

app = modal.App(APP)
board = modal.Dict.from_name(BOARD, create_if_missing=True)


class Board:
    """Modal's Dict, as a container needs it."""

    async def claim(self, key: str, value: Mapping[str, Any]) -> bool:
        """Puts it unless it is there; whether it was put."""
        return bool(await board.put.aio(key, dict(value), skip_if_exists=True))

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Puts it."""
        await board.put.aio(key, dict(value))

    async def get(self, key: str) -> Mapping[str, Any] | None:
        """What is there."""
        return await board.get.aio(key)  # type: ignore[no-any-return]


def _terms(capacity: Capacity) -> dict[str, Any]:
    """What a function's containers have. No retries: render tries again by itself, from the answer. One input at a
    time: a container's limits are that input's.
    """
    return {
        "image": image,
        "cpu": (capacity.cores, capacity.cores_max),
        "memory": (capacity.memory_mib, capacity.memory_max_mib),
        "timeout": capacity.timeout_s,
        "startup_timeout": capacity.startup_s,
        "retries": 0,
        "max_containers": capacity.containers_max,
        "scaledown_window": capacity.idle_s,
    }


# Not coroutines: of one that is interrupted to take its machine away, Modal's client says that it was cancelled.
@app.function(**_terms(EXPORT))
def render_export(order: dict[str, Any]) -> dict[str, Any]:
    """One attempt at an export, or the joining of its chunks, from its order to its answer (render.engines.order)."""
    return _done(order)


@app.function(**_terms(CHUNK))
def render_chunk(order: dict[str, Any]) -> dict[str, Any]:
    """Some chunks of a long export, one after the other."""
    return _done(order)


def _done(order: dict[str, Any]) -> dict[str, Any]:
    call_id = modal.current_function_call_id()
    assert call_id is not None
    work = container.work(order, Board(), call_id, messages.decode_spec, imageio_ffmpeg.get_ffmpeg_exe())
    return container.perform(work)
