"""What may the holder of a link in a message do, and did we make that link?

A link is a capability: whoever holds it may do the one thing that it was made for, without a login, years later.
So it says as little as possible and lets itself be changed in nothing:

    base64url( version | key id, 4 bytes | AES-SIV( msgpack of one of the structs below ) )

AES-SIV (RFC 5297) encrypts and authenticates with one key and needs no nonce: the same link always has the same
text, and nothing can be read from it, not even a user id (which may be an address). The keys are the
installation's (``installation_secrets``, purpose ``link``); a retired key still opens what it once sealed, because
an unsubscribe link must work for as long as the mail lies in a mailbox.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_LINK = 2_048
"""Characters of a token; longer ones are not looked at."""

_VERSION = b"\x01"
_HEAD = 5
_CONTEXT = b"ulak link"


class LinkError(ValueError):
    """Not a link of ours, or one that somebody changed. There is nothing more to be said about it."""


class Unsubscribe(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="u"):
    """Refuse one category on one channel, and take that back.

    ``delivery`` is the message that carried the link, for the record of consent.
    """

    tenant: int
    user: str
    channel: str
    category: str
    delivery: UUID | None = None


class Preferences(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="p"):
    """Refuse any category on any channel, as far as it may be refused, and take back what links refused."""

    tenant: int
    user: str
    delivery: UUID | None = None


class Click(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="c"):
    """Go to an address that stood in a message. It is inside the seal, so it can't be exchanged for another."""

    tenant: int
    delivery: UUID
    url: str


class Open(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="o"):
    """A message was shown."""

    tenant: int
    delivery: UUID


class Told(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="r"):
    """Tell what became of a push: it was shown, opened or dismissed. It travels in the push itself.

    Pushes are small (4 kB at most, with all that is in them), so its id is written in 16 bytes, not in letters.
    """

    tenant: int
    delivery: UUID


Link = Unsubscribe | Preferences | Click | Open | Told

_encode = msgspec.msgpack.Encoder().encode
_encode_short = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decoder: msgspec.msgpack.Decoder[Link] = msgspec.msgpack.Decoder(Link)


def make(link: Link, kid: int, secret: bytes) -> str:
    """The token of a link, sealed with the secret of ``kid``; raises ``ValueError`` if it would be too long."""
    head = _VERSION + kid.to_bytes(4, "big")
    said = (_encode_short if isinstance(link, Told) else _encode)(link)
    token = base64.urlsafe_b64encode(head + _cipher(secret).encrypt(said, [_CONTEXT, head]))
    text = token.rstrip(b"=").decode("ascii")
    if len(text) > MAX_LINK:
        raise ValueError(f"a link has at most {MAX_LINK} characters")
    return text


def read(token: str, secrets: Mapping[int, bytes]) -> Link:
    """What a token permits; raises ``LinkError``."""
    raw = _bytes(token)
    head, sealed = raw[:_HEAD], raw[_HEAD:]
    secret = secrets.get(int.from_bytes(head[1:], "big"))
    if head[:1] != _VERSION or secret is None:
        raise LinkError
    try:
        return _decoder.decode(_cipher(secret).decrypt(sealed, [_CONTEXT, head]))
    except (InvalidTag, ValueError):  # msgspec's own error is a ValueError, too
        raise LinkError from None


def key_of(token: str) -> int:
    """The id of the key that a token says it was sealed with; raises ``LinkError`` where it says none."""
    return int.from_bytes(_bytes(token)[1:_HEAD], "big")


@lru_cache(maxsize=16)
def _cipher(secret: bytes) -> AESSIV:
    """The cipher of a secret; its key is derived, so that no other use of the secret can disturb this one."""
    return AESSIV(HKDF(SHA256(), 32, None, _CONTEXT).derive(secret))


def _bytes(token: str) -> bytes:
    """Base64url without padding, in its one canonical spelling."""
    if not _HEAD < len(token) <= MAX_LINK or not token.isascii():
        raise LinkError
    text = token.encode("ascii")
    try:
        raw = base64.urlsafe_b64decode(text + b"==")
    except (binascii.Error, ValueError):
        raise LinkError from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise LinkError
    return raw
