"""Which types and templates are in force, and what would a user see?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from msgspec import Struct

from ulak.core import values
from ulak.core.invalid import invalid
from ulak.core.model import Channel, Mark, NotificationType
from ulak.core.render import RenderError
from ulak.edge.api import wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.router import Call


class PreviewBody(Struct, forbid_unknown_fields=True):
    """A type on a channel, with data to fill it."""

    type: str
    channel: Channel
    locale: str | None = None
    data: dict[str, Any] = {}  # msgspec copies it


async def types(call: Call) -> Response:
    """All declared types."""
    catalog = call.deps.loaded(call.tenant).catalog
    items = [_type(kind) for _, kind in sorted(catalog.types.items())]
    return answer(wire.TypePage(items, catalog.version))


def _type(kind: NotificationType) -> wire.TypeAnswer:
    route = [wire.StepAnswer(step.channel, step.after, _mark(step.unless)) for step in kind.route]
    return wire.TypeAnswer(kind.name, kind.category, kind.klass, kind.template, kind.expires, route)


def _mark(mark: Mark) -> str | None:
    return (mark.name or "").lower() if mark else None


async def templates(call: Call) -> Response:
    """All template files."""
    catalog = call.deps.loaded(call.tenant).catalog
    items = [wire.TemplateAnswer(name, channel, locale or None) for name, channel, locale in sorted(catalog.templates)]
    return answer(wire.TemplatePage(items, catalog.version))


async def preview(call: Call) -> Response:
    """Render a type without sending it; variables that the data lacks are named."""
    body: PreviewBody = call.body
    loaded = call.deps.loaded(call.tenant)
    kind = loaded.catalog.types.get(body.type)
    if kind is None:
        raise invalid("unknown_type", "$.type", "no such notification type", "GET /v1/types lists those declared")
    locale = None
    if body.locale is not None:
        try:
            locale = values.locale(body.locale)
        except values.Unfit as error:
            raise invalid(error.code, "$.locale", error.message, error.hint) from None
    try:
        seen = loaded.renderer.preview(kind, body.channel, locale, body.data)
    except RenderError as error:
        raise invalid("render_failed", "$.data", str(error), "mend the template or the data") from None
    content = {name: value for name, value in asdict(seen.content).items() if value not in (None, (), {})}
    language = seen.locale or None
    return answer(wire.PreviewAnswer(body.channel, language, seen.file, content, seen.missing, seen.warnings))
