"""Is a body a ``SendMessageRequest`` of FCM's v1, field by field?

The fields are those of the REST reference of ``projects.messages`` and of Google's discovery document of ``fcm:v1``.
As proto3's JSON has it, a name may be written ``like_this`` or ``likeThis``, and what isn't known is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MAP = "map"
"""Text to text."""
STRUCT = "struct"
"""Any JSON object."""
TEXTS = "texts"
DURATION = "duration"
NUMBER = "int32"

Fields = Mapping[str, Any]
"""By name: ``str``, ``bool``, one of the words above, a set of the values allowed, or the fields of an object."""

_OPTIONS: Fields = {"analytics_label": str}
_COLOR: Fields = {"red": float, "green": float, "blue": float, "alpha": float}
_ANDROID_NOTIFICATION: Fields = {
    **dict.fromkeys(
        (
            "title", "body", "icon", "color", "sound", "tag", "click_action", "body_loc_key", "title_loc_key",
            "channel_id", "ticker", "event_time", "image",
        ), str),
    **dict.fromkeys(
        ("sticky", "local_only", "default_sound", "default_vibrate_timings", "default_light_settings",
         "bypass_proxy_notification"), bool),
    "body_loc_args": TEXTS,
    "title_loc_args": TEXTS,
    "vibrate_timings": TEXTS,
    "notification_count": NUMBER,
    "notification_priority": {"PRIORITY_UNSPECIFIED", "PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT",
                              "PRIORITY_HIGH", "PRIORITY_MAX"},
    "visibility": {"VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"},
    "light_settings": {"color": _COLOR, "light_on_duration": DURATION, "light_off_duration": DURATION},
    "proxy": {"PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"},
}  # fmt: skip

MESSAGE: Fields = {
    "name": str,
    "data": MAP,
    "notification": {"title": str, "body": str, "image": str},
    "android": {
        "collapse_key": str,
        "priority": {"normal", "high", "NORMAL", "HIGH"},
        "ttl": DURATION,
        "restricted_package_name": str,
        "data": MAP,
        "notification": _ANDROID_NOTIFICATION,
        "fcm_options": _OPTIONS,
        "direct_boot_ok": bool,
        "bandwidth_constrained_ok": bool,
        "restricted_satellite_ok": bool,
    },
    "webpush": {
        "headers": MAP,
        "data": MAP,
        "notification": STRUCT,
        "fcm_options": {"link": str, "analytics_label": str},
    },
    "apns": {
        "headers": MAP,
        "payload": STRUCT,
        "fcm_options": {"analytics_label": str, "image": str},
        "live_activity_token": str,
    },
    "fcm_options": _OPTIONS,
    "token": str,
    "fid": str,
    "topic": str,
    "condition": str,
}
REQUEST: Fields = {"validate_only": bool, "message": MESSAGE}

_TYPES = {str: "TYPE_STRING", bool: "TYPE_BOOL", NUMBER: "TYPE_INT32", float: "TYPE_FLOAT"}


def violations(value: object, fields: Fields = REQUEST, at: str = "") -> Iterator[tuple[str, str]]:
    """Each field that is wrong, with what Google says of it."""
    if not isinstance(value, dict):
        yield at, f"Invalid value at '{at}', an object is wanted"
        return
    seen: set[str] = set()
    for name, one in value.items():
        plain = snake(name)
        place = f"{at}.{plain}" if at else plain
        if plain not in fields or (name != plain and "_" in name):
            what = f"Invalid JSON payload received. Unknown name \"{name}\" at '{at}': Cannot find field."
            yield at, what if at else f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        elif plain in seen:
            yield place, f"Invalid value at '{at}', field '{name}' is given twice"
        elif one is not None:
            yield from _wrong(one, fields[plain], place)
        seen.add(plain)


def normal(value: object, fields: Fields = REQUEST) -> dict[str, Any]:
    """A request without mistakes, all its names ``like_this``."""
    assert isinstance(value, dict)
    return {
        snake(name): normal(one, kind) if isinstance(kind := fields[snake(name)], Mapping) else one
        for name, one in value.items()
        if one is not None
    }


def snake(name: str) -> str:
    """``likeThis`` as ``like_this``."""
    return re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name)


def _wrong(value: object, kind: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(kind, Mapping):
        yield from violations(value, kind, at)
    elif kind == MAP:
        yield from _map(value, at)
    elif not _fits(value, kind):
        called = "TYPE_ENUM" if isinstance(kind, set) else _TYPES.get(kind, "TYPE_MESSAGE")
        yield at, f"Invalid value at '{at}' ({called})"


def _map(value: object, at: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield at, f"Invalid value at '{at}' (TYPE_MESSAGE)"
        return
    for number, one in enumerate(value.values()):
        if not isinstance(one, str):
            place = f"{at}[{number}].value"
            yield place, f"Invalid value at '{place}' (TYPE_STRING)"


def _fits(value: object, kind: Any) -> bool:
    if isinstance(kind, set):
        return isinstance(value, str) and value in kind
    if kind == NUMBER:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
    if kind == DURATION:
        return isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s", value) is not None
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if kind == STRUCT:
        return isinstance(value, dict)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind)
