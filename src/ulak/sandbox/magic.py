"""Which recipients make a fake vendor fail, and what happens to a message that it took?

The word before a ``+`` or the ``@`` decides: ``throttled+1@example.com`` is answered as throttled. The table in
``docs/how-to/email-providers.md`` is this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from ulak.sandbox.vendor import Said, page, said

ANSWERS: Mapping[str, str] = {
    "throttled": "too fast; SendGrid names the second from which it goes on",
    "quota": "the daily quota or the credits are used up",
    "paused": "the account is paused or not approved",
    "unverified": "the sender is not verified",
    "forbidden": "the key is refused",
    "missing": "an address or a configuration set that does not exist",
    "rejected": "the content is refused",
    "invalid": "a value is refused",
    "too-large": "413",
    "inactive": "the vendor's own list holds the recipient (Postmark); elsewhere refused as a value",
    "internal": "500",
    "unavailable": "503",
    "bad-gateway": "a proxy's 502; not taken",
    "gateway-timeout": "a proxy's 504, although the message was taken",
    "page": "200 with a web page; not taken",
    "cut": "taken, but only half of the answer comes",
}
"""What a word does to the call."""

TAKEN = frozenset({"gateway-timeout", "cut"})
"""Words whose message is kept although its sender hears nothing of it."""


class Event(StrEnum):
    """What a vendor tells later."""

    DELIVERED = "delivered"
    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE = "soft_bounce"
    COMPLAINT = "complaint"
    DEFERRED = "deferred"
    OPEN = "open"
    CLICK = "click"


EVENTS: Mapping[str, Sequence[Event]] = {
    "hard-bounce": (Event.HARD_BOUNCE,),
    "soft-bounce": (Event.SOFT_BOUNCE,),
    "late-bounce": (Event.DELIVERED, Event.HARD_BOUNCE),
    "complaint": (Event.DELIVERED, Event.COMPLAINT),
    "deferred": (Event.DEFERRED, Event.DELIVERED),
    "open": (Event.DELIVERED, Event.OPEN),
    "click": (Event.DELIVERED, Event.OPEN, Event.CLICK),
    "silent": (),
}
"""What follows on a message that was taken; any other recipient gets it delivered."""

_PAGES: Mapping[str, Said] = {
    "too-large": page(413, "413 Request Entity Too Large"),
    "unavailable": page(503, "503 Service Unavailable"),
    "bad-gateway": page(502, "502 Bad Gateway"),
    "gateway-timeout": page(504, "504 Gateway Time-out"),
    "page": page(200, "Sign in to the network"),
}


def proxy(word: str) -> Said | None:
    """What stands between us and any vendor says to this word, if anything."""
    return _PAGES.get(word)


def events(word: str) -> Sequence[Event]:
    """What follows on a message to a recipient with this word."""
    return EVENTS.get(word, (Event.DELIVERED,))


def aws(status: int, name: str, message: str) -> Said:
    """An error as AWS writes it."""
    return said(status, {"message": message}, ("x-amzn-ErrorType", f"{name}:http://internal.amazon.com/coral/"))


SES: Mapping[str, Said] = {
    "throttled": aws(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
    "quota": aws(429, "TooManyRequestsException", "Daily message quota exceeded."),
    "paused": aws(400, "SendingPausedException", "Email sending is disabled for this account."),
    "unverified": aws(400, "MessageRejected", "Email address is not verified. The following identities failed."),
    "forbidden": aws(403, "SignatureDoesNotMatch", "The request signature we calculated does not match."),
    "missing": aws(404, "NotFoundException", "Configuration set does not exist."),
    "rejected": aws(400, "MessageRejected", "Transaction failed: unsupported file type."),
    "invalid": aws(400, "BadRequestException", "Missing final '@domain'"),
    "inactive": aws(400, "BadRequestException", "Illegal address"),
    "internal": aws(500, "InternalFailure", ""),
}


def grid(status: int, message: str, *headers: tuple[str, str]) -> Said:
    """An error as SendGrid writes it."""
    return said(status, {"errors": [{"message": message, "field": None, "help": None}]}, *headers)


SENDGRID: Mapping[str, Said] = {
    "throttled": grid(429, "too many requests", ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "{reset}")),
    "quota": grid(401, "Maximum credits exceeded"),
    "paused": grid(403, "Your account is not allowed to send."),
    "unverified": grid(403, "The from address does not match a verified Sender Identity."),
    "forbidden": grid(401, "The provided authorization grant is invalid, expired, or revoked"),
    "missing": grid(404, "not found"),
    "rejected": grid(400, "The content is not allowed."),
    "invalid": grid(400, "Does not contain a valid address."),
    "inactive": grid(400, "Does not contain a valid address."),
    "internal": grid(500, "internal error"),
}

POSTMARK: Mapping[str, tuple[int, str]] = {
    "throttled": (429, "Rate limit exceeded."),
    "quota": (405, "You have run out of credits."),
    "paused": (412, "Your account is pending approval."),
    "unverified": (400, "The 'From' address you supplied is not a Sender Signature on your account."),
    "forbidden": (10, "The Server Token you provided is wrong."),
    "missing": (1235, "The stream provided does not exist on this server."),
    "rejected": (411, "Forbidden attachment type."),
    "invalid": (300, "Error parsing 'To': Illegal email domain."),
    "inactive": (406, "You tried to send to a recipient that has been marked as inactive."),
    "internal": (500, "A fault of Postmark's own."),
}
"""Code and sentence of the result of one message."""
