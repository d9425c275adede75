"""What does a drafted email template become: page, text, sender, files, and what vendors sort it by?

All that the values can't change is made once for a skeleton and kept: the page with its layout and CSS, and
the plan of its text. A template has as many skeletons as its ``if``s and ``for``s can make of the data, so
few are kept, and only as much of them as ``MAX_KEPT`` allows.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyromark

from ulak.core.content import fill, html_text, markdown_text, text
from ulak.core.content.address import normalise_email
from ulak.core.content.email import EmailContent, Linked
from ulak.core.content.page import Frame, Pages, Words
from ulak.core.engine import Draft, RenderError
from ulak.core.project import Catalog
from ulak.core.template_files import Template
from ulak.core.template_parts import CONTENT, PREHEADER, SUBJECT

MAX_KEPT = 4 * 1024 * 1024
"""The most characters of skeletons that one catalogue keeps."""

_PLAIN = frozenset({"subject", "preheader", "from", "reply_to"})
"""Keys of a front matter that are read for every email."""

_EMPTY = re.compile(r"<p>\s*</p>\n?")
_ONE_ADDRESS = re.compile(r"[^<>@,;]*<[^<>@\s,;]+@[^<>@\s,;]+>|[^<>@\s,;]+@[^<>@\s,;]+")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}\Z")
_WEB = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """All of an email that is the same for every draft with the same whole."""

    html: fill.Plan | None
    text: text.Text
    size: int


class EmailMaker:
    """Makes emails out of drafts. Not for use by two threads at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._pages = Pages()
        options = pyromark.Options.ENABLE_TABLES | pyromark.Options.ENABLE_STRIKETHROUGH
        self._markdown = pyromark.Markdown(options=options)
        self._kept: OrderedDict[tuple[str, str], _Skeleton] = OrderedDict()
        self._room = MAX_KEPT

    def make(self, file: Template, draft: Draft) -> EmailContent:
        """Fill an email; raise ``RenderError``."""
        front = dict(zip(file.front, draft.parts, strict=False))
        values = draft.values
        defaults = self._catalog.email
        sender = _address(front.get("from"), draft) or defaults.sender
        if sender is None:
            raise RenderError("no_sender", f"neither {file.file} nor [email] in ulak.toml has a usable 'from'")
        subject = fill.line(front["subject"], values)
        preheader = fill.line(front.get("preheader", ""), values, 250)
        skeleton = self._skeleton(file, draft, front)
        filled = [*values, subject, preheader]
        return EmailContent(
            sender=sender,
            subject=subject,
            text=skeleton.text.fill(filled),
            html=None if skeleton.html is None else skeleton.html.fill(filled),
            reply_to=_address(front.get("reply_to"), draft) or defaults.reply_to,
            language=file.locale or self._catalog.default_locale,
            preheader=preheader or None,
            **(_extras(file, front, values) if front.keys() - _PLAIN else {}),
        )

    def _skeleton(self, file: Template, draft: Draft, front: Mapping[str, str]) -> _Skeleton:
        key = (file.file, draft.whole)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = self._assemble(file, draft, front)
        self._kept[key] = made
        self._room -= made.size
        while self._room < 0 and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._room += old.size
        return made

    def _assemble(self, file: Template, draft: Draft, front: Mapping[str, str]) -> _Skeleton:
        body, *around = draft.parts[len(file.front) :]
        many = len(draft.values)
        # Behind the draft's own values stand the subject and the preheader, as they are once filled.
        words = Words(
            f"Zq{many}qZ",
            f"Zq{many + 1}qZ" if front.get("preheader") else "",
            file.locale or self._catalog.default_locale,
        )
        page = None
        if file.kind != "txt":
            inner = _EMPTY.sub("", self._markdown.html(body)) if file.kind == "md" else body
            frame = None if file.layout is None else Frame(file.layout.kind, around[0])
            page = self._pages.whole(inner, file.kind, frame, words)
        plain = self._text(file.kind, body, page)
        if file.layout is not None and file.layout.text is not None:
            plain = plain.within(around[1].replace(SUBJECT, words.subject).replace(PREHEADER, ""), CONTENT)
        html = None if page is None else self._pages.plan(page, breaks=file.kind == "md")
        size = len(draft.whole) + plain.size + (0 if html is None else html.size)
        return _Skeleton(html, plain, size)

    def _text(self, kind: str, body: str, page: str | None) -> text.Text:
        if kind == "md":
            return markdown_text.plan(self._markdown.events(body))
        if page is not None:
            return html_text.plan(page)
        return text.verbatim(body)


def _extras(file: Template, front: Mapping[str, str], values: Sequence[str]) -> dict[str, Any]:
    """Files, headers, tags, metadata and stream."""
    named = {key.partition(".")[0].partition("[")[0] for key in front}
    found: dict[str, Any] = {}
    if "headers" in named:
        found["headers"] = _pairs("headers.", front, values, 900)
    if "metadata" in named:
        found["metadata"] = _pairs("metadata.", front, values, 500)
    if "tags" in named:
        tags = [fill.line(source, values, 128) for key, source in front.items() if key.startswith("tags[")]
        found["tags"] = tuple(tag for tag in tags if tag)
    if "stream" in named:
        found["stream"] = fill.line(front["stream"], values, 100) or None
    if "attachments" in named:
        found["linked"] = tuple(_linked(file, front, values))
    return found


def _pairs(start: str, front: Mapping[str, str], values: Sequence[str], limit: int) -> tuple[tuple[str, str], ...]:
    lines = [
        (key[len(start) :], fill.line(text, values, limit)) for key, text in front.items() if key.startswith(start)
    ]
    return tuple((key, text) for key, text in lines if text)


def _linked(file: Template, front: Mapping[str, str], values: Sequence[str]) -> list[Linked]:
    """Files to fetch; one whose address the data does not have is left out."""
    found = []
    for key in front:
        if not (key.startswith("attachments[") and key.endswith("].url")):
            continue
        start = key.removesuffix("url")
        if not front[key].strip():
            continue
        url = fill.url(front[key], values)
        if url is None or _WEB.match(url) is None:
            raise RenderError("attachment_url", f"{file.file}: {key} is no http or https URL with this data")
        name = fill.line(front.get(f"{start}name", ""), values, 200)
        kind = fill.line(front.get(f"{start}type", ""), values, 200)
        found.append(Linked(url, name or None, kind if _TYPE.match(kind) else None, front.get(f"{start}inline")))
    return found


def _address(skeleton: str | None, draft: Draft) -> str | None:
    """An address field that is still one address after filling, else None: the default stands in."""
    text = fill.address(skeleton, draft.values) if skeleton else ""
    if _ONE_ADDRESS.fullmatch(text) is None:
        return None
    return text if normalise_email(text.rpartition("<")[2].rstrip(">")) is not None else None
