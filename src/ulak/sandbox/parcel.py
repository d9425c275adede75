"""What is a message that a fake vendor took, and how does it look in the mailbox?

Vendors take JSON and write the message themselves; so does this, in a writer of its own that shares no code with
ours, so that the mailbox shows what a vendor would have made of the request.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec

from ulak.core.content.address import normalise_email

_ADDRESS = re.compile(r"(?:.*<([^<>]+)>|([^<>]+))\Z", re.DOTALL)
_BROKEN = re.compile("[\x00-\x1f\x7f\u2028\u2029]")


class Part(msgspec.Struct, frozen=True):
    """One leaf of a message; an attachment has a ``filename``, an inline image a ``cid``."""

    kind: str
    data: bytes
    filename: str | None = None
    cid: str | None = None


class Parcel(msgspec.Struct, frozen=True):
    """One message to one recipient; ``attempt`` and ``delivery`` are Ulak's ids as the vendor's field carried them.

    ``sender`` is a mailbox with its display name, ``recipient`` an address, ``vendor_id`` the vendor's own id.
    """

    vendor: str
    vendor_id: str
    sender: str
    recipient: str
    subject: str
    parts: Sequence[Part]
    headers: Sequence[tuple[str, str]] = ()
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    stream: str = ""

    @property
    def attempt(self) -> str:
        """Ulak's id of the call."""
        return self.tags.get("ulak_attempt", "")

    @property
    def word(self) -> str:
        """What the recipient's local part asks of the sandbox: all before a ``+`` or the ``@``."""
        return re.split("[+@]", self.recipient, maxsplit=1)[0].lower()

    def raw(self, at: datetime) -> bytes:
        """The message as RFC 5322 has it."""
        boundary = f"=_{self.vendor_id}"
        head = [
            ("From", _mailbox(self.sender)),
            ("To", self.recipient),
            ("Subject", _encoded(self.subject)),
            ("Date", format_datetime(at.astimezone(UTC))),
            ("MIME-Version", "1.0"),
            ("X-Sandbox-Vendor", self.vendor),
            ("X-Sandbox-Id", self.vendor_id),
            *self.headers,
            ("Content-Type", f'multipart/mixed; boundary="{boundary}"'),
        ]
        if all(name.lower() != "message-id" for name, _ in head):
            head.insert(4, ("Message-ID", f"<{self.vendor_id}@sandbox.ulak.invalid>"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in head)
        body = b"".join(f"--{boundary}\r\n".encode() + _leaf(part) for part in self.parts)
        return lines.encode("utf-8") + b"\r\n" + body + f"--{boundary}--\r\n".encode()


def address_in(mailbox: str) -> str | None:
    """The one address of ``Name <address>`` or ``address``; None for anything else, lists above all."""
    match = _ADDRESS.match(mailbox.strip())
    return None if match is None else normalise_email(match[1] or match[2])


def broken(texts: Iterable[str]) -> bool:
    """Whether one of the texts would break out of its line."""
    return any(_BROKEN.search(text) for text in texts)


def _leaf(part: Part) -> bytes:
    charset = "; charset=utf-8" if part.kind.startswith("text/") and part.filename is None else ""
    head = [f"Content-Type: {part.kind}{charset}", "Content-Transfer-Encoding: base64"]
    if part.filename is not None:
        how = "inline" if part.cid else "attachment"
        head.append(f'Content-Disposition: {how}; filename="{_encoded(part.filename)}"')
    if part.cid:
        head.append(f"Content-ID: <{part.cid}>")
    flat = b64encode(part.data)
    lines = b"\r\n".join(flat[at : at + 76] for at in range(0, len(flat), 76))
    return "\r\n".join(head).encode() + b"\r\n\r\n" + lines + b"\r\n"


def _mailbox(mailbox: str) -> str:
    name, bracket, rest = mailbox.rpartition("<")
    name = name.strip()
    if not name.isascii() and name[:1] == name[-1:] == '"':
        name = name[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return f"{_encoded(name)} {bracket}{rest}" if bracket and name else mailbox


def _encoded(text: str) -> str:
    """As it came if it is ASCII, which is what lets an encoded word through; else one word of our own."""
    return text if text.isascii() else f"=?utf-8?b?{b64encode(text.encode()).decode()}?="
