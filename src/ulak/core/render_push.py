"""What does a drafted template become on a locked screen: one push notification, in plain text?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ulak.core.content import fill
from ulak.core.content.push import Action, PushContent
from ulak.core.content.shrink import first
from ulak.core.engine import Draft
from ulak.core.template_files import Template

MAX_TITLE = 300
MAX_BODY = 4_000
"""Characters, before the limit of any service."""

_ACTION = re.compile(r"actions\[(\d+)\]\.name")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_WORD = 64


def push(file: Template, draft: Draft) -> PushContent:
    """Fill a push notification; an inbox item's template has the same keys, only fewer."""
    *parts, body = draft.parts
    front = dict(zip(file.front, parts, strict=True))
    values = draft.values

    def word(key: str, limit: int = _WORD) -> str | None:
        return fill.line(front[key], values, limit) or None if key in front else None

    def url(key: str) -> str | None:
        return fill.url(front[key], values) if key in front else None

    sound, color = word("sound"), word("color")
    return PushContent(
        title=first(fill.line(front["title"], values), MAX_TITLE),
        body=first(fill.plain(body, values).strip(), MAX_BODY),
        subtitle=first(word("subtitle", 2 * MAX_TITLE) or "", MAX_TITLE) or None,
        url=url("url"),
        icon=url("icon"),
        image=url("image"),
        sound=None if sound == "none" else sound or "default",
        color=color if color and _COLOR.fullmatch(color) else None,
        thread=word("thread"),
        category=word("category"),
        android_channel=word("android_channel"),
        priority=front.get("priority"),
        interruption=front.get("interruption"),
        badge=front.get("badge") != "false",
        silent=front.get("silent") == "true",
        actions=tuple(_actions(front, values)),
        data=_data(front, values),
    )


def _actions(front: Mapping[str, str], values: Sequence[str]) -> list[Action]:
    """Buttons, in order; one whose title the data leaves empty is left out."""
    found = []
    for match in filter(None, map(_ACTION.fullmatch, front)):
        start = f"actions[{match[1]}]."
        title = first(fill.line(front[f"{start}title"], values), 100)
        links = [fill.url(front[key], values) if key in front else None for key in (f"{start}url", f"{start}icon")]
        if title:
            found.append(Action(front[f"{start}name"], title, *links))
    return found


def _data(front: Mapping[str, str], values: Sequence[str]) -> dict[str, str]:
    """Pairs for the app; empty ones are left out."""
    pairs = {key[5:]: fill.line(text, values, 1_000) for key, text in front.items() if key.startswith("data.")}
    return {key: text for key, text in pairs.items() if text}
