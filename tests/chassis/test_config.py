"""Settings: every fault at once, relations, secrets that do not print."""

from __future__ import annotations

import pytest

from chassis.config import ConfigError, Reader, Secret, read_base
from chassis.credentials import new_key


def test_every_fault_is_reported_at_once() -> None:
    reader = Reader(
        {"COUNT": "many", "PORT": "localhost", "COLOUR": "green", "ON": "perhaps", "BIG": "11", "PAIRS": "a=1,b"}
    )
    reader.text("NAME")
    reader.integer("COUNT", low=1, high=9)
    reader.integer("BIG", low=1, high=9)
    reader.address("PORT")
    reader.choice("COLOUR", ("red", "blue"))
    reader.flag("ON", True)
    reader.pairs("PAIRS")
    reader.check(1 > 2, "one must exceed two")
    with pytest.raises(ConfigError) as caught:
        reader.finish()
    for word in ("NAME", "COUNT", "BIG", "PORT", "COLOUR", "ON", "PAIRS", "one must exceed two"):
        assert sum(word in fault for fault in caught.value.faults) == 1, word


def test_good_settings_give_their_values() -> None:
    reader = Reader(
        {"COUNT": "3", "LIST": "a, b,,c ", "PAIRS": "x=1, y = 2", "AT": "[::]:80", "RATIO": "0.5", "HALF": "2.5"}
    )
    assert reader.integer("COUNT", low=1, high=9) == 3
    assert reader.items("LIST") == ("a", "b", "c")
    assert reader.pairs("PAIRS") == {"x": "1", "y": "2"}
    assert reader.address("AT") == "[::]:80"
    assert reader.number("RATIO", low=0, high=1) == 0.5
    assert reader.integer("ABSENT", 7, low=1, high=9) == 7
    reader.finish()
    reader.integer("HALF", low=1, high=9)
    with pytest.raises(ConfigError):
        reader.finish()


def test_addresses_are_one_or_several() -> None:
    good = Reader({"ONE": "localhost:80", "MORE": "a.flycast:80, [::1]:81"})
    assert good.addresses("ONE") == ("localhost:80",)
    assert good.addresses("MORE") == ("a.flycast:80", "[::1]:81")
    assert good.addresses("ABSENT", "b:1") == ("b:1",)
    good.finish()
    bad = Reader({"NO": " , ", "WORD": "a:1,nowhere", "PORT": "a:70000", "TWICE": "a:1,b:1,a:1"})
    for name in ("NO", "WORD", "PORT", "TWICE", "ABSENT"):
        bad.addresses(name)
    with pytest.raises(ConfigError) as caught:
        bad.finish()
    for words in ("NO names no", "not 'nowhere'", "not 'a:70000'", "TWICE names an address twice", "ABSENT is not set"):
        assert sum(words in fault for fault in caught.value.faults) == 1, words
    assert len(caught.value.faults) == 5


def test_a_secret_does_not_print() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"
    assert not Secret("")


def base_environ(**changes: str) -> dict[str, str]:
    seed, public = new_key()
    return {"REEL_ENV": "local", "SIGNING_KEY": seed, "TRUSTED_KEYS": f"gateway={public}", **changes}


def test_the_shared_settings_read_well() -> None:
    reader = Reader(base_environ(LISTEN="0.0.0.0:1"))
    base = read_base(reader, "storage", "127.0.0.1:8101")
    reader.finish()
    assert (base.service, base.local, base.loopback) == ("storage", True, False)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"SIGNING_KEY": "short"}, "SIGNING_KEY"),
        ({"TRUSTED_KEYS": "gateway=@@@"}, "TRUSTED_KEYS[gateway]"),
        ({"FLY_APP_NAME": "reel-ballers-api"}, "Fly.io"),
        ({"REEL_ENV": "prod"}, "REEL_ENV"),
    ],
)
def test_a_bad_shared_setting_is_named(changes: dict[str, str], word: str) -> None:
    reader = Reader(base_environ(**changes))
    read_base(reader, "storage", "127.0.0.1:8101")
    with pytest.raises(ConfigError, match=word.replace("[", r"\[").replace("]", r"\]")):
        reader.finish()
