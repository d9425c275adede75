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

import pyromark

from ulak.core import template
from ulak.core.content import fill, html_text, markdown_text, shell
from ulak.core.content.email import EmailContent
from ulak.core.engine import Draft, Engine, RenderError
from ulak.core.model import Channel, NotificationType
from ulak.core.project import Catalog
from ulak.core.template_files import FRONT, Template

__all__ = ["InAppContent", "Preview", "RenderError", "Renderer"]

MAX_BODY = 16 * 1024
"""The longest body of an inbox item, in characters."""

_EMPTY = re.compile(r"<p>\s*</p>\n?")
_ONE_ADDRESS = re.compile(r"[^<>@,;]*<[^<>@\s,;]+@[^<>@\s,;]+>|[^<>@\s,;]+@[^<>@\s,;]+")


@dataclass(frozen=True, slots=True)
class InAppContent:
    """A rendered inbox item: plain text, for the client to escape; ``url`` has a harmless scheme."""

    title: str
    body: str
    url: str | None = None
    icon: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a user would get, from which file, and which variables the data does not have."""

    content: InAppContent | EmailContent
    file: str
    locale: str
    missing: tuple[str, ...]


class Renderer:
    """Renders the templates of one catalogue, compiled once. Not for use by two threads at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._engine = Engine()
        options = pyromark.Options.ENABLE_TABLES | pyromark.Options.ENABLE_STRIKETHROUGH
        self._markdown = pyromark.Markdown(options=options)
        for file in catalog.templates.values():
            self._engine.add(file.file, _sources(file))
        # A template reads the user by this name or not at all: there is no other way to it.
        self._personal = {f.file for f in catalog.templates.values() if any("user" in part for part in _sources(f))}

    def in_app(self, type: NotificationType | str, locale: str | None, context: Mapping[str, Any]) -> InAppContent:  # noqa: A002
        """Render an inbox item; raise ``RenderError``."""
        return self._in_app(self._find(type, Channel.IN_APP, locale), context)

    def personal(self, type: NotificationType | str, locale: str | None) -> bool:  # noqa: A002
        """Whether inbox items of a type may differ between users of one locale; raise ``RenderError``."""
        return self._find(type, Channel.IN_APP, locale).file in self._personal

    def email(self, type: NotificationType | str, locale: str | None, context: Mapping[str, Any]) -> EmailContent:  # noqa: A002
        """Render an email; raise ``RenderError``."""
        return self._email(self._find(type, Channel.EMAIL, locale), context)

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
        context: dict[str, Any] = {
            "data": data,
            "user": {"id": "preview", "locale": locale},
            "notification": {"id": "ntf_" + "0" * 32, "type": name},
            "actor": None,
        }
        content = self._in_app(file, context) if channel is Channel.IN_APP else self._email(file, context)
        read = {path for source in _sources(file) for path in template.variables(source)}
        missing = sorted(path for path in read if path.startswith("data.") and not _has(context, path))
        return Preview(content, file.file, file.locale or self._catalog.default_locale, tuple(missing))

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

    def _draft(self, file: Template, context: Mapping[str, Any]) -> tuple[dict[str, str], str, Draft]:
        draft = self._engine.draft(file.file, context)
        *front, body = draft.parts
        return dict(zip(file.front, front, strict=True)), body, draft

    def _in_app(self, file: Template, context: Mapping[str, Any]) -> InAppContent:
        front, body, draft = self._draft(file, context)
        links = [fill.url(front.get(key, ""), draft.values) for key in ("url", "icon")]
        title = fill.line(front["title"], draft.values, 300)
        return InAppContent(title, fill.plain(body, draft.values).strip()[:MAX_BODY], *links)

    def _email(self, file: Template, context: Mapping[str, Any]) -> EmailContent:
        front, body, draft = self._draft(file, context)
        values = draft.values
        defaults = self._catalog.email
        sender = _address(front.get("from"), draft) or defaults.sender
        if sender is None:
            raise RenderError("no_sender", f"neither {file.file} nor [email] in ulak.toml has a usable 'from'")
        subject = fill.line(front["subject"], values)
        language = file.locale or self._catalog.default_locale
        html: str | None = None
        if file.kind == "md":
            text = markdown_text.text(self._markdown.events(body), values)
            inner = _EMPTY.sub("", fill.html(self._markdown.html(body), values, breaks=True))
            preheader = fill.line(front.get("preheader", ""), values, 250)
            html = shell.page(inner, subject=subject, preheader=preheader, language=language)
        elif file.kind == "html":
            text = html_text.text(body, values)
            html = fill.html(body, values)
        else:
            text = fill.plain(body, values).strip() + "\n"
        reply_to = _address(front.get("reply_to"), draft) or defaults.reply_to
        return EmailContent(sender, subject, text, html, reply_to, language)


def _sources(file: Template) -> list[str]:
    return [*file.front.values(), file.body]


def _address(skeleton: str | None, draft: Draft) -> str | None:
    """An address field that is still one address after filling, else None: the default stands in."""
    text = fill.address(skeleton, draft.values) if skeleton else ""
    return text if _ONE_ADDRESS.fullmatch(text) else None


def _has(context: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(context, Mapping) or context.get(key) is None:
            return False
        context = context[key]
    return True
