"""The OpenAPI document: valid, complete, bounded, and the one that is printed is the one that is served."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web
from openapi_spec_validator import validate

from gateway.http import openapi
from gateway.http.table import ROUTES
from tests.gateway.api import Api

ROOT = Path(__file__).resolve().parents[2]


def walk(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a document with its place."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from walk(value, f"{path}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, f"{path}/{index}")


def test_it_is_a_valid_openapi_document() -> None:
    validate(openapi.document())


async def test_it_covers_every_route_that_is_served_and_no_other(api: Api) -> None:
    served = {
        (resource.method, str(resource.resource.canonical))
        for resource in api.gateway.application.router.routes()
        if resource.resource is not None and resource.method != "HEAD"
    }
    written = {(method.upper(), path) for path, methods in openapi.document()["paths"].items() for method in methods}
    assert served - written == {("GET", "/ws"), ("GET", "/api/openapi.json")}
    assert written - served == set()
    assert isinstance(api.gateway.application, web.Application)


async def test_the_served_document_is_the_printed_one(api: Api) -> None:
    served = (await api.page.get("/api/openapi.json")).body
    command = [sys.executable, "-m", "gateway.http.openapi"]
    paths = [str(ROOT / "services"), str(ROOT / "protos" / "gen")]
    printed = subprocess.run(
        command, env={"PYTHONPATH": ":".join(paths)}, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(printed.stdout) == served


def test_everything_that_is_asked_has_bounds() -> None:
    document = openapi.document()
    asked = {
        "NewGame",
        "NewVideo",
        "NewClip",
        "NewReel",
        "Framing",
        "Overlay",
        "ClipOrder",
        "PartNumbers",
        "Region",
        "CropKey",
    }
    asked |= {
        name for name in document["components"]["schemas"] if name.endswith(("Changes", "Export")) and name != "Export"
    }
    for name in asked:
        schema = document["components"]["schemas"][name]
        assert schema["additionalProperties"] is False, name
        for place, node in walk(schema, name):
            kind = node.get("type")
            if kind == "string" and "enum" not in node and node.get("format") != "date":
                assert "maxLength" in node, place
            if kind in ("integer", "number"):
                assert {"maximum", "exclusiveMaximum"} & node.keys() and {
                    "minimum",
                    "exclusiveMinimum",
                } & node.keys(), place
            if kind == "array":
                assert "maxItems" in node, place


def test_operations_are_named_once_and_said_in_words() -> None:
    assert len({route.operation_id for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        assert route.summary and not route.summary.endswith(".")
        writes_what_exists = route.method in ("PUT", "PATCH", "DELETE") or route.path in ("/api/undo", "/api/restore")
        assert route.versioned == (writes_what_exists and route.tag != "session"), route.path
