"""Which keys may stand in the front matter of a template, and how are tables and lists of them read?

Every text in it is a template of its own. ``flat`` gives each a name by its path, so that what draws them
up need not know their shape: ``attachments[0].url``, ``headers.X-Order``, ``tags[1]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ulak.core import fields
from ulak.core.fields import Field, did_you_mean
from ulak.core.model import Channel

MAX_TEMPLATE = 64 * 1024
"""The largest template file, in characters."""

MAX_FILES = 20
"""The most files that go with one email."""

MAX_ACTIONS = 3
MAX_TAGS = 10
MAX_PAIRS = 20

_ACTION = ("name", "title", "url", "icon")
_ATTACHED = ("url", "name", "type", "inline")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}\Z")
_HEADER = re.compile(r"(?:(?!x-ulak-)x-[a-z0-9-]{1,60}|in-reply-to|references)\Z", re.IGNORECASE)


def _sources(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise ValueError(f"must be a list of at most {MAX_TAGS} strings")
    return [fields.source(each) for each in value]


def _pairs(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MAX_PAIRS:
        raise ValueError(f"must be a table of at most {MAX_PAIRS} strings")
    for key in value:
        if _KEY.match(key) is None:
            raise ValueError("must have keys of letters, digits, '_' and '-', at most 60")
    return {key: fields.source(each) for key, each in value.items()}


def _headers(value: object) -> dict[str, str]:
    found = _pairs(value)
    for key in found:
        if _HEADER.match(key) is None:
            raise ValueError("may name X-…, In-Reply-To and References; the others are written by Ulak")
    if len({key.lower() for key in found}) < len(found):
        raise ValueError("names a header twice")
    return found


def _attachments(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list) or len(value) > MAX_FILES:
        raise ValueError(f"must be a list of at most {MAX_FILES} tables")
    return [_attachment(each) for each in value]


def _attachment(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or "url" not in value:
        raise ValueError('must list tables with a url, such as [{ url = "{{ data.invoice_url }}" }]')
    for key in value:
        if key not in _ATTACHED:
            known = f"; known keys: {', '.join(_ATTACHED)}"
            raise ValueError(f"has no key '{key}'{did_you_mean(key, _ATTACHED) or known}")
    found = {key: fields.source(each) for key, each in value.items()}
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", found.get("inline", "x")) is None:
        raise ValueError("must name an inline image by letters, digits, '_', '-' and '.'")
    return found


def _switch(value: object) -> str:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the reader of fields expects this one
    return "true" if value else "false"


def _actions(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list) or len(value) > MAX_ACTIONS:
        raise ValueError(f"must be a list of at most {MAX_ACTIONS} tables")
    return [_action(each) for each in value]


def _action(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or not {"name", "title"} <= value.keys():
        raise ValueError('must list tables with name and title, such as [{ name = "reply", title = "Reply" }]')
    for key in value:
        if key not in _ACTION:
            known = f"; known keys: {', '.join(_ACTION)}"
            raise ValueError(f"has no key '{key}'{did_you_mean(key, _ACTION) or known}")
    return {key: fields.name(each) if key == "name" else fields.source(each) for key, each in value.items()}


FRONT: Mapping[Channel, tuple[Field, ...]] = {
    Channel.IN_APP: (
        Field("title", fields.source, "first line of the item", required=True),
        Field("url", fields.source, "where a click leads: http, https, mailto, tel or a path"),
        Field("icon", fields.source, "URL or path of a picture"),
    ),
    Channel.PUSH: (
        Field("title", fields.source, "first line of the notification", required=True),
        Field("subtitle", fields.source, "line below it (iOS)"),
        Field("url", fields.source, "where a tap leads: http, https, mailto, tel or a path"),
        Field("icon", fields.source, "URL of a small picture (web)"),
        Field("image", fields.source, "URL of a picture"),
        Field("sound", fields.source, "default, none, or a file of the app"),
        Field("color", fields.source, "#rrggbb of the icon (Android)"),
        Field("thread", fields.source, "notifications of a thread are grouped on the device"),
        Field("category", fields.source, "set of actions that the app has declared (iOS)"),
        Field("android_channel", fields.source, "notification channel of the app (Android)"),
        Field("priority", fields.one_of(("high", "normal", "low")), "instead of that of the class", shown='"normal"'),
        Field(
            "interruption",
            fields.one_of(("passive", "active", "time-sensitive", "critical")),
            "interruption level (iOS)",
            shown='"time-sensitive"',
        ),
        Field("badge", _switch, "false: leave the number on the app's icon alone", shown="false"),
        Field("silent", _switch, "true: wake the app with data and show nothing", shown="true"),
        Field(
            "actions",
            _actions,
            "buttons (web, or for the app to show): name and title, and if you like url and icon",
            shown='[{ name = "reply", title = "Reply", url = "{{ data.url }}" }]',
        ),
        Field("data", _pairs, "pairs for the app", shown='{ order = "{{ data.id }}" }'),
    ),
    Channel.EMAIL: (
        Field("subject", fields.source, "subject line", required=True),
        Field("preheader", fields.source, "what an inbox shows after the subject"),
        Field("from", fields.source, "sender, instead of [email] from"),
        Field("reply_to", fields.source, "instead of [email] reply_to"),
        Field("layout", fields.name, "page from templates/_layouts, or none", shown='"receipt"'),
        Field(
            "attachments",
            _attachments,
            "files to fetch: url, and if you like name, type, and inline for images shown by cid:",
            shown='[{ url = "{{ data.invoice_url }}", name = "invoice.pdf" }]',
        ),
        Field("headers", _headers, "further header fields", shown='{ X-Order = "{{ data.id }}" }'),
        Field("tags", _sources, "words that vendors sort mail by", shown='["orders"]'),
        Field("metadata", _pairs, "pairs that vendors give back in their events", shown='{ order = "{{ data.id }}" }'),
        Field("stream", fields.name, "message stream, where the vendor has them", shown='"outbound"'),
    ),
}
"""Front matter keys by channel; each text in it is a template of its own."""


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Every text of a front matter by its path; what is not given is left out."""
    found: dict[str, str] = {}
    for key, value in values.items():
        _flatten(key, value, found)
    return found


def _flatten(path: str, value: Any, found: dict[str, str]) -> None:
    if isinstance(value, str):
        found[path] = value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            _flatten(f"{path}.{key}", each, found)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            _flatten(f"{path}[{at}]", each, found)
