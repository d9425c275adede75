"""What do the parameters behind the question mark say?

They are read into the route's own type; what is unknown or stands twice is refused like an unknown field
of a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Union, get_args, get_origin
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
    forms = _forms(route.query)
    return route.query(**{name: _value(name, text, forms) for name, text in given.items()})


Forms = Mapping[str, tuple[Any, bool]]


@cache
def _forms(query: type[msgspec.Struct]) -> Forms:
    """The type of each parameter and whether it is a number.

    Without None: a query leaves out what is not there, and "null" is a text.
    """
    forms: dict[str, tuple[Any, bool]] = {}
    for field in msgspec.structs.fields(query):
        optional = NoneType in get_args(field.type)
        given = tuple(one for one in get_args(field.type) if one is not NoneType)
        form = Union[given] if optional else field.type  # noqa: UP007  # made at run time
        plain = get_args(form)[0] if get_origin(form) is Annotated else form
        forms[field.name] = (form, plain in (int, float))
    return forms


def _value(name: str, text: str, forms: Forms) -> Any:
    if name not in forms:
        raise invalid("unknown_parameter", f"?{name[:40]}", "there is no such parameter")
    form, number = forms[name]
    try:
        # Only numbers are read out of texts: msgspec would take "0.5" for a time as well.
        return msgspec.convert(text, form, strict=not number)
    except msgspec.ValidationError as error:
        raise invalid("invalid_parameter", f"?{name}", str(error).replace("`", "")) from None


def _unquoted(part: bytes) -> str:
    try:
        text = unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(400, "invalid_query", "query", "it is not UTF-8", "percent-encode it") from None
    if "\0" in text:
        raise Invalid(400, "nul_character", "query", "a NUL character (U+0000) can't be part of it")
    return text


def fit_query(name: str, text: str | None) -> str | None:
    """Check an id that was given as a parameter."""
    if text is None:
        return None
    try:
        return values.identifier(text)
    except values.Unfit as error:
        raise invalid(error.code, f"?{name}", error.message, error.hint) from None
