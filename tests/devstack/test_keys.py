"""Keys are made once, for their owner's eyes."""

from __future__ import annotations

import stat
from pathlib import Path

from devstack import keys


def test_keys_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = keys.load(tmp_path / "data")
    assert keys.load(tmp_path / "data") == first
    assert stat.S_IMODE((tmp_path / "data/keys.json").stat().st_mode) == 0o600
    assert {entry.name for entry in (tmp_path / "data").iterdir()} == {"keys.json"}


def test_each_machine_has_its_own(tmp_path: Path) -> None:
    one, other = keys.load(tmp_path / "one"), keys.load(tmp_path / "other")
    assert one.store_secret_key != other.store_secret_key
    assert not {seed for seed, _ in one.signing.values()} & {seed for seed, _ in other.signing.values()}


def test_only_those_who_call_others_are_trusted(tmp_path: Path) -> None:
    made = keys.load(tmp_path)
    assert [pair.split("=", 1)[0] for pair in made.trusted.split(",")] == ["gateway", "render"]
    assert not any(seed in made.trusted for seed, _ in made.signing.values())
