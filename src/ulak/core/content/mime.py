"""What are the bytes of an email, and how can no rendered value ever become a header, a recipient or a part?

Rule 1: free text (subject, display names, ``X-`` fields) is never refused. Control characters and line
separators become one space; anything but plain printable words, and above all any ``=?…?=`` that is already
in the text, is written as RFC 2047 encoded words of our own, so that a reader decodes back the literal text.
Rule 2: structured values (addresses, ids, languages, list fields) are matched against a narrow grammar or
refused with ``ContentError``; exactly one address per recipient.
Rule 3: bodies are quoted-printable or base64 (``parts``), so no line of theirs can be one of our boundaries.
Rule 4: the finished bytes are parsed again by ``check``, which shares no code with the writer of the header:
the fields must be exactly those intended, and no encoded word may hide a control character. Some versions of
the standard library decode such a word into a real extra field, so trust nothing that was not checked.

Written by hand because the standard library's builder takes about a hundred times as long.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp, b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ulak.core.content.address import normalise_email
from ulak.core.content.email import ContentError, EmailContent
from ulak.core.content.headers import Facts
from ulak.core.content.headers import fields as facts_fields
from ulak.core.content.parts import body, utf8

FOLD = 78
"""Characters of a header line that is not one long word (RFC 5322 §2.1.1)."""
LINE = 998
"""Octets that no line may exceed, CRLF apart (RFC 5322 §2.1.1)."""

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*\Z")
_LONG_WORD = re.compile(r"[!-~]{60}")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/^_`{|}~-]+)*\Z")
_QUOTABLE = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~.()\[\] -]+\Z")
_BOUNDARY = re.compile(r"[A-Za-z0-9_=.-]{1,66}\Z")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,6}\Z")
_STRUCTURED = re.compile(r"[!-~]+(?: [!-~]+)*\Z")
_FREE_FIELD = re.compile(r"(?!x-ulak-)x-[a-z0-9-]{1,60}\Z|feedback-id\Z")
_STRUCTURED_FIELD = re.compile(
    r"(?:list-(?:unsubscribe|unsubscribe-post|id|help|subscribe|post|owner|archive)|in-reply-to|references)\Z"
)

_Q = [f"={byte:02X}" for byte in range(256)]
for _byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/":
    _Q[_byte] = chr(_byte)
_Q[0x20] = "_"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one message of a rendered email: for whom, when, and what its header tells.

    ``recipient`` is one address; ``date`` is aware; ``boundary`` is entropy for the boundaries of its parts
    (letters and digits, any will do: see rule 3).
    """

    recipient: str
    date: datetime
    boundary: str
    facts: Facts


def build(content: EmailContent, stamp: Stamp) -> bytes:
    """The complete RFC 5322 message, CRLF line ends, ASCII only; raises ``ContentError``."""
    if _BOUNDARY.match(stamp.boundary) is None:
        raise ContentError("invalid_boundary", "the boundary must be 1 to 66 letters, digits or ._-=")
    fields = _fields(content, stamp)
    kind, octets = body(content, stamp.boundary)
    fields += kind
    head = "".join([f"{name}: {value}\r\n" for name, value in fields])
    message = head.encode("ascii") + b"\r\n" + octets
    check(message, [name for name, _ in fields])
    return message


def address_of(mailbox: str, field: str) -> str:
    """The normalised address of ``Name <address>`` or ``address``; raises ``ContentError`` naming ``field``."""
    return _split_mailbox(mailbox, field)[1]


