"""What is a rendered email before it becomes bytes, and how is one that can never become bytes told?"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

MAX_ATTACHED = 10 * 1024 * 1024
"""The most octets that the files of one email may have together, before they are encoded."""


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """A file that goes with an email; with a ``cid`` it is an inline image, shown by ``<img src="cid:…">``."""

    filename: str
    content_type: str
    data: bytes
    cid: str | None = None


class Linked(msgspec.Struct, frozen=True, gc=False):
    """A file that has still to be fetched; what is None is told by the server's answer or by the URL."""

    url: str
    filename: str | None = None
    content_type: str | None = None
    cid: str | None = None


@dataclass(frozen=True, slots=True)
class EmailContent:
    """A rendered email.

    ``headers`` are extra header fields, checked by the MIME builder. ``linked`` files are fetched before
    a provider sees the content, and then stand in ``attachments``. ``stream``, ``tags`` and ``metadata``
    are for vendors that sort mail by them: a message stream, words, and pairs.
    """

    sender: str
    subject: str
    text: str
    html: str | None = None
    reply_to: str | None = None
    language: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    preheader: str | None = None
    attachments: tuple[Attachment, ...] = ()
    linked: tuple[Linked, ...] = ()
    stream: str | None = None
    tags: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


class ContentError(ValueError):
    """This content can never be sent, whoever tries; ``reason`` is a short stable word, ``detail`` for people.

    ``detail`` names the field and never its value, which may be personal.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
