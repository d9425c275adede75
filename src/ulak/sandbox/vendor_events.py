"""What does each fake vendor post when something has become of a message, and how does it prove who it is?

SES posts through SNS: an envelope signed by version 1 or 2, with a certificate that the sandbox made itself and serves.
SendGrid signs time and raw body by ECDSA with a key that everybody knows (it proves nothing, and is the same after
every start). Postmark signs nothing and authenticates by basic auth or a header.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from ulak.sandbox.credentials import TOPIC
from ulak.sandbox.magic import Event
from ulak.sandbox.parcel import Parcel

CERTIFICATE_PATH = "/SimpleNotificationService-0123456789abcdef.pem"

SENDGRID_KEY = ec.derive_private_key(0x5A4DB0C5, ec.SECP256R1())
"""Its public half is ``credentials.PUBLIC_KEY``."""


class Happened(msgspec.Struct, frozen=True):
    """One event of one message; ``id`` stays the same over all repetitions."""

    id: str
    event: Event
    parcel: Parcel
    at: datetime


class Post(msgspec.Struct, frozen=True):
    """One HTTP request to a callback's address."""

    headers: Sequence[tuple[str, str]]
    body: bytes


class Sns:
    """Signs envelopes; the key and its certificate are made when they are first needed."""

    def __init__(self) -> None:
        self._key: rsa.RSAPrivateKey | None = None
        self._certificate = b""

    def certificate(self, now: datetime) -> bytes:
        """The certificate as PEM."""
        if self._key is None:
            self._key = rsa.generate_private_key(65_537, 2048)
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.sandbox.ulak.invalid")])
            builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
            builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            made = builder.not_valid_after(now + timedelta(days=30)).sign(self._key, hashes.SHA256())
            self._certificate = made.public_bytes(serialization.Encoding.PEM)
        return self._certificate

    def post(self, fields: Mapping[str, str], base: str, version: str, now: datetime) -> Post:
        """An envelope of ``Type`` and what else is given, signed; ``base`` is where the certificate is served."""
        self.certificate(now)
        assert self._key is not None
        full = {**fields, "TopicArn": TOPIC, "Timestamp": iso(now)}
        text = "".join(f"{name}\n{full[name]}\n" for name in sorted(full))
        hashed = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - what version 1 of SNS is
        signature = b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashed)).decode()
        envelope = {
            **full,
            "SignatureVersion": version,
            "Signature": signature,
            "SigningCertURL": f"{base}{CERTIFICATE_PATH}",
        }
        headers = [
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("x-amz-sns-message-type", fields["Type"]),
            ("x-amz-sns-topic-arn", TOPIC),
        ]
        return Post(headers, msgspec.json.encode(envelope))


