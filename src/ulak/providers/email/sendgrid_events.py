"""What does SendGrid say of a message later, and how is it known to be SendGrid that says so?

The Event Webhook posts arrays of events, several of them at once and now and then one of them many times. It signs
timestamp and raw body with ECDSA on P-256; the account's public key is base64 of DER, not PEM.
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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

KEYS = ("events_public_key",)
"""Settings of an account; ``docs/how-to/email-events.md`` explains them."""

WINDOW = timedelta(minutes=10)
"""How far the signed time may lie from ours: longer, and a recorded request could be replayed."""

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

_KINDS: Mapping[str, ReceiptKind] = {
    "processed": ReceiptKind.PROCESSED,
    "dropped": ReceiptKind.REJECTED,
    "deferred": ReceiptKind.DEFERRED,
    "delivered": ReceiptKind.DELIVERED,
    "bounce": ReceiptKind.BOUNCED,
    "open": ReceiptKind.OPENED,
    "click": ReceiptKind.CLICKED,
    "spamreport": ReceiptKind.COMPLAINED,
    "unsubscribe": ReceiptKind.UNSUBSCRIBED,
    "group_unsubscribe": ReceiptKind.UNSUBSCRIBED,
    "group_resubscribe": ReceiptKind.RESUBSCRIBED,
}

_LISTED = frozenset({"bounced address", "spam reporting address", "unsubscribed address", "invalid"})
"""Reasons of ``dropped`` that stand for a list of SendGrid's own."""

_DEAD = frozenset({"bounced address", "invalid"})
"""Those of them that say that the address takes no mail."""


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's ``events_…`` settings are unusable."""
    for name in settings:
        if name not in KEYS:
            raise unknown(name, KEYS)
    key = settings.get("events_public_key")
    if not isinstance(key, str) or _key(key) is None:
        raise ValueError("events_public_key: must be the verification key as SendGrid shows it (base64)")


@lru_cache(maxsize=64)
def _key(text: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None


def needs(callback: Callback, account: Account, now: datetime) -> Sequence[FetchCertificate]:
    """Nothing: the key is known."""
    del callback, account, now
    return ()


def verify(callback: Callback, account: Account, fetched: Mapping[str, bytes], now: datetime) -> Verified | Rejected:
    """Judge the signature over timestamp and raw body, then whether that time is now."""
    del fetched
    key = _key(str(account.settings.get("events_public_key")))
    stamp, signature = callback.headers.get(TIMESTAMP), callback.headers.get(SIGNATURE)
    if key is None or not stamp or not signature:
        return Rejected("unsigned")
    try:
        key.verify(
            base64.b64decode(signature, validate=True), stamp.encode() + callback.body, ec.ECDSA(hashes.SHA256())
        )
    except (ValueError, binascii.Error, InvalidSignature):
        return Rejected("signature")
    at = time_in(int(stamp)) if stamp.isascii() and stamp.isdigit() and len(stamp) < 12 else None
    if at is None or abs(now - at) > WINDOW:
        return Rejected("age")
    return Verified()


def receipts(body: bytes) -> Told:
    """The events of one array, each by itself: one that can't be read spoils no other."""
    try:
        events = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Told(unknown=1)
    if not isinstance(events, list):
        return Told(unknown=1)
    found = [_receipt(event) for event in events]
    told = tuple(receipt for receipt in found if receipt is not None)
    return Told(told, len(found) - len(told))


def _receipt(event: Any) -> Receipt | None:
    name = event.get("event") if isinstance(event, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    identity = event.get("sg_event_id") if isinstance(event, dict) else None
    if kind is None or not isinstance(identity, str) or not identity:
        return None
    message = event.get("sg_message_id")
    base = Receipt(
        event_id=identity,
        kind=kind,
        attempt=_attempt(event),
        vendor_id=message.partition(".")[0] if isinstance(message, str) else None,
        recipient=_text(event.get("email")) or None,
        at=time_in(event.get("timestamp")),
        reason=f"sendgrid_{name}",
        detail=redact(_text(event.get("reason")) or _text(event.get("response"))),
        status=status_in(event.get("status"), event.get("reason"), event.get("response")),
    )
    return _explained(base, event)


def _explained(base: Receipt, event: Mapping[str, Any]) -> Receipt:
    """Add what a bounce or a drop says of the address."""
    if base.kind is ReceiptKind.BOUNCED:
        blocked = event.get("type") == "blocked"
        return msgspec.structs.replace(
            base,
            permanence=Permanence.TRANSIENT if blocked else Permanence.PERMANENT,
            reason="sendgrid_blocked" if blocked else "sendgrid_bounce",
        )
    if base.kind is ReceiptKind.REJECTED:
        why = _text(event.get("reason")).strip().lower()
        return msgspec.structs.replace(
            base,
            permanence=Permanence.PERMANENT if why in _DEAD else None,
            listed=why in _LISTED,
            status="",
        )
    return base


def _attempt(event: Mapping[str, Any]) -> str | None:
    """Our id, from the custom arguments, which SendGrid puts beside its own keys."""
    for value in event.values():
        if isinstance(value, str) and value.startswith("att_"):
            found = attempt_in(value)
            if found:
                return found
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
