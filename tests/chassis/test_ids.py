"""UUIDv7: canonical, sorted by time, and nothing else is taken for one."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.ids import uuid7, uuid7_time_ms


@given(st.integers(0, 2**48 - 1))
def test_an_id_is_a_canonical_uuid7_that_holds_its_time(now_ms: int) -> None:
    text = uuid7(now_ms)
    parsed = uuid.UUID(text)
    assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
    assert uuid7_time_ms(text) == now_ms


@given(st.integers(0, 2**48 - 2))
def test_ids_sort_by_time(now_ms: int) -> None:
    assert uuid7(now_ms) < uuid7(now_ms + 1)


KNOWN = "01a203c9-8a3e-792e-a969-ffdc49fe6e3c"
VERSION_4 = "9c4f1a52-6a2c-4f0e-8f0a-3b1c2d4e5f60"


@pytest.mark.parametrize("text", ["", "x", VERSION_4, KNOWN.upper(), KNOWN + "0", KNOWN[:-1]])
def test_anything_else_is_refused(text: str) -> None:
    assert uuid7_time_ms(KNOWN) == 1795359869502
    with pytest.raises(ValueError, match="UUIDv7"):
        uuid7_time_ms(text)
