"""Which addresses do the fake vendors hold back, and how are they taken off?

Each keeps what its events told: hard bounces and complaints. As the real ones, SES has one list for an account,
SendGrid several, Postmark one for each message stream, from which complaints can't be removed. The record is only
kept and shown: a magic recipient goes on to do what its word says.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from ulak.sandbox import magic
from ulak.sandbox.credentials import API_KEY, SERVER_TOKEN
from ulak.sandbox.magic import Event
from ulak.sandbox.parcel import Parcel, address_in
from ulak.sandbox.ses_api import unsigned
from ulak.sandbox.vendor import Asked, Judge, Said, Verdict, decoder, said, shape

KEPT = 10_000
SES = "/v2/email/suppression/addresses/"
SENDGRID = "/v3/suppression/"
POSTMARK = "/message-streams/"
LISTS: Mapping[str, Mapping[Event, str]] = {
    "ses": {Event.HARD_BOUNCE: "account", Event.COMPLAINT: "account"},
    "sendgrid": {Event.HARD_BOUNCE: "bounces", Event.COMPLAINT: "spam_reports"},
}
"""Where a vendor writes an address after an event; Postmark's lists are its streams."""


class Held(msgspec.Struct, frozen=True):
    """Where an address is held back; ``place`` is the vendor's list or stream."""

    vendor: str
    place: str
    address: str


class _Named(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    email_address: Annotated[str, Meta(min_length=3)]


class _Wanted(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    suppressions: Annotated[list[_Named], Meta(min_length=1, max_length=50)]


_decode = decoder(_Wanted)


class Suppressed:
    """The vendors' lists and the calls that change them."""

    def __init__(self) -> None:
        self.held: dict[Held, Event] = {}

    def judges(self) -> Mapping[str, tuple[str, Judge]]:
        """The vendors by the beginning of their paths."""
        return {
            SES: ("ses", self.ses),
            SENDGRID: ("sendgrid", self.sendgrid),
            POSTMARK: ("postmark", self.postmark),
        }

    def taken(self, parcel: Parcel) -> None:
        """A message was taken: its recipient is held back where its word leads to that."""
        for event in magic.events(parcel.word):
            if event in LISTS["ses"]:
                place = LISTS[parcel.vendor][event] if parcel.vendor in LISTS else parcel.stream
                self.held[Held(parcel.vendor, place, parcel.recipient.lower())] = event
        while len(self.held) > KEPT:
            del self.held[next(iter(self.held))]

    def ses(self, asked: Asked, now: datetime) -> Verdict:
        """``DeleteSuppressedDestination``."""
        address = address_in(_last(asked))
        if asked.method != "DELETE" or asked.target != SES + _raw(asked):
            return Verdict(magic.aws(404, "UnknownOperationException", ""))
        refusal = unsigned(asked, now)
        if refusal is not None:
            return Verdict(magic.aws(403, *refusal))
        if address is None:
            return Verdict(magic.aws(400, "BadRequestException", "Invalid email address."))
        if self._lift(Held("ses", "account", address)):
            return Verdict(said(200, {}))
        return Verdict(magic.aws(404, "NotFoundException", "Email address does not exist on your suppression list."))

    def sendgrid(self, asked: Asked, now: datetime) -> Verdict:
        """An address of one list."""
        del now
        place, _, rest = asked.target.removeprefix(SENDGRID).partition("/")
        if asked.method != "DELETE" or place not in ("bounces", "blocks", "spam_reports") or rest != _raw(asked):
            return Verdict(magic.grid(404, "no such call"))
        if not hmac.compare_digest(asked.headers.get("authorization", "").encode(), f"Bearer {API_KEY}".encode()):
            return Verdict(magic.SENDGRID["forbidden"])
        if address_in(_last(asked)) is None:
            return Verdict(magic.grid(400, "Does not contain a valid address."))
        gone = self._lift(Held("sendgrid", place, _last(asked)))
        return Verdict(Said(204) if gone else magic.grid(404, "Not found"))

    def postmark(self, asked: Asked, now: datetime) -> Verdict:
        """Addresses of one stream."""
        del now
        stream, _, rest = asked.target.removeprefix(POSTMARK).partition("/")
        if asked.method != "POST" or rest != "suppressions/delete":
            return Verdict(said(404, {"ErrorCode": 701, "Message": "no such call"}))
        if not hmac.compare_digest(asked.headers.get("x-postmark-server-token", "").encode(), SERVER_TOKEN.encode()):
            return Verdict(said(401, {"ErrorCode": 10, "Message": "The Server Token you provided is wrong."}))
        try:
            wanted: _Wanted = _decode(asked.body)
        except (msgspec.DecodeError, RecursionError) as error:
            return Verdict(said(422, {"ErrorCode": 403, "Message": shape(error)}))
        return Verdict(
            said(200, {"Suppressions": [self._off(stream, each.email_address) for each in wanted.suppressions]})
        )

    def _off(self, stream: str, address: str) -> dict[str, str | None]:
        one = Held("postmark", stream, address.lower())
        status, message = "Deleted", None
        if address_in(address) is None:
            status, message = "Failed", "An invalid email address was provided."
        elif self.held.get(one) is Event.COMPLAINT:
            status, message = "Failed", "You do not have the required authority to change this suppression."
        else:
            self._lift(one)
        return {"EmailAddress": address, "Status": status, "Message": message}

    def _lift(self, one: Held) -> bool:
        return self.held.pop(msgspec.structs.replace(one, address=one.address.lower()), None) is not None


def _raw(asked: Asked) -> str:
    """The last segment of the path as it came; a query is none of it."""
    return asked.target.rpartition("/")[2]


def _last(asked: Asked) -> str:
    return unquote(_raw(asked), errors="replace")
