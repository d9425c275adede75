"""How does Amazon SES, API v2, answer ``SendEmail``?

As strict as its model says (unknown fields, wrong types and lengths are refused), with a real check of the
signature: key, scope, age, the fields that must be signed, and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from ulak.core.sign.sigv4 import ALGORITHM, Keys, canonical, folded, signature
from ulak.sandbox import magic
from ulak.sandbox.credentials import ACCESS_KEY, SECRET_KEY
from ulak.sandbox.parcel import Parcel, Part, address_in, broken
from ulak.sandbox.vendor import Asked, Verdict, decoder, said, shape

PATH = "/v2/email/outbound-emails"
AGE = timedelta(minutes=15)

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^/,]+)/(\d{{8}})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)
_RESERVED = frozenset(
    {
        "bcc", "cc", "content-disposition", "content-type", "date", "from", "message-id", "mime-version", "reply-to",
        "return-path", "subject", "to",
    }
)  # fmt: skip


class _Strict(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """An object of the API's model."""


class _Text(_Strict):
    data: str
    charset: str = "UTF-8"


class _Body(_Strict):
    text: _Text | None = None
    html: _Text | None = None


class _Header(_Strict):
    name: Annotated[str, Meta(min_length=1, max_length=126, pattern=r"^[!-9;-@A-~]+$")]
    value: Annotated[str, Meta(min_length=1, max_length=995, pattern=r"^[ -~]*$")]


class _File(_Strict):
    raw_content: bytes
    file_name: Annotated[str, Meta(max_length=255)]
    content_disposition: str = "ATTACHMENT"
    content_id: Annotated[str, Meta(min_length=1, max_length=78)] | None = None
    content_type: Annotated[str, Meta(min_length=1, max_length=78)] = "application/octet-stream"


class _Simple(_Strict):
    subject: _Text
    body: _Body
    headers: Annotated[list[_Header], Meta(max_length=15)] = []
    attachments: list[_File] = []


class _Content(_Strict):
    simple: _Simple


class _Destination(_Strict):
    to_addresses: list[str] = []
    cc_addresses: list[str] = []
    bcc_addresses: list[str] = []


class _Tag(_Strict):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,256}$")]
    value: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,256}$")]


class _SendEmail(_Strict):
    content: _Content
    from_email_address: str
    destination: _Destination
    email_tags: Annotated[list[_Tag], Meta(max_length=50)] = []
    reply_to_addresses: list[str] = []
    configuration_set_name: str | None = None


_decode = decoder(_SendEmail)


class SesApi:
    """The fake; ``new_id`` names each message that it takes."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def judge(self, asked: Asked, now: datetime) -> Verdict:
        """What SES makes of a request."""
        if asked.method != "POST" or asked.target != PATH:
            return Verdict(magic.aws(404, "UnknownOperationException", ""))
        refusal = unsigned(asked, now)
        if refusal is not None:
            return Verdict(magic.aws(403, *refusal))
        try:
            mail: _SendEmail = _decode(asked.body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Verdict(magic.aws(400, "BadRequestException", shape(error)))
        wrong = _wrong(mail)
        if wrong is not None:
            return Verdict(magic.aws(400, "BadRequestException", wrong))
        parcel = self._parcel(mail)
        canned = magic.SES.get(parcel.word) or magic.proxy(parcel.word)
        if canned is not None:
            return Verdict(canned, [parcel] if parcel.word in magic.TAKEN else [])
        return Verdict(said(200, {"MessageId": parcel.vendor_id}), [parcel], cut=parcel.word == "cut")

    def _parcel(self, mail: _SendEmail) -> Parcel:
        simple = mail.content.simple
        texts = [("text/plain", simple.body.text), ("text/html", simple.body.html)]
        parts = [Part(kind, text.data.encode()) for kind, text in texts if text is not None]
        parts += [
            Part(file.content_type, file.raw_content, file.file_name, file.content_id) for file in simple.attachments
        ]
        return Parcel(
            "ses",
            self._new_id(),
            mail.from_email_address,
            address_in(mail.destination.to_addresses[0]) or "",
            simple.subject.data,
            parts,
            [(header.name, header.value) for header in simple.headers],
            {tag.name: tag.value for tag in mail.email_tags},
            mail.configuration_set_name or "",
        )


def unsigned(asked: Asked, now: datetime) -> tuple[str, str] | None:
    """Name and sentence of the refusal of a signature; None for a good one."""
    match = _AUTHORIZATION.fullmatch(asked.headers.get("authorization", ""))
    if match is None:
        return "MissingAuthenticationTokenException", "Missing Authentication Token"
    key, _, region, service, names, given = match.groups()
    if key != ACCESS_KEY or service != "ses":
        return "UnrecognizedClientException", "The security token included in the request is invalid."
    try:
        at = datetime.strptime(asked.headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "IncompleteSignatureException", "X-Amz-Date is missing or wrong."
    if abs(now - at) > AGE:
        return "RequestExpired", "Signature expired."
    listed = names.split(";")
    if not {"host", "x-amz-date", "content-type"} <= set(listed) or listed != sorted(listed):
        return "IncompleteSignatureException", "A field that must be signed is not."
    fields = folded(asked.headers.items())
    request = canonical(
        asked.method,
        f"http://{asked.headers.get('host', '')}{asked.target}",
        [(name, fields.get(name, "")) for name in listed],
        hashlib.sha256(asked.body).hexdigest(),
    )
    wanted = signature(request, Keys(ACCESS_KEY, SECRET_KEY, region, service), at)
    if not hmac.compare_digest(wanted, given):
        return "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."
    return None


def _wrong(mail: _SendEmail) -> str | None:
    """What the model can't say."""
    to = mail.destination
    if len(to.to_addresses) != 1 or to.cc_addresses or to.bcc_addresses or address_in(to.to_addresses[0]) is None:
        return "the sandbox wants exactly one recipient"
    if address_in(mail.from_email_address) is None or any(address_in(box) is None for box in mail.reply_to_addresses):
        return "Missing final '@domain'"
    simple = mail.content.simple
    if simple.body.text is None and simple.body.html is None:
        return "Body is empty"
    names = [header.name.lower() for header in simple.headers]
    if _RESERVED & set(names) or len(set(names)) < len(names):
        return "a header is not allowed, or comes twice"
    boxes = [mail.from_email_address, *mail.reply_to_addresses]
    if broken([simple.subject.data, *boxes, *(file.file_name for file in simple.attachments)]):
        return "a control character"
    if not all(box.isascii() for box in boxes):
        return "Non-ASCII characters must be encoded (RFC 2047)"
    return None