def iso(at: datetime) -> str:
    """A time as AWS and Postmark write it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


# ------------------------------------------------------------------------------------------- SES


def ses_message(happened: Happened) -> str:
    """The JSON text that SES publishes to the topic."""
    parcel, at = happened.parcel, iso(happened.at)
    tags = {name: [value] for name, value in parcel.tags.items()}
    mail = {
        "timestamp": at,
        "source": parcel.sender,
        "sendingAccountId": "000000000000",
        "messageId": parcel.vendor_id,
        "destination": [parcel.recipient],
        "headersTruncated": False,
        "headers": [{"name": name, "value": value} for name, value in parcel.headers],
        "commonHeaders": {"to": [parcel.recipient], "subject": parcel.subject, "messageId": parcel.vendor_id},
        "tags": {"ses:configuration-set": [parcel.stream or "default"], **tags},
    }
    name, part = _ses_part(happened, at)
    return msgspec.json.encode({"eventType": name, "mail": mail, name[0].lower() + name[1:]: part}).decode()


def _ses_part(happened: Happened, at: str) -> tuple[str, dict[str, Any]]:
    to = happened.parcel.recipient
    who = {"emailAddress": to}
    match happened.event:
        case Event.HARD_BOUNCE:
            said = {**who, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}
            bounce = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [said]}
            return "Bounce", {**bounce, "timestamp": at, "feedbackId": happened.id}
        case Event.SOFT_BOUNCE:
            said = {**who, "action": "failed", "status": "4.2.2", "diagnosticCode": "smtp; 452 4.2.2 mailbox full"}
            bounce = {"bounceType": "Transient", "bounceSubType": "MailboxFull", "bouncedRecipients": [said]}
            return "Bounce", {**bounce, "timestamp": at, "feedbackId": happened.id}
        case Event.COMPLAINT:
            complaint = {"complainedRecipients": [who], "timestamp": at, "feedbackId": happened.id}
            return "Complaint", {**complaint, "complaintFeedbackType": "abuse", "complaintSubType": None}
        case Event.DEFERRED:
            delayed = {**who, "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1 unable to connect"}
            return "DeliveryDelay", {"timestamp": at, "delayType": "TransientCommunicationFailure",
                                     "expirationTime": at, "delayedRecipients": [delayed]}  # fmt: skip
        case Event.OPEN:
            return "Open", {"ipAddress": "192.0.2.1", "timestamp": at, "userAgent": "sandbox"}
        case Event.CLICK:
            return "Click", {"ipAddress": "192.0.2.1", "timestamp": at, "userAgent": "sandbox",
                             "link": "https://example.com/", "linkTags": None}  # fmt: skip
        case Event.DELIVERED:
            return "Delivery", {"timestamp": at, "processingTimeMillis": 500, "recipients": [to],
                                "smtpResponse": "250 2.0.0 OK", "reportingMTA": "sandbox.ulak.invalid"}  # fmt: skip


# ------------------------------------------------------------------------------------------- SendGrid

_SENDGRID: Mapping[Event, dict[str, Any]] = {
    Event.DELIVERED: {"event": "delivered", "response": "250 2.0.0 OK"},
    Event.HARD_BOUNCE: {"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 user unknown",
                        "bounce_classification": "Invalid Address"},
    Event.SOFT_BOUNCE: {"event": "bounce", "type": "blocked", "status": "4.2.2", "reason": "452 4.2.2 mailbox full",
                        "bounce_classification": "Mailbox Unavailable"},
    Event.COMPLAINT: {"event": "spamreport"},
    Event.DEFERRED: {"event": "deferred", "response": "421 4.4.1 unable to connect", "attempt": "1"},
    Event.OPEN: {"event": "open", "useragent": "sandbox", "ip": "192.0.2.1", "sg_machine_open": False},
    Event.CLICK: {"event": "click", "url": "https://example.com/", "useragent": "sandbox", "ip": "192.0.2.1"},
}  # fmt: skip


def sendgrid_post(happened: Sequence[Happened], now: datetime) -> Post:
    """Events of several messages in one signed array."""
    body = msgspec.json.encode([_sendgrid_item(one) for one in happened])
    stamp = str(int(now.timestamp()))
    signature = b64encode(SENDGRID_KEY.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    headers = [
        ("Content-Type", "application/json"),
        ("X-Twilio-Email-Event-Webhook-Signature", signature),
        ("X-Twilio-Email-Event-Webhook-Timestamp", stamp),
    ]
    return Post(headers, body)


def _sendgrid_item(happened: Happened) -> dict[str, Any]:
    parcel = happened.parcel
    return {
        "email": parcel.recipient,
        "timestamp": int(happened.at.timestamp()),
        "smtp-id": f"<{parcel.vendor_id}@sandbox.ulak.invalid>",
        "sg_event_id": happened.id,
        "sg_message_id": f"{parcel.vendor_id}.recvd-sandbox-1",
        **parcel.tags,
        **_SENDGRID[happened.event],
    }


# ------------------------------------------------------------------------------------------- Postmark


def _told(kind: str, code: int, details: str, *, inactive: bool = False) -> dict[str, Any]:
    """A record of type ``Bounce`` without what it is about."""
    return {
        "RecordType": "Bounce",
        "Type": kind,
        "TypeCode": code,
        "Name": kind,
        "Inactive": inactive,
        "CanActivate": kind != "SpamComplaint",
        "Details": details,
        "Description": "The sandbox was asked for it.",
    }


_POSTMARK: Mapping[Event, dict[str, Any]] = {
    Event.HARD_BOUNCE: _told("HardBounce", 1, "smtp;550 5.1.1 user unknown", inactive=True),
    Event.SOFT_BOUNCE: _told("SoftBounce", 4096, "smtp;452 4.2.2 mailbox full"),
    Event.DEFERRED: _told("Transient", 2, "smtp;421 4.4.1 unable to connect"),
    Event.COMPLAINT: {**_told("SpamComplaint", 512, "", inactive=True), "RecordType": "SpamComplaint"},
}


def postmark_post(happened: Happened, credentials: Sequence[tuple[str, str]]) -> Post:
    """One record, with the header that authenticates it."""
    parcel, at = happened.parcel, iso(happened.at)
    common = {"MessageID": parcel.vendor_id, "Metadata": dict(parcel.tags), "MessageStream": parcel.stream,
              "ServerID": 1, "Tag": ""}  # fmt: skip
    record = {**common, **_postmark_part(happened, at)}
    return Post([("Content-Type", "application/json"), *credentials], msgspec.json.encode(record))


def _postmark_part(happened: Happened, at: str) -> dict[str, Any]:
    to = happened.parcel.recipient
    bounce = {"ID": int(happened.id.replace("-", "")[:12], 16), "Email": to, "BouncedAt": at, "Subject": ""}
    match happened.event:
        case Event.OPEN:
            return {"RecordType": "Open", "FirstOpen": True, "Recipient": to, "ReceivedAt": at}
        case Event.CLICK:
            return {"RecordType": "Click", "OriginalLink": "https://example.com/", "Recipient": to, "ReceivedAt": at}
        case Event.DELIVERED:
            return {"RecordType": "Delivery", "Recipient": to, "DeliveredAt": at, "Details": "250 2.0.0 OK"}
        case told:
            return {**bounce, **_POSTMARK[told]}
