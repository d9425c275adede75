"""What does Postmark say of a message later, and how is it known to be Postmark that says so?

Postmark signs nothing. It sends what it is told to: the user name and password of the webhook's URL, or a header
with a secret. Whether an address is dead is told by ``Inactive``, not by the type of the bounce alone.
https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ulak.core.model import Account
from ulak.core.receipt import attempt_in, redact, status_in, time_in
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

KEYS = ("events_username", "events_password", "events_header", "events_secret")
"""Settings of an account; ``docs/how-to/email-events.md`` explains them."""

HEADER = "X-Ulak-Secret"
"""The header that carries the secret, unless ``events_header`` names another."""

SHORTEST = 16
"""Characters of a secret: it is all that keeps strangers out. A shorter one is never believed."""

_NO_BOUNCE: Mapping[str, ReceiptKind] = {
    "AutoResponder": ReceiptKind.DELIVERED,
    "AddressChange": ReceiptKind.DELIVERED,
    "ChallengeVerification": ReceiptKind.DEFERRED,
    "Transient": ReceiptKind.DEFERRED,
    "Unsubscribe": ReceiptKind.UNSUBSCRIBED,
    "Subscribe": ReceiptKind.RESUBSCRIBED,
    "SpamComplaint": ReceiptKind.COMPLAINED,
    "TemplateRenderingFailed": ReceiptKind.REJECTED,
}
"""Records of type Bounce that are none: the mail arrived, is still on its way, or was never sent."""

_DEAD = frozenset({"HardBounce", "BadEmailAddress", "ManuallyDeactivated"})
_POLICY = frozenset({"SpamNotification", "Blocked", "DMARCPolicy", "SMTPApiError", "VirusNotification", "ISPBlock"})


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's ``events_…`` settings are unusable."""
    for key, value in settings.items():
        if key not in KEYS:
            raise unknown(key, KEYS)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key}: must be text")
    if ("events_username" in settings) != ("events_password" in settings):
        raise ValueError("events_username: goes together with events_password_env")
    if ("events_username" in settings) == ("events_secret" in settings):
        raise ValueError("events_secret_env: give it, or events_username and events_password_env, and not both")
    if re.fullmatch(r"[A-Za-z0-9-]{1,60}", str(settings.get("events_header", HEADER))) is None:
        raise ValueError("events_header: must be the name of a header")


def needs(callback: Callback, account: Account, now: datetime) -> Sequence[FetchCertificate]:
    """Nothing: what is compared is known."""
    del callback, account, now
    return ()


def verify(callback: Callback, account: Account, fetched: Mapping[str, bytes], now: datetime) -> Verified | Rejected:
    """Compare the credentials in constant time."""
    del fetched, now
    settings = account.settings
    secret, password = settings.get("events_secret"), settings.get("events_password")
    if isinstance(secret, str) and len(secret) >= SHORTEST:
        name, wanted = str(settings.get("events_header", HEADER)).lower(), secret
    elif isinstance(password, str) and len(password) >= SHORTEST:
        pair = f"{settings.get('events_username')}:{password}".encode()
        name, wanted = "authorization", f"Basic {base64.b64encode(pair).decode()}"
    else:
        return Rejected("unsigned")
    given = callback.headers.get(name, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
        return Rejected("credentials", 401, challenge=name == "authorization")
    return Verified()


def receipts(body: bytes) -> Told:
    """The event of one record."""
    try:
        record = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Told(unknown=1)
    found = _receipt(record) if isinstance(record, dict) else None
    return Told(unknown=1) if found is None else Told((found,))


def _receipt(record: Mapping[str, Any]) -> Receipt | None:
    kind = _text(record.get("RecordType"))
    if kind == "Bounce":
        return _bounce(record)
    if kind == "Delivery":
        details = redact(_text(record.get("Details")))
        return _base(record, ReceiptKind.DELIVERED, "DeliveredAt", "postmark_delivery", detail=details)
    if kind == "SpamComplaint":
        return _base(record, ReceiptKind.COMPLAINED, "BouncedAt", "postmark_spam_complaint")
    if kind == "Open":
        return _base(record, ReceiptKind.OPENED, "ReceivedAt", "postmark_open")
    if kind == "Click":
        return _base(record, ReceiptKind.CLICKED, "ReceivedAt", "postmark_click")
    if kind == "SubscriptionChange":
        return _change(record)
    return None


def _base(record: Mapping[str, Any], kind: ReceiptKind, time: str, reason: str, **more: Any) -> Receipt:
    recipient = _text(record.get("Recipient")) or _text(record.get("Email"))
    said = _text(record.get(time))
    # A bounce has a number of its own; the other records are told apart by message, recipient and time.
    identity = record.get("ID") or f"{_text(record.get('MessageID'))}:{recipient.lower()}:{said}"
    metadata = record.get("Metadata")
    attempts = [attempt_in(v) for v in (metadata.values() if isinstance(metadata, dict) else ()) if isinstance(v, str)]
    return Receipt(
        event_id=f"{record.get('RecordType')}:{identity}",
        kind=kind,
        attempt=next(filter(None, attempts), None),
        vendor_id=_text(record.get("MessageID")) or None,
        recipient=recipient or None,
        at=time_in(said),
        reason=reason,
        **more,
    )


def _bounce(record: Mapping[str, Any]) -> Receipt:
    name = _text(record.get("Type"))
    reason = f"postmark_{''.join(c for c in name.lower() if c.isascii() and c.isalnum())[:40]}"
    said = redact(_text(record.get("Details")) or _text(record.get("Description")))
    kind = _NO_BOUNCE.get(name)
    if kind is not None:
        return _base(record, kind, "BouncedAt", reason, detail=said)
    status = status_in(record.get("Details"), record.get("Description"))
    inactive = record.get("Inactive") is True
    if name in _POLICY:
        status = "5.7.0"
    dead = name in _DEAD and inactive
    return _base(
        record,
        ReceiptKind.BOUNCED,
        "BouncedAt",
        reason,
        permanence=Permanence.PERMANENT if dead else Permanence.TRANSIENT if name != "Unknown" else Permanence.UNKNOWN,
        detail=said,
        # Postmark has judged the address by more than this one answer.
        status="" if dead else status,
        listed=name == "ManuallyDeactivated",
    )


def _change(record: Mapping[str, Any]) -> Receipt:
    """Postmark put an address on its list, or took it off: a bounce and a complaint were told before."""
    if record.get("SuppressSending") is not True:
        return _base(record, ReceiptKind.RESUBSCRIBED, "ChangedAt", "postmark_reactivated")
    why = _text(record.get("SuppressionReason"))
    if why == "HardBounce":
        dead = Permanence.PERMANENT
        return _base(record, ReceiptKind.BOUNCED, "ChangedAt", "postmark_inactive", permanence=dead, listed=True)
    if why == "SpamComplaint":
        return _base(record, ReceiptKind.COMPLAINED, "ChangedAt", "postmark_inactive", listed=True)
    return _base(record, ReceiptKind.UNSUBSCRIBED, "ChangedAt", "postmark_manual_suppression")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
