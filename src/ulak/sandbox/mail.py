"""What does a received message say, parsed by the standard library and by none of our own code?

Parsing is slow and happens only when somebody reads. It never fails: what cannot be read is told as a defect.
"""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message

ONCE = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type", "reply-to", "sender")
NEEDED = ("from", "date")


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as a reader would see it; ``defects`` are what RFC 5322 has against it."""

    subject: str
    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    defects: tuple[str, ...]


def parse(raw: bytes) -> Mail:
    """Read one message."""
    message = message_from_bytes(raw)
    defects = [type(defect).__name__ for defect in message.defects]
    names = [name.lower() for name in message.keys()]  # noqa: SIM118 - fields, not the message, are iterated
    defects += [f"no {name}" for name in NEEDED if name not in names]
    defects += [f"{names.count(name)} {name}" for name in ONCE if names.count(name) > 1]
    headers = tuple((name, _decoded(value)) for name, value in message.items())
    return Mail(
        subject=_decoded(message.get("Subject", "")),
        headers=headers,
        text=_part(message, "text/plain", defects),
        html=_part(message, "text/html", defects),
        defects=tuple(defects),
    )


def _decoded(value: object) -> str:
    """A header without its folds and encoded words."""
    flat = "".join(str(value).splitlines())
    try:
        return str(make_header(decode_header(flat)))
    except (LookupError, ValueError, MessageError):  # an unknown charset, or octets that are not of it
        return flat


def _part(message: Message, kind: str, defects: list[str]) -> str | None:
    for part in message.walk():
        if part.get_content_type() == kind and not part.is_multipart():
            data = part.get_payload(decode=True)
            if not isinstance(data, bytes):
                continue
            try:
                return data.decode(part.get_content_charset("utf-8")).replace("\r\n", "\n")
            except (LookupError, ValueError):
                defects.append(f"{kind} is not of its charset")
                return data.decode("latin-1")
    return None
