"""What do nodes say to one another on the bus, byte by byte?

A message is one byte of version and a MessagePack array that begins with its kind. Nodes of two releases
share a bus during an upgrade, therefore:

* fields are only added at the end of a structure, with a default; what is unknown at the end is skipped;
* a message of another version, of an unknown kind, or of wrong types is nothing (``None``): the reader
  counts it and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ulak.core.connections import Question, Reply
from ulak.core.inbox import News

VERSION = b"\x01"


class Said(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An ephemeral message, ready to be shown: to a topic's listeners, or to everybody of the tenant."""

    tenant: int
    topic: str | None
    text: str


class Beat(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=0):
    """A node hears itself. ``by`` is the boot number of the sender, here and below."""

    by: int


class Tell(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """News of inboxes and ephemeral messages."""

    by: int
    news: Sequence[News] = ()
    said: Sequence[Said] = ()


class Ask(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """A question; ``number`` is never used twice by one node, so an answer can't reach another caller."""

    by: int
    number: int
    question: Question


class Answer(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """The answer to the question of that number."""

    by: int
    number: int
    reply: Reply


Message = Beat | Tell | Ask | Answer

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return VERSION + _encode(message)


def decode(data: bytes) -> Message | None:
    """The message of these bytes; None if this release does not know it."""
    if data[:1] != VERSION:
        return None
    try:
        found: Message = _decoder.decode(data[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found
