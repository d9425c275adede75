"""What does a fake vendor's API get and give?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ulak.sandbox.parcel import Parcel
from ulak.sandbox.pushed import Pushed


class Asked(msgspec.Struct, frozen=True):
    """One HTTP request; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Said(msgspec.Struct, frozen=True):
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = (("Content-Type", "application/json"),)


class Verdict(msgspec.Struct, frozen=True):
    """What a vendor makes of a request: which messages it takes, and what it says once they are kept.

    ``cut`` says that only half of the answer arrives.
    """

    said: Said
    parcels: Sequence[Parcel | Pushed] = ()
    cut: bool = False


Judge = Callable[[Asked, datetime], Verdict]
"""A vendor's API as a pure function but for the ids that it gives."""


def said(status: int, value: object, *headers: tuple[str, str]) -> Said:
    """A JSON answer."""
    return Said(status, msgspec.json.encode(value), (("Content-Type", "application/json"), *headers))


def page(status: int, title: str) -> Said:
    """What a proxy says."""
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Said(status, text.encode(), (("Content-Type", "text/html"),))


def shape(error: Exception) -> str:
    """What is wrong with a request, in words for people."""
    return str(error)[:200]


def decoder(kind: Any) -> Any:
    """A strict decoder: unknown fields and wrong types are refused."""
    return msgspec.json.Decoder(kind).decode
