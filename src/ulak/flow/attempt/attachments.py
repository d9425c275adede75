"""How do the files that an email only names get into it, and what follows when one can't be had?

Each is fetched right before the call, through the egress guard, without following redirects, up to the size
that an email may have. A server that has no such file has the caller's link to blame: trying again would not
help. One that is away or busy is asked again later, with the whole message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ulak.core.content.email import MAX_ATTACHED, Attachment, EmailContent, Linked
from ulak.core.outcome import Kind, Outcome, outcome
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Refused

PATIENCE = 10.0
"""Seconds for all files of one email."""

BODY_CAP = MAX_ATTACHED + 1
"""What the client reads of an answer: one octet more than allowed, so that more is noticed."""

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}\Z")
_LATER = frozenset({408, 425, 429})


class Files(Protocol):
    """A guarded HTTP client that reads up to ``BODY_CAP``."""

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """Send one request within ``deadline`` seconds."""


async def fetched(content: EmailContent, files: Files, clock: Callable[[], float]) -> EmailContent | Outcome:
    """The content with its files in place, or what becomes of the message without them."""
    until = clock() + PATIENCE
    room = MAX_ATTACHED - sum(len(each.data) for each in content.attachments)
    found: list[Attachment] = []
    # One after the other: all at once would need room for all of the largest.
    for link in content.linked:
        reply = await files.send(HttpRequest("GET", link.url), max(0.1, until - clock()))
        made = read(reply, link, room)
        if isinstance(made, Outcome):
            return made
        room -= len(made.data)
        found.append(made)
    return replace(content, attachments=(*content.attachments, *found), linked=())


def read(reply: HttpReply | Lost | Refused, link: Linked, room: int) -> Attachment | Outcome:
    """What a server's answer means: a file, or an outcome. Never says the address, which may be secret."""
    if isinstance(reply, Refused):
        return outcome(Kind.PAYLOAD_ERROR, "attachment_refused", detail=f"{reply.reason}: {reply.detail}")
    if isinstance(reply, Lost):
        return outcome(Kind.RETRY, "attachment_unavailable", detail=reply.reason)
    if reply.status in _LATER or reply.status >= 500:
        return outcome(Kind.RETRY, "attachment_unavailable", detail=f"HTTP {reply.status}")
    if reply.status != 200:
        return outcome(Kind.PAYLOAD_ERROR, "attachment_missing", detail=f"HTTP {reply.status}")
    if len(reply.body) > room:
        return outcome(Kind.PAYLOAD_ERROR, "attachment_too_big", detail=f"more than {MAX_ATTACHED} octets in all")
    if not reply.body:
        return outcome(Kind.PAYLOAD_ERROR, "attachment_empty")
    if reply.headers.get("content-encoding", "identity").lower() != "identity":
        return outcome(Kind.PAYLOAD_ERROR, "attachment_encoded", detail="compressed although nobody asked for it")
    told = reply.headers.get("content-type", "").partition(";")[0].strip()
    kind = link.content_type or (told if _TYPE.match(told) else "application/octet-stream")
    return Attachment(link.filename or _last(link.url), kind, reply.body, link.cid)


def _last(url: str) -> str:
    """The last part of a URL's path: the name that a browser would give."""
    return unquote(urlsplit(url).path.rpartition("/")[2]) or "file"
