r"""What is a JSON text that is safe to take from a stranger, and what is its canonical form?

RFC 8259 leaves the dangerous parts open; this is the strict reading (compare I-JSON, RFC 7493):

* UTF-8 without a byte-order mark; no lone surrogate; no NUL (PostgreSQL can't store it), keys included;
* no duplicate key: two readers of one text must never see two different messages;
* no NaN, Infinity or number out of range; integers fit in 64 bits;
* at most ``MAX_DEPTH`` levels, so that nothing that walks the value later can run out of stack.

Nearly all of that is decided at C speed. ``msgspec`` refuses surrogates, NaN and numbers out of range
by itself. Duplicate keys are found by counting colons: the canonical form has one for every key that
survived and one for every colon inside a string, so a text with more of them lost a key. Only texts that
look suspicious (``\u0000``, an escaped colon, twenty digits in a row, many brackets) are walked.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ulak.core.invalid import Invalid, under

MAX_DEPTH = 32
"""Levels of arrays and objects in one text."""

_decode = msgspec.json.Decoder().decode
_canonical = msgspec.json.Encoder(order="sorted").encode

_ESCAPED = re.compile(rb"\\u(?:0000|003[aA])")
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER = b"0" * 19
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_BYTE = re.compile(r"\(byte (\d+)\)\Z")


def loads(body: bytes) -> tuple[Any, bytes]:
    """Read a JSON text strictly; return the value and its canonical form (sorted keys, no blanks).

    Raises ``Invalid`` with status 400 and the path at fault.
    """
    try:
        value = _decode(body)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise Invalid(400, "invalid_json", "$", "the text is not UTF-8") from None
    except msgspec.ValidationError as error:  # a number that no double can hold
        raise Invalid(400, "number_out_of_range", _path_of(str(error)), str(error)) from None
    except msgspec.DecodeError as error:
        raise _malformed(str(error)) from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    canonical = _canonical(value)
    escaped = b"\\u" in body and _ESCAPED.search(body) is not None
    if escaped or _LONG_NUMBER in body.translate(_DIGITS):
        _check_values(value, "$")
    if escaped or body.count(b":") != canonical.count(b":"):
        _check_keys(body)
    return value, canonical


def canonical(value: Any) -> bytes:
    """The canonical form of a value that ``loads`` gave, or of a part of it."""
    return _canonical(value)


def _malformed(message: str) -> Invalid:
    where = _BYTE.search(message)
    text = "the text ends too early, or in half a surrogate pair" if "truncated" in message else message
    hint = f"look at byte {where[1]}" if where else ""
    return Invalid(400, "invalid_json", "$", text, hint)


def _too_deep() -> Invalid:
    return Invalid(400, "too_deep", "$", f"more than {MAX_DEPTH} levels of nesting", "flatten the data")


def _path_of(message: str) -> str:
    _, found, path = message.rpartition(" - at `")
    return path.rstrip("`") if found else "$"


def _check_depth(value: Any) -> None:
    """Go down level by level, so that the check itself needs no stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            members = container.values() if type(container) is dict else container
            below += [member for member in members if type(member) is dict or type(member) is list]
        if not below:
            return
        level = below
    raise _too_deep()


def _check_values(value: Any, path: str) -> None:
    """Look at every key, string and integer."""
    if type(value) is str:
        if "\0" in value:
            raise Invalid(400, "nul_character", path, "a NUL character (U+0000) can't be stored", "remove it")
    elif type(value) is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise Invalid(
                400, "number_out_of_range", path, "the integer needs more than 64 bits", "send it as a string"
            )
    elif type(value) is dict:
        for key, member in value.items():
            _check_values(key, under(path, key))
            _check_values(member, under(path, key))
    elif type(value) is list:
        for index, member in enumerate(value):
            _check_values(member, under(path, index))


class _Repeated(dict[str, Any]):
    """An object of the text in which ``key`` stands more than once."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    marked = _Repeated(plain)
    names = [name for name, _ in pairs]
    marked.key = next(name for name in names if names.count(name) > 1)
    return marked


def _check_keys(body: bytes) -> None:
    """Read once more with a reader that shows every pair; its depth is known to be bounded by now."""
    _find_repeated(json.loads(body, object_pairs_hook=_object), "$")


def _find_repeated(value: Any, path: str) -> None:
    if isinstance(value, _Repeated):
        raise Invalid(400, "duplicate_key", under(path, value.key), "the key stands twice in one object", "keep one")
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        _find_repeated(member, under(path, key))
