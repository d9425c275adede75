"""How does Postmark answer ``POST /email``, ``POST /email/batch`` and ``GET /messages/outbound``?

The first two give one result a message, each by itself; the third searches what they took, in one stream.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from ulak.sandbox import magic
from ulak.sandbox.credentials import SERVER_TOKEN
from ulak.sandbox.parcel import Parcel, Part, address_in, broken
from ulak.sandbox.vendor import Asked, Verdict, decoder, said, shape

PATHS = ("/email", "/email/batch")
SEARCH = "/messages/outbound"
MOST = 500
MOST_REACHED = 10_000
FILTERS = frozenset({"recipient", "fromemail", "messagestream"})
"""Filters of a search that the fake knows, besides ``metadata_NAME``."""

Taken = Callable[[], Iterable[tuple[datetime, Parcel]]]
"""What all vendors took, newest first."""


class _Strict(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    """An object of the API."""


class _Header(_Strict):
    name: Annotated[str, Meta(min_length=1)]
    value: str


class _File(_Strict):
    name: Annotated[str, Meta(min_length=1)]
    content: Annotated[bytes, Meta(min_length=1)]
    content_type: str
    content_id: str | None = msgspec.field(default=None, name="ContentID")


class _Email(_Strict):
    from_: str = msgspec.field(name="From")
    to: str
    subject: str = ""
    text_body: str | None = None
    html_body: str | None = None
    reply_to: str | None = None
    tag: Annotated[str, Meta(max_length=1_000)] | None = None
    headers: list[_Header] = []
    metadata: Annotated[dict[str, str], Meta(max_length=10)] = {}
    message_stream: str = "outbound"
    attachments: list[_File] = []
    track_opens: bool = False
    track_links: str = "None"


_decode = decoder(list[msgspec.Raw])
_decode_email = decoder(_Email)


class PostmarkApi:
    """The fake; ``new_id`` names each message that it takes, ``taken`` tells which those were."""

    def __init__(self, new_id: Callable[[], str], taken: Taken) -> None:
        self._new_id = new_id
        self._taken = taken

    def judge(self, asked: Asked, now: datetime) -> Verdict:
        """What Postmark makes of a request."""
        path, _, query = asked.target.partition("?")
        search = (asked.method, path) == ("GET", SEARCH)
        if not search and (asked.method != "POST" or asked.target not in PATHS):
            return Verdict(said(404, {"ErrorCode": 701, "Message": "no such call"}))
        if not hmac.compare_digest(asked.headers.get("x-postmark-server-token", "").encode(), SERVER_TOKEN.encode()):
            return Verdict(said(401, {"ErrorCode": 10, "Message": "The Server Token you provided is wrong."}))
        return self._search(query) if search else self._send(asked, now)

    def _search(self, query: str) -> Verdict:
        pairs = parse_qsl(query, keep_blank_values=True)
        wanted = dict(pairs)
        count, offset = _number(wanted.pop("count", "")), _number(wanted.pop("offset", ""))
        if count is None or offset is None or not 0 < count <= MOST or count + offset > MOST_REACHED:
            return Verdict(
                said(422, {"ErrorCode": 600, "Message": "'count' and 'offset' are required, within limits."})
            )
        strange = [name for name in wanted if name not in FILTERS and not name.startswith("metadata_")]
        if strange or len(wanted) + 2 != len(pairs):
            return Verdict(said(422, {"ErrorCode": 600, "Message": "A filter is unknown or given twice."}))
        fitting = [
            (at, parcel) for at, parcel in self._taken() if parcel.vendor == "postmark" and _fits(parcel, wanted)
        ]
        messages = [_shown(at, parcel) for at, parcel in islice(fitting, offset, offset + count)]
        return Verdict(said(200, {"TotalCount": len(fitting), "Messages": messages}))

    def _send(self, asked: Asked, now: datetime) -> Verdict:
        single = asked.target == "/email"
        try:
            emails = [msgspec.Raw(asked.body)] if single else _decode(asked.body)
        except (msgspec.DecodeError, RecursionError):
            return Verdict(said(422, {"ErrorCode": 402, "Message": "Received invalid JSON input."}))
        if len(emails) > MOST:
            return Verdict(said(422, {"ErrorCode": 410, "Message": "Too many batch messages."}))
        judged = [self._one(email, now) for email in emails]
        words = {parcel.word for parcel, _ in judged if parcel is not None}
        canned = next(filter(None, map(magic.proxy, sorted(words))), None)
        taken = [parcel for parcel, result in judged if parcel is not None and result["ErrorCode"] == 0]
        if canned is not None:
            return Verdict(canned, taken if words & magic.TAKEN else [])
        results = [result for _, result in judged]
        status = 422 if single and results[0]["ErrorCode"] else 200
        return Verdict(said(status, results[0] if single else results), taken, cut="cut" in words)

    def _one(self, raw: bytes, now: datetime) -> tuple[Parcel | None, dict[str, Any]]:
        try:
            email: _Email = _decode_email(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            return None, {"ErrorCode": 403, "Message": shape(error)}
        wrong = _wrong(email)
        if wrong is not None:
            return None, {"ErrorCode": 300, "Message": wrong}
        parcel = self._parcel(email)
        if parcel.word in magic.POSTMARK:
            code, text = magic.POSTMARK[parcel.word]
            return parcel, {"ErrorCode": code, "Message": text}
        result = {"To": email.to, "SubmittedAt": now.isoformat(), "MessageID": parcel.vendor_id}
        return parcel, {**result, "ErrorCode": 0, "Message": "OK"}

    def _parcel(self, email: _Email) -> Parcel:
        texts = [("text/plain", email.text_body), ("text/html", email.html_body)]
        parts = [Part(kind, text.encode()) for kind, text in texts if text]
        parts += [
            Part(file.content_type, file.content, file.name, (file.content_id or "").removeprefix("cid:") or None)
            for file in email.attachments
        ]
        return Parcel(
            "postmark",
            self._new_id(),
            email.from_,
            address_in(email.to) or "",
            email.subject,
            parts,
            [(header.name, header.value) for header in email.headers],
            email.metadata,
            email.message_stream,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _fits(parcel: Parcel, wanted: dict[str, str]) -> bool:
    """Whether a message is asked for; a search that names no stream looks in ``outbound``."""
    facts = {f"metadata_{name}": value for name, value in parcel.tags.items()}
    facts |= {"recipient": parcel.recipient, "fromemail": address_in(parcel.sender) or ""}
    facts |= {"messagestream": parcel.stream}
    return all(facts.get(name) == value for name, value in {"messagestream": "outbound", **wanted}.items())


def _shown(at: datetime, parcel: Parcel) -> dict[str, Any]:
    return {
        "MessageID": parcel.vendor_id,
        "MessageStream": parcel.stream,
        "To": [{"Email": parcel.recipient, "Name": None}],
        "Recipients": [parcel.recipient],
        "From": parcel.sender,
        "Subject": parcel.subject,
        "ReceivedAt": at.isoformat(),
        "Status": "Sent",
        "Metadata": dict(parcel.tags),
    }


def _wrong(email: _Email) -> str | None:
    if address_in(email.from_) is None:
        return "Invalid 'From' address."
    if address_in(email.to) is None:
        return "Invalid 'To' address."
    if not email.text_body and not email.html_body:
        return "Provide either email TextBody or HtmlBody or both."
    if any(len(name) > 20 or len(value) > 80 for name, value in email.metadata.items()):
        return "Metadata is too long."
    fields = [text for header in email.headers for text in (header.name, header.value)]
    if broken([email.subject, email.from_, email.reply_to or "", email.tag or "", *fields]):
        return "a control character"
    return None
