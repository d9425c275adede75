"""How does a client come back without a new token, at the price of one HMAC?

A ticket is given out on an open connection and repeats what its token said. It can be used until its own end (at
most an hour) to open another, which then lives as long as the *token* would have: a ticket never makes a session
longer, and is refused once its token was revoked.

    base64url( version | key id, 4 bytes | msgpack of the members of ``_Ticket`` | HMAC-SHA256 over all before )

There is no dot in it, so it can't be taken for a token. The keys are the installation's (``installation_secrets``,
purpose ``ticket``); every node has them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

import msgspec

from ulak.core.token import MAX_TOKEN, Claims, TokenError

MAX_LIFE = 3_600
"""Seconds that a ticket may be used."""

_VERSION = b"\x01"
_HEAD = 5
_TAG = 32
_CONTEXT = b"ulak ticket\0"


class _Ticket(msgspec.Struct, frozen=True, gc=False, array_like=True):
    ends_at: float
    tenant: int
    user: str
    expires_at: float
    issued_at: float
    token_id: str | None
    topics: tuple[str, ...]
    position: int
    device: str | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Ticket).decode


def make(claims: Claims, device: str | None, kid: int, secret: bytes, now: float) -> str:
    """A ticket for these claims, signed with the secret of ``kid``; empty when it would be longer than a token."""
    held = _Ticket(
        min(now + MAX_LIFE, claims.expires_at),
        claims.tenant,
        claims.user,
        claims.expires_at,
        claims.issued_at,
        claims.token_id,
        claims.topics,
        claims.position,
        device,
    )
    body = _VERSION + kid.to_bytes(4, "big") + _encode(held)
    text = base64.urlsafe_b64encode(body + _tag(secret, body)).rstrip(b"=").decode("ascii")
    return text if len(text) <= MAX_TOKEN else ""


def read(ticket: str, secrets: Mapping[int, bytes], now: float) -> Claims:
    """Believe a ticket or raise ``TokenError``; every refusal means "come with a token"."""
    raw = _bytes(ticket)
    if len(raw) <= _HEAD + _TAG or raw[:1] != _VERSION:
        raise TokenError("ticket_invalid")
    secret = secrets.get(int.from_bytes(raw[1:_HEAD], "big"))
    if secret is None or not hmac.compare_digest(raw[-_TAG:], _tag(secret, raw[:-_TAG])):
        raise TokenError("ticket_invalid")
    try:
        held = _decode(raw[_HEAD:-_TAG])
    except msgspec.MsgspecError:
        raise TokenError("ticket_invalid") from None
    if held.ends_at <= now:
        raise TokenError("ticket_invalid")
    return Claims(
        held.tenant,
        held.user,
        held.expires_at,
        held.issued_at,
        held.token_id,
        held.topics,
        held.position,
        held.device,
    )


def _tag(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, _CONTEXT + body, "sha256")


def _bytes(ticket: str) -> bytes:
    """Base64url without padding, in its one canonical spelling."""
    if len(ticket) > MAX_TOKEN or not ticket.isascii():
        raise TokenError("ticket_invalid")
    text = ticket.encode("ascii")
    try:
        raw = base64.urlsafe_b64decode(text + b"==")
    except (binascii.Error, ValueError):
        raise TokenError("ticket_invalid") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise TokenError("ticket_invalid")
    return raw
