"""What all tests share: how long a hypothesis example takes says something of the machine, not of the code."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")
