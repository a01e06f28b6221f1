"""What `make deploy-modal` deploys: what containers have, and that neither Modal nor a second input gets in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.engines.capacity import EXPORT
from tests.fakes.modal_plane import Plane

ROOT = Path(__file__).resolve().parents[2]
HOME = "/root"  # of containers
pytestmark = pytest.mark.xdist_group("modal")


def test_what_is_deployed_is_what_the_service_reckons_with(plane: Plane) -> None:
    function = plane.state.functions[plane.state.tags["staging/reel-ballers-video/render_export"]]
    resources = function.resources
    assert (resources.milli_cpu, resources.milli_cpu_max) == (EXPORT.cores * 1000, EXPORT.cores_max * 1000)
    assert (resources.memory_mb, resources.memory_mb_max) == (EXPORT.memory_mib, EXPORT.memory_max_mib)
    assert not resources.gpu_config.gpu_type
    assert (function.timeout_secs, function.startup_timeout_secs) == (EXPORT.timeout_s, EXPORT.startup_s)
    assert function.retry_policy.retries == 0
    assert function.max_concurrent_inputs <= 1
    settings = function.autoscaler_settings
    assert (settings.max_containers, settings.scaledown_window) == (EXPORT.containers_max, EXPORT.idle_s)
    assert 2 <= EXPORT.idle_s <= 5 and settings.min_containers == 0


def test_the_image_has_the_service_s_locked_packages_and_the_renderer_alone(plane: Plane) -> None:
    commands = "\n".join(line for image in plane.state.images.values() for line in image.dockerfile_commands)
    assert "--require-hashes --only-binary :all:" in commands
    (locked,) = [file for image in plane.state.images.values() for file in image.context_files]
    assert locked.data == (ROOT / "requirements/render.txt").read_bytes()
    function = plane.state.functions[plane.state.tags["staging/reel-ballers-video/render_export"]]
    paths = {path.removeprefix(HOME) for mount in function.mount_ids for path, _ in plane.state.mounts[mount]}
    assert {"/app.py", "/render/produce.py"} <= paths
    assert {path.split("/")[1] for path in paths if path.count("/") > 1} == {"chassis", "render", "reel"}