def _fields(content: EmailContent, stamp: Stamp) -> list[tuple[str, str]]:
    """Every field but the content's own, in the order in which it is written."""
    recipient = normalise_email(stamp.recipient)
    if recipient is None:
        raise ContentError("invalid_recipient", "To must be exactly one address")
    fields = [
        ("From", _mailbox(content.sender, "From")),
        ("To", recipient),
        ("Subject", _text(content.subject, len("Subject: "))),
        ("Date", _date(stamp.date)),
        ("MIME-Version", "1.0"),
    ]
    if content.reply_to is not None:
        fields.append(("Reply-To", _mailbox(content.reply_to, "Reply-To")))
    if content.language is not None:
        fields.append(("Content-Language", _match(_LANGUAGE, content.language, "Content-Language")))
    asked = list(_extra(content.headers))
    named = {name.lower() for name, _ in asked}
    # A template's word replaces ours, except about ids, which it can't name.
    ours = [(name, value) for name, value in facts_fields(stamp.facts) if name.lower() not in named]
    fields += [(name, _fold(value, len(name) + 2)) for name, value in ours]
    return fields + asked


def _extra(headers: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Fields that a template asks for: only those of the two lists, each at most once."""
    seen: set[str] = set()
    for name, value in headers:
        key = name.lower() if name.isascii() else ""
        if key in seen:
            raise ContentError("repeated_header", "an extra header may appear once")
        seen.add(key)
        if _FREE_FIELD.match(key) is not None:
            yield name, _text(value, len(name) + 2)
        elif _STRUCTURED_FIELD.match(key) is not None:
            yield name, _fold(_match(_STRUCTURED, value, name), len(name) + 2)
        else:
            raise ContentError(
                "forbidden_header", "only X-…, Feedback-ID, List-…, In-Reply-To and References may be added"
            )


def _match(pattern: re.Pattern[str], value: str, field: str) -> str:
    if pattern.match(value) is None or "=?" in value or len(value) > LINE - 80:
        raise ContentError("invalid_header", f"{field} holds characters that it may not")
    return value


def _date(at: datetime) -> str:
    if at.tzinfo is None:
        raise ContentError("invalid_date", "Date must carry a time zone")
    at = at.astimezone(UTC)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year:04d} "
        f"{at.hour:02d}:{at.minute:02d}:{at.second:02d} +0000"
    )


# Free text and display names


def _text(value: str, used: int) -> str:
    """An unstructured value after ``used`` characters of its line: plain where that is safe, else encoded."""
    value = _CONTROLS.sub(" ", value)
    if value == "":
        return ""
    if _PLAIN.match(value) is not None and "=?" not in value and _LONG_WORD.search(value) is None:
        return value if used + len(value) <= FOLD else _fold(value, used)
    return _encoded_words(value, used)


def _fold(value: str, used: int) -> str:
    """Break at single spaces so that lines stay within ``FOLD`` where their words allow it."""
    lines: list[str] = []
    line = ""
    room = FOLD - used
    for word in value.split(" "):
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line, room = word, FOLD - 1
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    return "\r\n ".join(lines)


def _encoded_words(value: str, used: int) -> str:
    """RFC 2047 words of whole characters, in whichever of Q and B is shorter, one a line."""
    data = utf8(value)
    quoted = "".join([_Q[byte] for byte in data])
    as_q = len(quoted) <= (len(data) + 2) // 3 * 4
    if as_q and len(quoted) + 12 <= min(75, FOLD - used):
        return f"=?utf-8?q?{quoted}?="
    words: list[str] = []
    room = min(75, FOLD - used) - 12
    piece: list[bytes] = []
    size = 0
    for char in data.decode("utf-8"):
        unit = char.encode("utf-8")
        cost = sum([len(_Q[byte]) for byte in unit]) if as_q else len(unit)
        if piece and size + cost > (room if as_q else room // 4 * 3):
            words.append(_encoded_word(b"".join(piece), as_q=as_q))
            piece, size, room = [], 0, 75 - 12
        piece.append(unit)
        size += cost
    words.append(_encoded_word(b"".join(piece), as_q=as_q))
    return "\r\n ".join(words)


def _encoded_word(data: bytes, *, as_q: bool) -> str:
    if as_q:
        return f"=?utf-8?q?{''.join([_Q[byte] for byte in data])}?="
    return f"=?utf-8?b?{b2a_base64(data, newline=False).decode('ascii')}?="


def _split_mailbox(mailbox: str, field: str) -> tuple[str, str]:
    """Display name and normalised address; the address is what stands in the last angle brackets."""
    text = mailbox.strip(" \t")
    name = ""
    if text.endswith(">"):
        name, bracket, text = text[:-1].rpartition("<")
        if not bracket:
            raise ContentError("invalid_mailbox", f"{field} must be an address or Name <address>")
    address = normalise_email(text)
    if address is None or "\n" in text or "\r" in text:
        raise ContentError("invalid_mailbox", f"{field} must be an address or Name <address>")
    name = name.strip(" \t")
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return name, address


def _mailbox(mailbox: str, field: str) -> str:
    name, address = _split_mailbox(mailbox, field)
    name = _CONTROLS.sub(" ", name).strip(" ")
    if name == "":
        return address
    used = len(field) + 2
    # Quotes hide an "@" or "<" from good parsers only: neither pattern has them, nor "=?", so they are encoded.
    if len(name) <= 60 - used:
        if _ATOMS.match(name) is not None:
            return _with_address(name, address, used)
        if _QUOTABLE.match(name) is not None:
            return _with_address(f'"{name}"', address, used)
    return _with_address(_encoded_words(name, used), address, used)


def _with_address(phrase: str, address: str, used: int) -> str:
    last = phrase.rpartition("\r\n")[2]
    start = used if last is phrase else 0
    return f"{phrase}{' ' if start + len(last) + len(address) + 3 <= FOLD else chr(13) + chr(10) + ' '}<{address}>"


# The check of the finished bytes

_FIELD = re.compile(rb"([!-9;-~]+): ?([ -~]*(?:\r\n [ -~]+)*)\r\n")
_WORD = re.compile(rb"=\?([^?\s]*)\?([^?\s]*)\?([^?\s]*)\?=")


def check(message: bytes, expected_headers: Sequence[str]) -> None:
    """Parse the header of finished bytes again; raise ``ContentError`` unless its fields are exactly these.

    Also refused: a line longer than 998 octets, a line end that is not CRLF, an octet that is not ASCII or is
    NUL, and an encoded word that decodes to a control character.
    """
    found: list[str] = []
    at = 0
    while message[at : at + 2] != b"\r\n":
        field = _FIELD.match(message, at)
        if field is None:
            raise ContentError("unsafe_message", "a header line is malformed")
        found.append(field[1].decode("ascii"))
        if b"=?" in field[2]:
            _check_words(field[2])
        at = field.end()
    if found != list(expected_headers):
        raise ContentError("unsafe_message", "the header fields are not those intended")
    if not message.isascii() or b"\0" in message:
        raise ContentError("unsafe_message", "an octet is not ASCII text")
    _check_lines(message)


def _check_lines(message: bytes) -> None:
    ends = message.count(b"\r\n")
    if message.count(b"\n") != ends or message.count(b"\r") != ends or not message.endswith(b"\r\n"):
        raise ContentError("unsafe_message", "a line does not end in CRLF")
    start = 0
    while len(message) - start > LINE + 2:
        # From the start of a line, the last line end within reach is the start of another.
        start = message.rfind(b"\n", start, start + LINE + 2) + 1
        if start == 0:
            raise ContentError("unsafe_message", "a line is longer than 998 octets")


def _check_words(value: bytes) -> None:
    """Decode every encoded word as a careless reader would."""
    if b"=?" in _WORD.sub(b"", value):
        raise ContentError("unsafe_message", "a header holds a broken encoded word")
    for charset, encoding, payload in _WORD.findall(value):
        if charset != b"utf-8" or encoding not in (b"q", b"b"):
            raise ContentError("unsafe_message", "a header holds an encoded word that is not ours")
        try:
            data = a2b_qp(payload, header=True) if encoding == b"q" else a2b_base64(payload, strict_mode=True)
            text = data.decode("utf-8")
        except (Base64Error, UnicodeDecodeError):
            raise ContentError("unsafe_message", "a header holds a broken encoded word") from None
        if _CONTROLS.search(text) is not None:
            raise ContentError("unsafe_message", "an encoded word hides a control character")
