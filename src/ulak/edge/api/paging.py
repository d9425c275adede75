"""How does a caller go through a long list?

Every list answers ``{"items": […], "next": cursor or null}`` and takes ``limit`` and ``cursor``. A cursor
is the key of the last item in opaque form; it is checked like any input, holds no secret, and gives no
access that the key of the caller does not give.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from ulak.core.invalid import invalid
from ulak.io.postgres.pool import Row

T = TypeVar("T")

Cursor = Annotated[str, Meta(max_length=4096, description="`next` of the page before")]


class Page(Struct, forbid_unknown_fields=True, frozen=True):
    """Parameters of every list."""

    limit: Annotated[int, Meta(ge=1, le=200, description="most items of the page")] = 50
    cursor: Cursor | None = None


def write(key: Any) -> str:
    """Make a cursor of a key (an id, or a list of texts)."""
    return urlsafe_b64encode(msgspec.json.encode(key)).decode("ascii").rstrip("=")


def read(cursor: str | None, form: type[T], start: T) -> T:
    """The key of a cursor, or ``start`` without one; raises ``Invalid``."""
    if cursor is None:
        return start
    try:
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        key = msgspec.json.decode(data, type=form)
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise invalid("invalid_cursor", "?cursor", "not a cursor of this list", "take it from `next`") from None
    if b"\\u0000" in data:
        raise invalid("invalid_cursor", "?cursor", "not a cursor of this list", "take it from `next`")
    return key


def following(rows: Sequence[Row], limit: int, key: Callable[[Row], Any]) -> str | None:
    """The cursor after the first ``limit`` rows; None when there are no more."""
    return write(key(rows[limit - 1])) if len(rows) > limit else None
