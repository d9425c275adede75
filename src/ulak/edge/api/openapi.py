"""What is the OpenAPI 3.1 description of the API?

Made from the table of routes and the types of bodies, parameters and answers, so that it can't say
anything else than what the door does. ``spec/openapi.json`` is its committed form; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from ulak import __version__
from ulak.edge.api.problem import Problem
from ulak.edge.api.router import PARAMETERS, Route, Who

_PARAMETER = re.compile(r"\{(\w+)\}")
_SECURITY: Mapping[Who, Sequence[Mapping[str, Sequence[str]]]] = {
    Who.KEY: [{"key": []}],
    Who.USER: [{"user": []}],
    Who.ANYONE: [],
}
_WHEN: Mapping[int, str] = {
    400: "not readable: malformed JSON, too deep, NUL, duplicate key",
    401: "no token, or one that does not hold",
    403: "the key lacks the scope",
    404: "there is no such thing for this tenant",
    408: "the body came too slowly",
    413: "the body is larger than 1 MiB (64 kB where no token is asked for)",
    415: "the body is not of the type that is asked for",
    422: "readable, but not acceptable; `path` says where",
    429: "too often. See Retry-After",
    500: "a fault of ours; `incident` finds it in the log",
    503: "can't be taken now; nothing was stored. See Retry-After",
}


def text(routes: Sequence[Route]) -> bytes:
    """The document as JSON, two spaces a level."""
    return msgspec.json.format(msgspec.json.encode(describe(routes)), indent=2) + b"\n"


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The document."""
    types = sorted({*_types(routes), Problem}, key=lambda model: model.__name__)
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    refs = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ulak HTTP API",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": dict(_errors(refs[Problem])),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "an API key: ulk_…"},
                "user": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a user token: POST /v1/users/{user}/tokens",
                },
            },
        },
    }


def _types(routes: Sequence[Route]) -> Iterator[Any]:
    for route in routes:
        yield from (
            model for model in (route.body, route.described, *route.answers.values()) if model not in (None, str)
        )


def _operation(route: Route, refs: Mapping[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.tag}_{route.handler.__name__}",
        "tags": [route.tag],
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "security": _SECURITY[route.who],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header(route)],
        "responses": _responses(route, refs),
    }
    if route.scope is not None:
        operation["x-scope"] = route.scope.value
    model = route.body or route.described
    if model is not None or route.raw is not None:
        content = {route.raw or "application/json": {"schema": refs.get(model, {"type": "string"})}}
        operation["requestBody"] = {"required": not route.may_be_empty, "content": content}
    return operation


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        _, description, schema = PARAMETERS[name]
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    schema = msgspec.json.schema(route.query, ref_template="#/{name}")
    definitions = schema["$defs"]
    own = definitions[route.query.__name__]
    for name, of in own["properties"].items():
        yield {"name": name, "in": "query", "required": False, "schema": _inlined(of, definitions)}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema without references and without null, which a query can't say."""
    if "$ref" in schema:
        return dict(definitions[schema["$ref"].removeprefix("#/")])
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return _inlined(choices[0], definitions)
    return {key: value for key, value in schema.items() if key != "default" or value is not None}


def _header(route: Route) -> Iterator[dict[str, Any]]:
    if route.header is not None:
        name, description = route.header
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"}
        yield {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _responses(route: Route, refs: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, model in route.answers.items():
        found[str(status)] = {"description": HTTPStatus(status).phrase}
        if model is not None:
            found[str(status)]["content"] = {route.media: {"schema": refs.get(model, {"type": "string"})}}
    for status in errors(route):
        found[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    return found


def _errors(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, description in _WHEN.items():
        content = {"application/problem+json": {"schema": schema}}
        yield f"Error{status}", {"description": description, "content": content}


def errors(route: Route) -> list[int]:
    """Which errors a call may answer."""
    found = {500, 503, *route.errors}
    if route.who is not Who.ANYONE:
        found |= {400, 401, 422}
    if route.scope is not None:
        found.add(403)
    if "{" in route.path:
        found.add(404)
    if route.takes_body:
        found |= {400, 408, 413, 415, 422}
    return sorted(found)
