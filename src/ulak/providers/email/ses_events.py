"""What does Amazon SES say of a message later, and how is it known to be Amazon that says so?

SES publishes to an SNS topic, SNS posts here (``core/sign/sns.py``). Both shapes are read: event publishing of a
configuration set (``eventType``) and notifications of an identity (``notificationType``). Open and click name
no recipient, which does no harm: each message of ours has one.
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ulak.core.model import Account
from ulak.core.receipt import attempt_in, redact, status_in, time_in
from ulak.core.sign import sns
from ulak.providers.contract import (
    Callback,
    ConfirmSubscription,
    FetchCertificate,
    Permanence,
    Receipt,
    ReceiptKind,
    Rejected,
    Told,
    Verified,
)
from ulak.providers.keys import unknown

KEYS: Mapping[str, type] = {
    "events_topics": list,
    "events_username": str,
    "events_password": str,
    "events_certificate_host": str,
}
"""Settings of an account; ``docs/how-to/email-events.md`` explains each."""

OLDEST = timedelta(minutes=75)
"""SNS tries an HTTP endpoint for an hour at most (its longest delivery policy), with the same timestamp."""

AHEAD = timedelta(minutes=10)
"""How far Amazon's clock may be ahead of ours."""

_LISTED = frozenset({"Suppressed", "OnAccountSuppressionList"})
_ABOUT_THE_MESSAGE = frozenset({"MessageTooLarge", "ContentRejected", "AttachmentRejected"})
_KINDS: Mapping[str, ReceiptKind] = {
    "Send": ReceiptKind.ACCEPTED,
    "Reject": ReceiptKind.REJECTED,
    "Rendering Failure": ReceiptKind.REJECTED,
    "RenderingFailure": ReceiptKind.REJECTED,
    "Bounce": ReceiptKind.BOUNCED,
    "Complaint": ReceiptKind.COMPLAINED,
    "Delivery": ReceiptKind.DELIVERED,
    "DeliveryDelay": ReceiptKind.DEFERRED,
    "Open": ReceiptKind.OPENED,
    "Click": ReceiptKind.CLICKED,
    "Subscription": ReceiptKind.UNSUBSCRIBED,
}
_PERMANENCE: Mapping[str, Permanence] = {
    "Permanent": Permanence.PERMANENT,
    "Transient": Permanence.TRANSIENT,
    "Undetermined": Permanence.UNKNOWN,
}


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's ``events_…`` settings are unusable."""
    for key, value in settings.items():
        if key not in KEYS:
            raise unknown(key, KEYS)
        if not isinstance(value, KEYS[key]):
            raise ValueError(f"{key}: must be {'a list' if KEYS[key] is list else 'text'}")  # noqa: TRY004
    topics = settings.get("events_topics")
    if not isinstance(topics, list) or not topics:
        raise ValueError("events_topics: list the ARNs of the SNS topics that may post here")
    for topic in topics:
        if not isinstance(topic, str) or not sns.is_topic(topic):
            raise ValueError("events_topics: must hold ARNs such as arn:aws:sns:eu-west-1:123456789012:ses-events")
    if ("events_username" in settings) != ("events_password" in settings):
        raise ValueError("events_username: goes together with events_password_env")
    if not sns.is_loopback(str(settings.get("events_certificate_host", "127.0.0.1:1"))):
        raise ValueError("events_certificate_host: is for a stand-in on this machine, such as 127.0.0.1:4566")


def needs(callback: Callback, account: Account, now: datetime) -> Sequence[FetchCertificate]:
    """The signing certificate, once everything that can be judged without it is in order."""
    envelope = _admitted(callback, account, now)
    return () if isinstance(envelope, Rejected) else (FetchCertificate(envelope.SigningCertURL),)


def verify(callback: Callback, account: Account, fetched: Mapping[str, bytes], now: datetime) -> Verified | Rejected:
    """Judge type, topic, age, where the certificate lies, and the signature."""
    envelope = _admitted(callback, account, now)
    if isinstance(envelope, Rejected):
        return envelope
    certificate = fetched.get(envelope.SigningCertURL)
    if certificate is None or not sns.verify(envelope, certificate, now):
        return Rejected("signature")
    if envelope.Type == sns.NOTIFICATION:
        return Verified()
    if envelope.Type == sns.UNSUBSCRIBE:
        return Verified(events=False)
    url = envelope.SubscribeURL or ""
    if not sns.subscribe_url(url, envelope.TopicArn, _stand_in(account)):
        return Rejected("subscribe_url")
    return Verified(events=False, then=(ConfirmSubscription(url),))


def _admitted(callback: Callback, account: Account, now: datetime) -> sns.Envelope | Rejected:
    """The envelope, when all but its signature is right."""
    refusal = _authorised(callback, account)
    if refusal is not None:
        return refusal
    envelope = sns.read(callback.body)
    if envelope is None or envelope.Type != callback.headers.get("x-amz-sns-message-type"):
        return Rejected("envelope", 400)
    topics = account.settings.get("events_topics")
    if not isinstance(topics, list) or envelope.TopicArn not in topics:
        return Rejected("topic")
    at = time_in(envelope.Timestamp)
    if at is None or not now - OLDEST <= at <= now + AHEAD:
        return Rejected("age")
    if not sns.certificate_url(envelope.SigningCertURL, _stand_in(account)):
        return Rejected("certificate_url")
    return envelope


