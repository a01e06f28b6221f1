"""Makes a Python process see only the packages of one image: to import another fails as it would there.

Put on PYTHONPATH by tests/deploy/test_images.py; IMAGE_DISTRIBUTIONS names the distributions that the image installs.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

FOUND_ELSEWHERE: set[str] = set()


def normal(name: str) -> str:
    """A distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Fence(PathFinder):
    """Finds modules on the path, but not those which only distributions hold that the image does not install."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for what the image does not have."""
        if path is None and fullname in FOUND_ELSEWHERE:
            return None
        return super().find_spec(fullname, path, target)


if "IMAGE_DISTRIBUTIONS" in os.environ:
    installed = {normal(name) for name in os.environ["IMAGE_DISTRIBUTIONS"].split(",")}
    owners = importlib.metadata.packages_distributions()
    FOUND_ELSEWHERE |= {name for name, owned in owners.items() if not installed & {normal(item) for item in owned}}
    sys.meta_path[sys.meta_path.index(PathFinder)] = Fence
