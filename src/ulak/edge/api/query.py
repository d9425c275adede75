"""What do the parameters behind the question mark say?

They are read into the route's own type; what is unknown or stands twice is refused like an unknown field
of a body.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from ulak.core import values
from ulak.core.invalid import Invalid, invalid
from ulak.edge.api.router import Route, Who


def read_query(route: Route, raw: bytes) -> Any:
    """Read the query into the route's type; unknown and repeated parameters are refused."""
    if not raw:
        return route.query() if route.query is not None else None
    given: dict[str, str] = {}
    for part in raw.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        key = _unquoted(name)
        if key in given:
            raise invalid("repeated_parameter", f"?{key[:40]}", "the parameter stands twice")
        given[key] = _unquoted(value)
    if route.query is None:
        if route.who is Who.ANYONE:
            return None
        raise invalid("unknown_parameter", f"?{next(iter(given), '')[:40]}", "this call has no parameters")
    try:
        return msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as error:
        raise _query_refusal(str(error)) from None


def _unquoted(part: bytes) -> str:
    try:
        text = unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(400, "invalid_query", "query", "it is not UTF-8", "percent-encode it") from None
    if "\0" in text:
        raise Invalid(400, "nul_character", "query", "a NUL character (U+0000) can't be part of it")
    return text


def _query_refusal(message: str) -> Invalid:
    message, _, path = message.partition(" - at `")
    name = path.rstrip("`").removeprefix("$.")
    if not name:
        parts = message.split("`")
        name = parts[1] if len(parts) > 1 else ""
        return invalid("unknown_parameter", f"?{name[:40]}", "there is no such parameter")
    return invalid("invalid_parameter", f"?{name}", message.replace("`", ""))


def fit_query(name: str, text: str | None) -> str | None:
    """Check an id that was given as a parameter."""
    if text is None:
        return None
    try:
        return values.identifier(text)
    except values.Unfit as error:
        raise invalid(error.code, f"?{name}", error.message, error.hint) from None
