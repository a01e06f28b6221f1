"""The judge of the chaos run sees every kind of broken promise, and no other."""

from __future__ import annotations

from typing import Any

from tests.chaos.ledger import Ledger, broken


def library(games: dict[str, str], exports: tuple[str, ...] = ()) -> dict[str, Any]:
    rows = [{"id": key, "name": name} for key, name in games.items()]
    return {"games": rows, "clips": [], "exports": [{"id": key} for key in exports]}


def promised(**names: str) -> Ledger:
    ledger = Ledger()
    for key, name in names.items():
        ledger.known(ledger.games, key, name)
    return ledger


def test_a_kept_promise_is_no_fault() -> None:
    assert broken(promised(a="one", b="two"), library({"a": "one", "b": "two"})) == []


def test_an_unknown_change_may_be_there_or_not() -> None:
    ledger = promised(a="one")
    ledger.doubtful(ledger.games, "a", "renamed")
    ledger.perhaps.add("maybe")
    assert broken(ledger, library({"a": "one"})) == []
    assert broken(ledger, library({"a": "renamed", "x": "maybe"})) == []


def test_every_broken_promise_is_seen() -> None:
    ledger = promised(a="one", b="two", c="three")
    ledger.deleted.add("c")
    ledger.exports |= {"e", "f"}
    found = broken(ledger, library({"b": "old", "c": "three", "d": "nobody's", "g": "nobody's"}, ("f", "f")))
    for words in ("a was acknowledged", "b is named 'old'", "c was deleted", "d \"nobody's\" was never",
                  "was made twice", "e is shown 0", "f is shown 2"):  # fmt: skip
        assert [fault for fault in found if words in fault], (words, found)
