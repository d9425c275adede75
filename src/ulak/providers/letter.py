"""What is an email for a vendor that takes its parts as JSON and writes the message itself?

The vendor makes headers of what it is given, so nothing may be in there that could become more than was meant,
whatever the vendor does with it:

- one recipient and one sender, each a normalised address;
- free text (subject, names, file names, a stream's name) on one line, without control characters, and never with
  ``=?``, which a vendor that passes ASCII on would turn into an encoded word: it becomes ``= ?``;
- extra header fields from a closed list of names, with values of printable ASCII (RFC 2047 words where needed);
- bodies without NUL and the like, which JSON could carry and no email can.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ulak.core.content.address import domain_of, normalise_email
from ulak.core.content.email import Attachment, ContentError, EmailContent
from ulak.core.content.headers import Facts, fields
from ulak.core.content.mime import address_of
from ulak.providers.contract import Message

ATTEMPT = "ulak_attempt"
"""The key under which our attempt id goes to every vendor and comes back in its events."""
DELIVERY = "ulak_delivery"
"""The key of the delivery's id, which stays the same over retries."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_PLAIN = re.compile(r"[ -~]*\Z")
_NAME = re.compile(
    r"(?:(?!x-ulak-)x-[a-z0-9-]{1,60}|feedback-id|in-reply-to|references"
    r"|list-(?:unsubscribe|unsubscribe-post|id|help|subscribe|post|owner|archive))\Z"
)
_STRUCTURED = re.compile(r"(?:list-.*|in-reply-to|references)\Z")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}\Z", re.IGNORECASE)
_CID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,70}\Z")
_PATH = re.compile(r'[/\\:"<>|*?]+')
_LONGEST_VALUE = 900


class Mailbox(msgspec.Struct, frozen=True, gc=False):
    """A display name, which may be empty and hold any script, and an address."""

    name: str
    address: str


class Letter(msgspec.Struct, frozen=True, gc=False):
    """An email in parts that are safe to hand on."""

    sender: Mailbox
    recipient: str
    subject: str
    text: str
    html: str | None
    reply_to: Mailbox | None
    headers: tuple[tuple[str, str], ...]
    attachments: tuple[Attachment, ...]
    tags: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]
    stream: str | None


def letter_of(message: Message, leave_out: Iterable[str] = ()) -> Letter:
    """The parts of a message; raises ``ContentError`` when it can never be sent.

    ``leave_out`` are header fields (lower case) that the vendor refuses or writes itself.
    """
    content = message.content
    if not isinstance(content, EmailContent):
        raise ContentError("not_an_email", "the content was not rendered for email")
    recipient = normalise_email(message.target)
    if recipient is None:
        raise ContentError("invalid_recipient", "To must be exactly one address")
    sender = _mailbox(content.sender, "From")
    if not content.text.strip() and not (content.html or "").strip():
        raise ContentError("empty_body", "there is neither text nor HTML")
    metadata = [(ATTEMPT, message.attempt), (DELIVERY, message.delivery)]
    metadata += [(_line(name), _line(value)) for name, value in content.metadata if not name.startswith("ulak_")]
    return Letter(
        sender,
        recipient,
        _line(content.subject),
        _body(content.text),
        None if content.html is None else _body(content.html),
        None if content.reply_to is None else _mailbox(content.reply_to, "Reply-To"),
        tuple(_headers(message, content, sender.address, frozenset(leave_out))),
        tuple(_attachments(content.attachments)),
        tuple(dict.fromkeys(_line(tag) for tag in (content.tags or (message.type,)) if tag.strip())),
        tuple(metadata),
        _line(content.stream or "") or None,
    )


def ascii_mailbox(box: Mailbox) -> str:
    """``Name <address>`` in ASCII, any other script as encoded words (RFC 2047 §5.3)."""
    if not box.name:
        return box.address
    return f"{_quoted(box.name) if _PLAIN.match(box.name) else ascii_text(box.name)} <{box.address}>"


