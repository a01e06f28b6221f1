"""What a client was promised: each acknowledged write and export, and the judge who looks whether it was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """One user's promises. A row's names are those that it may have: the last acknowledged, and later unknown ones."""

    games: dict[str, set[str]] = field(default_factory=dict)
    clips: dict[str, set[str]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)  # names of rows whose making was never answered
    exports: set[str] = field(default_factory=set)
    acknowledged: int = 0
    unknown: int = 0

    def known(self, row: dict[str, set[str]], key: str, name: str) -> None:
        """A write of a row's name was acknowledged."""
        row[key] = {name}
        self.acknowledged += 1

    def doubtful(self, row: dict[str, set[str]], key: str, name: str) -> None:
        """A write of a row's name was never answered."""
        row[key].add(name)
        self.unknown += 1


def broken(ledger: Ledger, library: Mapping[str, Any]) -> list[str]:
    """The promises that a library does not keep, a sentence each."""
    faults = []
    for table, promised in (("games", ledger.games), ("clips", ledger.clips)):
        found = {row["id"]: row["name"] for row in library[table]}
        for key, names in promised.items():
            if key in ledger.deleted:
                continue
            if key not in found:
                faults.append(f"{table}: {key} was acknowledged and is gone")
            elif found[key] not in names:
                faults.append(f"{table}: {key} is named {found[key]!r}, acknowledged was {sorted(names)}")
        faults += [f"{table}: {key} was deleted and is back" for key in found.keys() & ledger.deleted]
        faults += [
            f"{table}: {key} {name!r} was never asked for"
            for key, name in found.items()
            if key not in promised and name not in ledger.perhaps
        ]
        twice = [name for name, count in Counter(found.values()).items() if count > 1]
        faults += [f"{table}: {name!r} was made twice" for name in twice]
    shown = Counter(export["id"] for export in library["exports"])
    faults += [f"exports: {key} is shown {shown[key]} times" for key in ledger.exports if shown[key] != 1]
    return faults
