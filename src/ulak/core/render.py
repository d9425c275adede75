"""What does a user get to read: this type, on this channel, in this language, with this data?

A template is drafted with placeholders (``engine``), turned into HTML and text, and only then filled
with the values, each escaped for its place (``content/fill``). What is missing in the data becomes
nothing, because a notification must not be lost over an optional field; ``preview`` tells what was
missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ulak.core import formats, template
from ulak.core.content import fill
from ulak.core.content.email import EmailContent
from ulak.core.content.page import CLIPPED, size_warning
from ulak.core.content.push import PushContent
from ulak.core.engine import ZONED, Draft, Engine, RenderError
from ulak.core.fields import Problem
from ulak.core.formats import Formats
from ulak.core.locale import canonical
from ulak.core.model import Channel, NotificationType
from ulak.core.project import Catalog
from ulak.core.render_email import EmailMaker
from ulak.core.render_push import push
from ulak.core.template_files import FRONT, Template

__all__ = ["InAppContent", "Preview", "RenderError", "Renderer"]

MAX_BODY = 16 * 1024
"""The longest body of an inbox item, in characters."""

MAX_CUSTOMS = 512
"""Pairs of locale and time zone whose formats are kept."""

_ZONED = re.compile(rf"\|\s*(?:{'|'.join(sorted(ZONED))})\b")
_STATIC = ("mjml_broken", "css_broken", "html_broken", "html_unsupported", "format_unknown")
"""What can be wrong with a page whatever the data are."""


@dataclass(frozen=True, slots=True)
class InAppContent:
    """A rendered inbox item: plain text, for the client to escape; ``url`` has a harmless scheme."""

    title: str
    body: str
    url: str | None = None
    icon: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a user would get, from which file, which variables the data does not have, and what to look at."""

    content: InAppContent | EmailContent | PushContent
    file: str
    locale: str
    missing: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with the pages of a catalogue, and what only deserves a look."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