def _authorised(callback: Callback, account: Account) -> Rejected | None:
    """SNS sends the credentials of its URL only after it was asked for them."""
    name, password = account.settings.get("events_username"), account.settings.get("events_password")
    if name is None and password is None:
        return None
    given = callback.headers.get("authorization")
    if given is None:
        return Rejected("challenge", 401, challenge=True)
    wanted = b"Basic " + base64.b64encode(f"{name}:{password}".encode())
    if name is None or password is None or not hmac.compare_digest(given.encode("utf-8", "replace"), wanted):
        return Rejected("credentials", 401, challenge=True)
    return None


def _stand_in(account: Account) -> str | None:
    place = account.settings.get("events_certificate_host")
    return place if isinstance(place, str) else None


def receipts(body: bytes) -> Told:
    """The event of a notification: one receipt for each recipient that it names."""
    envelope = sns.read(body)
    event = _event(envelope.Message) if envelope is not None else None
    if envelope is None or event is None:
        return Told(unknown=1)
    name = event.get("eventType") or event.get("notificationType")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        # SES posts one such line when a topic is set up; it is no event.
        return Told() if envelope.Message.startswith("Successfully validated SNS topic") else Told(unknown=1)
    return Told(tuple(_receipts(envelope, event, kind)))


def _event(message: str) -> dict[str, Any] | None:
    try:
        event = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return event if isinstance(event, dict) else None


def _receipts(envelope: sns.Envelope, event: Mapping[str, Any], kind: ReceiptKind) -> Iterator[Receipt]:
    mail = _dict(event.get("mail"))
    part = _dict(event.get(_PARTS.get(kind, "")))
    named = part.get("bouncedRecipients") or part.get("complainedRecipients") or part.get("delayedRecipients")
    rows = [_dict(row) for row in named] if isinstance(named, list) and named else [{}]
    everybody = mail.get("destination")
    only = everybody[0] if isinstance(everybody, list) and len(everybody) == 1 else None
    # One bounce may be told twice, by the identity's topic and by the configuration set's.
    key = part.get("feedbackId") or envelope.MessageId
    for row in rows:
        to = row.get("emailAddress") or only
        base = Receipt(
            event_id=f"{kind}:{key}:{to or ''}",
            kind=kind,
            attempt=_attempt(mail),
            vendor_id=_text(mail.get("messageId")),
            recipient=_text(to),
            at=time_in(part.get("timestamp")) or time_in(mail.get("timestamp")) or time_in(envelope.Timestamp),
        )
        yield _explained(base, part, row)


_PARTS: Mapping[ReceiptKind, str] = {
    ReceiptKind.BOUNCED: "bounce",
    ReceiptKind.COMPLAINED: "complaint",
    ReceiptKind.DELIVERED: "delivery",
    ReceiptKind.DEFERRED: "deliveryDelay",
    ReceiptKind.OPENED: "open",
    ReceiptKind.CLICKED: "click",
    ReceiptKind.REJECTED: "reject",
    ReceiptKind.UNSUBSCRIBED: "subscription",
}


def _explained(base: Receipt, part: Mapping[str, Any], row: Mapping[str, Any]) -> Receipt:
    """Add why: the words of SES, and what they say of the address."""
    replace = msgspec.structs.replace
    if base.kind is ReceiptKind.BOUNCED:
        type_, sub = str(part.get("bounceType"))[:40], str(part.get("bounceSubType"))[:40]
        status = status_in(row.get("status"), row.get("diagnosticCode"))
        if sub in _ABOUT_THE_MESSAGE:
            status = status or "5.6.0"
        return replace(
            base,
            permanence=_PERMANENCE.get(type_, Permanence.UNKNOWN),
            reason=_word(f"ses_{type_}_{sub}"),
            detail=redact(str(row.get("diagnosticCode") or "")),
            status=status,
            listed=sub in _LISTED,
        )
    if base.kind is ReceiptKind.COMPLAINED:
        # A complaint about an address that SES had listed before is not a new one.
        listed = part.get("complaintSubType") in _LISTED
        return replace(base, reason=_word(f"ses_{part.get('complaintFeedbackType') or 'complaint'}"), listed=listed)
    if base.kind is ReceiptKind.DEFERRED:
        said = row.get("diagnosticCode")
        status = status_in(row.get("status"), said)
        return replace(
            base, reason=_word(f"ses_{part.get('delayType')}"), detail=redact(str(said or "")), status=status
        )
    if base.kind is ReceiptKind.UNSUBSCRIBED:
        chosen = _dict(part.get("newTopicPreferences"))
        kind = ReceiptKind.UNSUBSCRIBED if chosen.get("unsubscribeAll") is True else ReceiptKind.RESUBSCRIBED
        return replace(base, kind=kind, reason="ses_subscription")
    return replace(base, reason=f"ses_{base.kind}", detail=redact(_text(part.get("reason")) or ""))


def _attempt(mail: Mapping[str, Any]) -> str | None:
    """Our id, from the message's tags, or from its headers where SES includes them."""
    for values in _dict(mail.get("tags")).values():
        for value in values if isinstance(values, list) else ():
            found = attempt_in(value) if isinstance(value, str) else None
            if found:
                return found
    headers = mail.get("headers")
    for header in headers if isinstance(headers, list) else ():
        row = _dict(header)
        if str(row.get("name")).lower() == "x-ulak-attempt":
            return attempt_in(str(row.get("value")))
    return None


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _word(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())[:60]
