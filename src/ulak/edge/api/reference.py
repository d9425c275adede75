"""How does the OpenAPI document read for people: as one page of HTML, and as Markdown?

Both are self-contained: no script, no font, nothing fetched from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

Document = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light dark;--line:#8884}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
code{font:14px ui-monospace,monospace}
h2{margin-top:3rem;border-bottom:1px solid var(--line)}
summary{cursor:pointer;padding:.4rem 0}
details{border-bottom:1px solid var(--line)}
table{border-collapse:collapse;margin:.5rem 0;display:block;overflow-x:auto}
td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}
.m{display:inline-block;min-width:4.5rem;font-weight:600}
"""

INTRODUCTION = (
    "Requests and answers are JSON. Times are RFC 3339 with an offset, unknown fields are refused (except"
    " inside `data` and `attributes`), PUT replaces and PATCH merges. Every list answers `{items, next}`;"
    " pass `next` as `cursor` to go on. Errors are `application/problem+json` with a stable `code`, the"
    " place at fault in `path` and advice in `hint`. 503 carries `Retry-After`; nothing was stored then."
    " What belongs to another tenant is a 404."
)


def html(document: Document) -> str:
    """The reference as one page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(document['info']['title'])}</h1><p>{_coded(INTRODUCTION)}</p>",
        "<table>" + "".join(map(_row, _errors(document))) + "</table>",
    ]
    tag = None
    for path, method, operation in _operations(document):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"<h2 id={tag}>{tag}</h2>")
        parts.append(_html_operation(path, method, operation))
    parts.append("<h2 id=types>types</h2>")
    parts.extend(_html_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    return "\n".join(parts)


def _html_operation(path: str, method: str, operation: Document) -> str:
    rows = "".join(_row(cells) for cells in _lines(operation))
    return (
        f"<details id={operation['operationId']}><summary><span class=m>{method}</span> <code>{escape(path)}</code>"
        f" {escape(operation['summary'])}</summary><p>{_coded(operation['description'])}</p>"
        f"<table>{rows}</table></details>"
    )


def _html_schema(name: str, schema: Document) -> str:
    rows = "".join(_row(cells) for cells in _fields(schema))
    about = _coded(schema.get("description", ""))
    return f"<details id={name}><summary><code>{name}</code></summary><p>{about}</p><table>{rows}</table></details>"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{_coded(cell)}" for cell in cells) + "</tr>"


def _coded(text: str) -> str:
    """Escape a text and set what stands between backquotes as code."""
    parts = escape(text).replace("``", "`").split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def markdown(document: Document) -> str:
    """The reference as Markdown, for ``docs/reference/http-api.md``."""
    lines = ["# HTTP API", "", "Made from the table of routes by `ulak openapi --markdown`.", "", INTRODUCTION, ""]
    lines += ["| error | when |", "|---|---|", *map(_line, _errors(document)), ""]
    tag = None
    for path, method, operation in _operations(document):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            lines += [f"## {tag}", ""]
        lines += [f"### {method} {path}", "", f"{operation['summary']}. {operation['description']}", ""]
        lines += ["| | | |", "|---|---|---|", *map(_line, _lines(operation)), ""]
    lines += ["## types", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", schema.get("description", "").replace("``", "`"), ""]
        fields = [_line(cells) for cells in _fields(schema)]
        lines += ["| field | type | |", "|---|---|---|", *fields, ""] if fields else []
    return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _errors(document: Document) -> Iterator[tuple[str, str]]:
    for name, response in document["components"]["responses"].items():
        yield name.removeprefix("Error"), response["description"]


def _lines(operation: Document) -> Iterator[tuple[str, str, str]]:
    """Scope, parameters, body and answers of a call, one a line."""
    security = [name for entry in operation["security"] for name in entry]
    who = {"key": "an API key", "user": "a user token"}.get("".join(security), "anyone")
    scope = operation.get("x-scope")
    yield "caller", who, f"scope `{scope}`" if scope else ""
    for parameter in operation["parameters"]:
        about = parameter.get("description", "") or parameter["schema"].get("description", "")
        yield f"{parameter['in']} `{parameter['name']}`", _type(parameter["schema"]), about
    if "requestBody" in operation:
        yield "body", _type(next(iter(operation["requestBody"]["content"].values()))["schema"]), ""
    errors: list[str] = []
    for status, response in operation["responses"].items():
        if "$ref" in response:
            errors.append(status)
            continue
        schemas = [media["schema"] for media in response.get("content", {}).values()]
        yield f"answer {status}", _type(schemas[0]) if schemas else "", response["description"]
    yield "errors", ", ".join(errors), ""


def _fields(schema: Document) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, of in schema.get("properties", {}).items():
        about = of.get("description", "")
        yield f"`{name}`", _type(of), "; ".join(filter(None, ("required" if name in required else "", about)))


def _type(schema: Document) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    return kind + _bounds(schema)


_BOUNDS = (
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
)


def _bounds(schema: Document) -> str:
    words = [text.format(schema[key]) for key, text in _BOUNDS if key in schema]
    words += [schema["format"]] if "format" in schema else []
    return f" ({', '.join(words)})" if words else ""