def unicode_mailbox(box: Mailbox) -> str:
    """``"Name" <address>`` in any script, for a vendor that encodes it."""
    return f"{_quoted(box.name)} <{box.address}>" if box.name else box.address


def ascii_text(text: str) -> str:
    """A text as printable ASCII: as it is, or as encoded words of at most 75 characters, one space apart."""
    if _PLAIN.match(text):
        return text
    words: list[str] = []
    piece = b""
    for char in text:
        unit = char.encode("utf-8")
        if len(piece) + len(unit) > 45:
            words.append(_word(piece))
            piece = b""
        piece += unit
    return " ".join([*words, _word(piece)])


def check_size(body: bytes, most: int) -> bytes:
    """The body, unless the vendor would refuse its size."""
    if len(body) > most:
        raise ContentError("too_big", f"the message is larger than the vendor's {most // 1_000_000} MB")
    return body


def _headers(
    message: Message, content: EmailContent, sender: str, leave_out: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Our own fields, then those of the template; a template's word replaces ours, except about ids."""
    asked = dict(_extra(content.headers))
    links = message.links
    facts = Facts(
        domain_of(sender),
        message.delivery,
        message.attempt,
        message.type,
        message.category,
        str(message.klass),
        None if links is None else links.unsubscribe,
        None if links is None else links.mailto,
    )
    for name, value in fields(facts):
        if name.lower() not in leave_out and name.lower() not in asked:
            yield name, value
    if content.language is not None and "content-language" not in leave_out:
        if re.fullmatch(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,6}", content.language) is None:
            raise ContentError("invalid_header", "Content-Language holds characters that it may not")
        yield "Content-Language", content.language
    for key, (name, value) in asked.items():
        if key not in leave_out:
            yield name, value


def _extra(headers: Sequence[tuple[str, str]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Fields that a template asks for, each at most once, by lower-case name."""
    seen: set[str] = set()
    for name, value in headers:
        key = name.lower() if name.isascii() else ""
        if _NAME.match(key) is None:
            raise ContentError(
                "forbidden_header", "only X-…, Feedback-ID, List-…, In-Reply-To and References may be added"
            )
        if key in seen:
            raise ContentError("repeated_header", "an extra header may appear once")
        seen.add(key)
        text = ascii_text(_line(value))
        if _STRUCTURED.match(key) and (not _PLAIN.match(_line(value)) or text != value):
            raise ContentError("invalid_header", f"{name} holds characters that it may not")
        if len(text) > _LONGEST_VALUE or not text:
            raise ContentError("invalid_header", f"{name} is empty or too long")
        yield key, (name, text)


def _attachments(given: Sequence[Attachment]) -> Iterator[Attachment]:
    for file in given:
        if _TYPE.match(file.content_type) is None:
            raise ContentError("invalid_attachment", "a file's content type must look like application/pdf")
        if file.cid is not None and _CID.match(file.cid) is None:
            raise ContentError("invalid_attachment", "a content id must look like logo.1, in at most 70 characters")
        if not file.data:
            raise ContentError("invalid_attachment", "a file is empty")
        name = _PATH.sub("_", _line(file.filename)).strip(". ")[-200:]
        yield Attachment(name or "file", file.content_type.lower(), file.data, file.cid)


def _mailbox(text: str, field: str) -> Mailbox:
    address = address_of(text, field)
    name = text.rpartition("<")[0].strip(" \t") if text.strip().endswith(">") else ""
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return Mailbox(_line(name), address)


def _quoted(name: str) -> str:
    """A quoted string (RFC 5322 §3.2.4)."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _line(text: str) -> str:
    """One line that nobody decodes into something else."""
    return _whole(_CONTROLS.sub(" ", text)).replace("=?", "= ?").strip(" ")


def _body(text: str) -> str:
    return _NOT_TEXT.sub("\ufffd", _whole(text))


def _whole(text: str) -> str:
    """U+FFFD where a lone surrogate stood, which UTF-8 has no octets for."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _word(piece: bytes) -> str:
    return f"=?utf-8?b?{b2a_base64(piece, newline=False).decode('ascii')}?="
