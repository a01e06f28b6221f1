"""The fields that a PATCH names."""

from __future__ import annotations

import msgspec

from gateway.http.problems import Refusal


def changed(asked: msgspec.Struct) -> dict[str, object]:
    """Field by field what was sent; a PATCH that names nothing is refused."""
    values = {name: getattr(asked, name) for name in asked.__struct_fields__}
    changes = {name: value for name, value in values.items() if value is not msgspec.UNSET}
    if not changes:
        raise Refusal(400, "nothing_to_change", "The body names no field to change.")
    return changes