class Renderer:
    """Renders the templates of one catalogue, compiled once. Not for use by two threads at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._engine = Engine()
        self._emails = EmailMaker(catalog)
        self._customs: dict[tuple[str, str | None, str | None], Formats] = {}
        self._home = formats.zone(catalog.timezone)
        for file in catalog.templates.values():
            self._engine.add(file.file, file.sources)
        # A template reads the user by this name or not at all: there is no other way to it but the time zone.
        self._zoned = {f.file for f in catalog.templates.values() if any(_ZONED.search(part) for part in f.sources)}
        self._personal = {f.file for f in catalog.templates.values() if any("user" in part for part in f.sources)}
        self._personal |= self._zoned

    def in_app(self, type: NotificationType | str, locale: str | None, context: Mapping[str, Any]) -> InAppContent:  # noqa: A002
        """Render an inbox item; raise ``RenderError``."""
        return self._in_app(self._find(type, Channel.IN_APP, locale), context)

    def personal(self, type: NotificationType | str, locale: str | None) -> bool:  # noqa: A002
        """Whether inbox items of a type may differ between users of one locale; raise ``RenderError``."""
        return self._find(type, Channel.IN_APP, locale).file in self._personal

    def zoned(self, type: NotificationType | str, channel: Channel, locale: str | None) -> bool:  # noqa: A002
        """Whether a template writes moments, so that the context needs the user's time zone."""
        return bool(self._zoned) and self._find(type, channel, locale).file in self._zoned

    def email(self, type: NotificationType | str, locale: str | None, context: Mapping[str, Any]) -> EmailContent:  # noqa: A002
        """Render an email; raise ``RenderError``."""
        return self._email(self._find(type, Channel.EMAIL, locale), context)

    def push(self, type: NotificationType | str, locale: str | None, context: Mapping[str, Any]) -> PushContent:  # noqa: A002
        """Render a push notification; raise ``RenderError``."""
        file = self._find(type, Channel.PUSH, locale)
        return push(file, self._draft(file, context))

    def preview(
        self,
        type: NotificationType | str,  # noqa: A002
        channel: Channel,
        locale: str | None,
        data: Mapping[str, Any],
    ) -> Preview:
        """Render with given data for an imagined user; raise ``RenderError``."""
        file = self._find(type, channel, locale)
        name = type if isinstance(type, str) else type.name
        context = _imagined(name, locale, data)
        content = self._content(channel, file, context)
        read = {path for source in file.sources for path in template.variables(source)}
        missing = sorted(path for path in read if path.startswith("data.") and not _has(context, path))
        page = content.html if isinstance(content, EmailContent) else None
        warning = None if page is None else size_warning(page)
        language = file.locale or self._catalog.default_locale
        return Preview(content, file.file, language, tuple(missing), (warning,) if warning else ())

    def check(self) -> Checked:
        """Make every page once, with no data and with a one for every value, and say what no data can mend."""
        problems: list[Problem] = []
        warnings: list[Problem] = []
        for file in self._catalog.templates.values():
            if file.channel is not Channel.EMAIL:
                continue
            for probe in _probes(file):
                try:
                    page = self._email(file, _imagined(file.name, None, probe)).html or ""
                except RenderError as error:
                    if error.reason in _STATIC:
                        problems.append(Problem(file.file, "body", f"{error.reason}: {error.detail}"))
                        break
                    continue
                warning = size_warning(page)
                if warning is not None:
                    clipped = len(page.encode("utf-8", "replace")) > CLIPPED
                    (problems if clipped else warnings).append(Problem(file.file, "body", warning, "shorten it"))
                    break
        return Checked(tuple(problems), tuple(warnings))

    def _find(self, type: NotificationType | str, channel: Channel, locale: str | None) -> Template:  # noqa: A002
        kind = self._catalog.types.get(type) if isinstance(type, str) else type
        if kind is None:
            raise RenderError("type_unknown", f"there is no type '{type}'")
        if channel not in FRONT:
            raise RenderError("template_missing", f"{channel} has no templates")
        found = self._catalog.template(kind.template, channel, locale)
        if found is None:
            raise RenderError("template_missing", f"type '{kind.name}' has no template for {channel}")
        return found

    def _draft(self, file: Template, context: Mapping[str, Any]) -> Draft:
        user = context.get("user")
        known = user if isinstance(user, Mapping) else {}
        return self._engine.draft(file.file, context, self._custom(file, known.get("locale"), known.get("timezone")))

    def _custom(self, file: Template, locale: str | None, timezone: str | None) -> Formats:
        language = file.locale or self._catalog.default_locale
        key = (language, locale, timezone)
        found = self._customs.get(key)
        if found is None:
            if len(self._customs) >= MAX_CUSTOMS:
                self._customs.clear()
            nearest = formats.nearest(language, canonical(locale) if locale else None)
            found = self._customs[key] = Formats(nearest, formats.zone(timezone, self._home))
        return found

    def _content(
        self, channel: Channel, file: Template, context: Mapping[str, Any]
    ) -> InAppContent | EmailContent | PushContent:
        if channel is Channel.PUSH:
            return push(file, self._draft(file, context))
        return self._in_app(file, context) if channel is Channel.IN_APP else self._email(file, context)

    def _in_app(self, file: Template, context: Mapping[str, Any]) -> InAppContent:
        draft = self._draft(file, context)
        *parts, body = draft.parts
        front = dict(zip(file.front, parts, strict=True))
        links = [fill.url(front.get(key, ""), draft.values) for key in ("url", "icon")]
        title = fill.line(front["title"], draft.values, 300)
        return InAppContent(title, fill.plain(body, draft.values).strip()[:MAX_BODY], *links)

    def _email(self, file: Template, context: Mapping[str, Any]) -> EmailContent:
        return self._emails.make(file, self._draft(file, context))


def _imagined(type_: str, locale: str | None, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data": data,
        "user": {"id": "preview", "locale": locale, "timezone": None},
        "notification": {"id": "ntf_" + "0" * 32, "type": type_},
        "actor": None,
        "unsubscribe_url": "https://example.com/u/preview",
        "preferences_url": "https://example.com/u/preview",
    }


def _probes(file: Template) -> list[dict[str, Any]]:
    """Data to try a page with: none at all, and a one wherever a value is read."""
    full: dict[str, Any] = {}
    for path in sorted(path for source in file.sources for path in template.variables(source)):
        root, *keys = path.split(".")
        at = full
        for key in keys[:-1] if root == "data" else []:
            below = at.get(key)
            if not isinstance(below, dict):
                below = at[key] = {}
            at = below
        if root == "data" and keys:
            at.setdefault(keys[-1], 1)
    return [{}, full]


def _has(context: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(context, Mapping) or context.get(key) is None:
            return False
        context = context[key]
    return True
