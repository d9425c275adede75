"""How does SendGrid answer ``POST /v3/mail/send``? As strict as its published description, and on one recipient."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from ulak.sandbox import magic
from ulak.sandbox.credentials import API_KEY
from ulak.sandbox.parcel import Parcel, Part, address_in, broken
from ulak.sandbox.vendor import Asked, Said, Verdict, decoder, shape

PATH = "/v3/mail/send"
RESET = 5
"""Seconds from now that a throttled answer names."""

_RESERVED = frozenset(
    {
        "bcc", "cc", "content-transfer-encoding", "content-type", "dkim-signature", "from", "received", "reply-to",
        "subject", "to", "x-sg-eid", "x-sg-id",
    }
)  # fmt: skip
Filled = Annotated[str, Meta(min_length=1)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """An object of the API's description."""


class _Address(_Strict):
    email: Filled
    name: str = ""


class _Personalization(_Strict):
    to: Annotated[list[_Address], Meta(min_length=1, max_length=1_000)]
    custom_args: dict[str, str] = {}


class _Part(_Strict):
    type: Filled
    value: Filled


class _File(_Strict):
    content: Annotated[bytes, Meta(min_length=1)]
    filename: str
    type: Filled = "application/octet-stream"
    disposition: str = "attachment"
    content_id: str | None = None


class _Switch(_Strict):
    enable: bool


class _Mail(_Strict):
    personalizations: Annotated[list[_Personalization], Meta(min_length=1, max_length=1_000)]
    from_: _Address = msgspec.field(name="from")
    subject: Filled
    content: Annotated[list[_Part], Meta(min_length=1)]
    reply_to: _Address | None = None
    headers: dict[str, str] = {}
    attachments: list[_File] = []
    categories: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=10)] = []
    tracking_settings: dict[str, _Switch] = {}
    ip_pool_name: Annotated[str, Meta(min_length=2, max_length=64)] | None = None


_decode = decoder(_Mail)


class SendgridApi:
    """The fake; ``new_id`` names each message that it takes."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def judge(self, asked: Asked, now: datetime) -> Verdict:
        """What SendGrid makes of a request."""
        if asked.method != "POST" or asked.target != PATH:
            return Verdict(magic.grid(405 if asked.target == PATH else 404, "no such call"))
        if not hmac.compare_digest(asked.headers.get("authorization", "").encode(), f"Bearer {API_KEY}".encode()):
            return Verdict(magic.SENDGRID["forbidden"])
        if asked.headers.get("content-type", "").partition(";")[0] != "application/json":
            return Verdict(magic.grid(415, "content-type must be application/json"))
        try:
            mail: _Mail = _decode(asked.body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Verdict(magic.grid(400, shape(error)))
        wrong = _wrong(mail)
        if wrong is not None:
            return Verdict(magic.grid(400, wrong))
        parcel = self._parcel(mail)
        canned = magic.SENDGRID.get(parcel.word) or magic.proxy(parcel.word)
        if canned is not None:
            return Verdict(_dated(canned, now), [parcel] if parcel.word in magic.TAKEN else [])
        return Verdict(Said(202, b"", (("X-Message-Id", parcel.vendor_id),)), [parcel], cut=parcel.word == "cut")

    def _parcel(self, mail: _Mail) -> Parcel:
        to = mail.personalizations[0]
        sender = f"{mail.from_.name} <{mail.from_.email}>" if mail.from_.name else mail.from_.email
        parts = [Part(part.type, part.value.encode()) for part in mail.content]
        parts += [Part(file.type, file.content, file.filename, file.content_id) for file in mail.attachments]
        return Parcel(
            "sendgrid",
            self._new_id(),
            sender,
            address_in(to.to[0].email) or "",
            mail.subject,
            parts,
            list(mail.headers.items()),
            to.custom_args,
            mail.ip_pool_name or "",
        )


def _wrong(mail: _Mail) -> str | None:
    """What the description can't say."""
    if len(mail.personalizations) != 1 or len(mail.personalizations[0].to) != 1:
        return "the sandbox wants exactly one recipient"
    boxes = [mail.from_, mail.personalizations[0].to[0], *([mail.reply_to] if mail.reply_to else [])]
    if any(address_in(box.email) != box.email for box in boxes):
        return "Does not contain a valid address."
    if _RESERVED & {name.lower() for name in mail.headers}:
        return "a reserved header"
    if broken([mail.subject, *(box.name for box in boxes), *mail.headers, *mail.headers.values()]):
        return "a control character"
    if len(msgspec.json.encode(mail.personalizations[0].custom_args)) >= 10_000:
        return "custom_args are longer than 10,000 bytes"
    return None


def _dated(canned: Said, now: datetime) -> Said:
    """The answer with its moment filled in."""
    reset = str(int(now.timestamp()) + RESET)
    return Said(canned.status, canned.body, [(name, value.format(reset=reset)) for name, value in canned.headers])
