"""What does the content of one message become, on the channel of its account?"""

from __future__ import annotations

import msgspec

from ulak.core.ids import external
from ulak.core.loaded import Loaded
from ulak.core.model import Channel
from ulak.core.render import RenderError
from ulak.io.links import Choices
from ulak.io.postgres.attempting import Started
from ulak.providers.contract import Content, InboxContent, NoContent, Provider

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def content_of(
    channel: Channel,
    provider: Provider,
    row: Started,
    loaded: Loaded,
    timezone: str | None = None,
    choices: Choices | None = None,
) -> Content:
    """Render a row for its channel; raises ``RenderError`` when its template can't be rendered.

    ``timezone`` is the user's, for templates that write moments; ``choices`` is where he says no.
    """
    if not provider.CAPABILITIES.content:
        return NoContent()
    kind = loaded.catalog.types[row.type]
    context = {
        "data": _decode(row.data),
        "user": {"id": row.user, "locale": row.locale, "timezone": timezone},
        "notification": {"id": external("ntf", row.notification), "type": row.type},
        "actor": row.actor,
        "unsubscribe_url": choices.unsubscribe if choices else None,
        "preferences_url": choices.preferences if choices else None,
    }
    if channel is Channel.EMAIL:
        return loaded.renderer.email(kind, row.locale, context)
    if channel is Channel.IN_APP:
        item = loaded.renderer.in_app(kind, row.locale, context)
        return InboxContent(_encode(item).decode(), any(step.unless for step in kind.route))
    if channel is Channel.PUSH:
        return loaded.renderer.push(kind, row.locale, context)
    raise RenderError("no_content", f"no template speaks on {channel}")
