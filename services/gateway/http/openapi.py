"""The OpenAPI 3.1 document, made from the route table and its types. `python -m gateway.http.openapi` prints it."""

from __future__ import annotations

import json
import sys
import types as python_types
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.http import types
from gateway.http.problems import CONTENT_TYPE
from gateway.http.routes import Route
from gateway.http.table import ROUTES

REF = "#/components/schemas/{name}"
VERSION = "1.0.0"
INTRODUCTION = (
    "Every write is durable before it is answered. POST needs an Idempotency-Key; changing what exists needs If-Match "
    "with the ETag of your last answer. Errors are application/problem+json with a stable type. Uploads and playback "
    "go straight to the object store by presigned URLs."
)
ALWAYS = (400, 429, 500, 503, 504)
ID = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"}
ETAG = {"type": "string", "pattern": '^"[0-9]{1,15}"$'}

Json = dict[str, Any]


def document(routes: Sequence[Route] = ROUTES) -> Json:
    """The whole document."""
    used = [
        kind
        for route in routes
        for kind in (route.asked, route.answer)
        if kind not in (types.Nothing, python_types.NoneType)
    ]
    used.append(types.Problem)
    schemas, components = msgspec.json.schema_components(used, ref_template=REF)
    by_type = {id(kind): schema for kind, schema in zip(used, schemas, strict=True)}
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Reel Ballers", "version": VERSION, "description": INTRODUCTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "__Host-reel_session"}},
        },
    }


def _operation(route: Route, by_type: dict[int, Json]) -> Json:
    operation: Json = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, by_type),
    }
    if route.who == "user":
        operation["security"] = [{"session": []}, {}]
    if route.has_body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[id(route.asked)]}},
        }
    return operation


def _path_parameters(route: Route) -> list[Json]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": ID} for name in names]


def _query_parameters(route: Route) -> list[Json]:
    if route.has_body or route.asked is types.Nothing:
        return []
    (schema,), components = msgspec.json.schema_components([route.asked], ref_template=REF)
    properties = components[schema["$ref"].rpartition("/")[2]]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _of_query(kind)} for name, kind in properties.items()
    ]


def _of_query(schema: Json) -> Json:
    """A parameter is given or not, never null."""
    given = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    return {key: value for key, value in given[0].items() if value is not None}


def _header_parameters(route: Route) -> list[Json]:
    if route.tag in ("health",):
        return []
    version = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999}
    headers = []
    if route.needs_key:
        headers.append(_header("Idempotency-Key", ID, True, "A new UUIDv7; the same one when the request is repeated"))
    if route.versioned:
        headers.append(_header("If-Match", ETAG, True, "The ETag of your last answer: the version that you have read"))
    elif route.needs_key and route.tag != "session":
        headers.append(_header("If-Match", ETAG, False, "As for changes; without it the answer has no ETag"))
    if route.tag != "session":
        client_id = {"type": "string", "maxLength": 100, "pattern": "^[\\x21-\\x7e]*$"}
        headers.append(
            _header("X-Client-Id", client_id, False, "A random id of the live page, the author of its changes")
        )
        headers.append(
            _header("X-Min-Version", version, False, "Answer from this version or a newer one: what you have written")
        )
    return headers


def _header(name: str, schema: Json, required: bool, description: str) -> Json:
    return {"name": name, "in": "header", "required": required, "schema": schema, "description": description}


def _responses(route: Route, by_type: dict[int, Json]) -> Json:
    good: Json = {"description": HTTPStatus(route.status).phrase}
    if route.answer is not python_types.NoneType:
        good["content"] = {"application/json": {"schema": by_type[id(route.answer)]}}
    headers = {}
    if route.tag not in ("health", "session"):
        headers = {
            "ETag": {"schema": ETAG},
            "X-Database-Version": {"schema": {"type": "string", "pattern": "^[0-9]+$"}},
        }
    if route.status == 302:
        headers["Location"] = {"schema": {"type": "string"}}
    if headers:
        good["headers"] = headers
    responses = {str(route.status): good}
    if route.path == "/readyz":
        responses["503"] = {**good, "description": "A service behind it does not answer"}
    if route.operation_id == "create_session":
        responses["200"] = {**good, "description": "The session that there is"}
    for status in sorted({*ALWAYS, *_more_errors(route), *route.errors}):
        responses.setdefault(str(status), _problem(status))
    return responses


def _more_errors(route: Route) -> set[int]:
    more = {401, 422} if route.who == "user" else set()
    if "{" in route.path:
        more.add(404)
    if route.method != "GET":
        more |= {403, 422}
    if route.method in ("POST", "PUT", "PATCH"):
        more |= {408, 413, 415}
    if route.versioned:
        more |= {409, 428}
    return more


def _problem(status: int) -> Json:
    schema = {"$ref": REF.format(name="Problem")}
    return {"description": HTTPStatus(status).phrase, "content": {CONTENT_TYPE: {"schema": schema}}}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
