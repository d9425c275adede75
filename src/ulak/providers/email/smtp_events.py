"""What does a delivery status notification (RFC 3464) say of a message that was sent by SMTP?

Bounces of SMTP come as mail to the return path. Whoever receives that mail posts it here, raw, with a bearer
secret. It is written by servers of every age and by strangers, so nothing of it is trusted beyond its form: it must
name a message of ours by an id that only its recipient can know (the returned header, the Message-ID, or the
return path), and what follows concerns that message's own address, whoever the report names.

Only ``Action: failed`` is a bounce.

Anybody may send mail to a return path, so the work that one may cause is bounded, too: the standard library's parser
compares each line with every boundary around it, and takes quadratic time for a long ``Content-Type``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import Compat32
from email.utils import parsedate_to_datetime

from ulak.core.model import Account
from ulak.core.receipt import attempt_in, delivery_in, redact, status_in
from ulak.providers.contract import (
    Callback,
    FetchCertificate,
    Permanence,
    Receipt,
    ReceiptKind,
    Rejected,
    Told,
    Verified,
)
from ulak.providers.keys import unknown

KEYS = ("events_secret",)
"""Settings of an account; ``docs/how-to/email-events.md`` explains them."""

SHORTEST = 16
"""Characters of the secret. A shorter one is never believed."""

PARTS = 50
"""Parts and recipients looked at in one report; more is no report."""

READ = 128 * 1024
"""Octets of a mail that are read: what is returned to us follows after the report."""

DEPTH = 16
"""Boundaries in what is read. A report has one, and the mail that it returns a few."""

LONGEST_FIELD = 2_000
"""Characters of a header field that are looked at."""

_ACTIONS: Mapping[str, ReceiptKind] = {
    "failed": ReceiptKind.BOUNCED,
    "delayed": ReceiptKind.DEFERRED,
    "delivered": ReceiptKind.DELIVERED,
    "relayed": ReceiptKind.ACCEPTED,
    "expanded": ReceiptKind.ACCEPTED,
}

_PERMANENT = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""The address does not exist, has moved or is closed: as in the table of ``smtp``."""


class _Bounded(Compat32):
    """The library's plainest rules, for fields that are not longer than any that is needed."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:LONGEST_FIELD]


_POLICY = _Bounded()
_BOUNDARY = re.compile(rb"boundary", re.IGNORECASE)


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's ``events_…`` settings are unusable."""
    for key, value in settings.items():
        if key not in KEYS:
            raise unknown(key, KEYS)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key}: must be text")


def needs(callback: Callback, account: Account, now: datetime) -> Sequence[FetchCertificate]:
    """Nothing: what is compared is known."""
    del callback, account, now
    return ()


def verify(callback: Callback, account: Account, fetched: Mapping[str, bytes], now: datetime) -> Verified | Rejected:
    """Compare the bearer secret in constant time."""
    del fetched, now
    secret = account.settings.get("events_secret")
    if not isinstance(secret, str) or len(secret) < SHORTEST:
        return Rejected("unsigned")
    given = callback.headers.get("authorization", "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, f"Bearer {secret}".encode()):
        return Rejected("credentials", 401)
    return Verified()


def receipts(body: bytes) -> Told:
    """What a report says of each recipient; a body that is none, or of no message of ours, is unknown."""
    try:
        return _read(body)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # The standard library's parser meets broken mail with whatever its own code runs into.
        return Told(unknown=1)


def _read(body: bytes) -> Told:
    start = body[:READ]
    if len(_BOUNDARY.findall(start)) > DEPTH:
        return Told(unknown=1)
    mail = message_from_bytes(start, policy=_POLICY)
    parts = [part for part, _ in zip(mail.walk(), range(PARTS), strict=False)]
    report = next((part for part in parts if part.get_content_type() == "message/delivery-status"), None)
    attempt, delivery = _ours(mail, parts)
    if report is None or (attempt is None and delivery is None):
        return Told(unknown=1)
    digest = hashlib.sha256(body).hexdigest()
    found = [
        _receipt(block, f"{digest}:{n}", (attempt, delivery), _when(block, mail))
        for n, block in enumerate(_blocks(report))
    ]
    told = tuple(receipt for receipt in found if receipt is not None)
    return Told(told, unknown=0 if told else 1)


def _blocks(report: Mail) -> Iterator[Mail]:
    """The groups of fields for each recipient; the first group is that of the message (RFC 3464 §2.1)."""
    payload = report.get_payload()
    if not isinstance(payload, list):
        return
    for block in payload[:PARTS]:
        if isinstance(block, Mail) and block.get("Action"):
            yield block


def _receipt(block: Mail, event_id: str, ids: tuple[str | None, str | None], at: datetime | None) -> Receipt | None:
    action = _field(block, "Action").lower()
    kind = _ACTIONS.get(action)
    if kind is None:
        return None
    said = _field(block, "Diagnostic-Code")
    status = status_in(_field(block, "Status"), said)
    if status.endswith(".0.0"):
        status = status_in(said) or status  # "5.0.0" says nothing; the server's own words may
    return Receipt(
        event_id=event_id,
        kind=kind,
        permanence=_permanence(status) if kind is ReceiptKind.BOUNCED else None,
        attempt=ids[0],
        delivery=ids[1],
        at=at,
        reason=f"dsn_{action}{'_' if status else ''}{status}",
        detail=redact(said),
        status=status,
    )


def _permanence(status: str) -> Permanence:
    if status in _PERMANENT:
        return Permanence.PERMANENT
    return Permanence.TRANSIENT if status[:2] == "4." or status == "5.2.2" else Permanence.UNKNOWN


def _ours(mail: Mail, parts: Sequence[Mail]) -> tuple[str | None, str | None]:
    """Our attempt and delivery: from the returned message, else from the address that the report came to."""
    delivery = None
    for returned in parts:
        for block in _returned(returned):
            attempt = attempt_in(_field(block, "X-Ulak-Attempt"))
            if attempt is not None:
                return attempt, None
            delivery = delivery or delivery_in(_field(block, "X-Ulak-Delivery") or _field(block, "Message-ID"))
    for name in ("To", "Delivered-To", "X-Original-To", "Envelope-To"):
        attempt = attempt_in(_field(mail, name))
        if attempt is not None:
            return attempt, None
    return None, delivery or delivery_in(_field(mail, "In-Reply-To")) or delivery_in(_field(mail, "References"))


def _returned(part: Mail) -> Iterator[Mail]:
    """The header of a message that a report gives back, whole or as text/rfc822-headers."""
    kind, payload = part.get_content_type(), part.get_payload()
    if kind == "message/rfc822" and isinstance(payload, list):
        yield from (each for each in payload[:1] if isinstance(each, Mail))
    elif kind in ("text/rfc822-headers", "message/rfc822-headers"):
        text = part.get_payload(decode=True)
        if isinstance(text, bytes):
            yield message_from_bytes(text, policy=_POLICY)


def _when(block: Mail, mail: Mail) -> datetime | None:
    for text in (_field(block, "Last-Attempt-Date"), _field(mail, "Date")):
        try:
            at = parsedate_to_datetime(text)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _field(mail: Mail, name: str) -> str:
    value = mail.get(name)
    return str(value).strip()[:LONGEST_FIELD] if value is not None else ""
