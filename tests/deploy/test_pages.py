"""The browser app's addresses, routes and headers, as Cloudflare Pages serves them and the gateway expects them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ROOT / "web/public"
PAGES = tomllib.loads((ROOT / "deploy/pages/pages.toml").read_text())
ENVIRONMENTS = ("staging", "production")


def redirects() -> list[list[str]]:
    """The rules of _redirects: path, target, status."""
    lines = (line.strip() for line in (PUBLIC / "_redirects").read_text().splitlines())
    return [line.split() for line in lines if line and not line.startswith("#")]


def headers() -> dict[str, list[str]]:
    """The lines of _headers by the path that they are for."""
    blocks: dict[str, list[str]] = {}
    for line in (PUBLIC / "_headers").read_text().splitlines():
        if line.startswith("/"):
            blocks[line] = []
        elif line.strip():
            blocks[list(blocks)[-1]].append(line.strip())
    return blocks


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_gateway_lets_in_exactly_this_app(environment: str) -> None:
    gateway = tomllib.loads((ROOT / f"deploy/fly/gateway.{environment}.toml").read_text())
    assert gateway["env"]["APP_ORIGINS"].split(",") == [PAGES[environment]["app_origin"]]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_app_and_gateway_are_of_one_site(environment: str) -> None:
    for name in ("app_origin", "api_origin"):
        assert re.fullmatch(r"https://[a-z-]+\.reelballers\.com", PAGES[environment][name])
    assert PAGES[environment]["app_origin"] != PAGES[environment]["api_origin"]


def test_environments_share_nothing() -> None:
    staging, production = (set(PAGES[environment].values()) for environment in ENVIRONMENTS)
    assert not staging & production


def test_a_missing_file_is_not_answered_by_the_app() -> None:
    # Without a 404.html Pages answers index.html for everything, with the headers of what was asked for.
    assert (ROOT / "web/404.html").exists() or (PUBLIC / "404.html").exists()
    assert not [rule for rule in redirects() if rule[0] in {"/*", "/assets/*"}]


def test_every_screen_s_address_leads_to_the_app() -> None:
    router = (ROOT / "web/src/router.tsx").read_text()
    screens = set(re.findall(r'screen === "([a-z]+)"', router)) - {"home", "game", "reel", "nowhere", ""}
    assert screens
    assert {(path, target, status) for path, target, status in redirects()} == {
        (f"/{screen}/*", "/", "200") for screen in screens
    }


def test_only_hashed_files_are_kept_for_good() -> None:
    kept = [path for path, lines in headers().items() if any("immutable" in line for line in lines)]
    assert kept == ["/assets/*"]
    # Pages adds up the headers of all blocks that match: the general one is taken off first.
    assert headers()["/assets/*"][0] == "! Cache-Control"
    assert "Cache-Control: no-cache" in headers()["/*"]


def test_the_page_may_talk_to_the_gateway_and_the_store_alone() -> None:
    policy = next(line for line in headers()["/*"] if line.startswith("Content-Security-Policy:")).partition(":")[2]
    directives = {words[0]: words[1:] for words in (part.split() for part in policy.split(";")) if words}
    assert directives["default-src"] == ["'none'"]
    assert set(directives["connect-src"]) == {"'self'", "{api}", "{socket}", "{media}"}
    assert not [
        source
        for sources in directives.values()
        for source in sources
        if source in {"*", "https:", "'unsafe-inline'", "'unsafe-eval'"}
    ]
    assert directives["frame-ancestors"] == ["'none'"]
