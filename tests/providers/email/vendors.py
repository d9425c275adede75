"""Who stands in for the vendors' signing: a certificate like Amazon's, SendGrid's key, and a plain bounce."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from ulak.core.model import Account, Channel
from ulak.core.sign import sns
from ulak.providers.contract import Callback

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DELIVERY = "0192f0c1e1a27c3f8000000000000001"
ATTEMPT = f"att_{DELIVERY}_1"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
SECRET = "a-long-shared-secret"

SES = Account("ses", "ses", Channel.EMAIL, settings={"events_topics": [TOPIC]})
POSTMARK = Account("postmark", "postmark", Channel.EMAIL, settings={"events_secret": SECRET})
SMTP = Account("smtp", "smtp", Channel.EMAIL, settings={"events_secret": SECRET})


@lru_cache
def amazon() -> tuple[rsa.RSAPrivateKey, bytes]:
    """A key, and its self-signed certificate in PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM)


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def envelope(message: Any, at: datetime = NOW, version: str = "1", **more: Any) -> dict[str, Any]:
    """A signed notification; ``more`` replaces fields before it is signed, and None leaves one out."""
    fields: dict[str, Any] = {
        "Type": sns.NOTIFICATION,
        "MessageId": "m-1",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": stamp(at),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
    } | more
    fields = {key: value for key, value in fields.items() if value is not None}
    text = sns.signed_text(sns.Envelope(**fields, Signature=""))
    assert text is not None
    hashed = hashes.SHA1() if version == "1" else hashes.SHA256()
    fields["Signature"] = base64.b64encode(amazon()[0].sign(text, padding.PKCS1v15(), hashed)).decode()
    return fields


def posted(fields: dict[str, Any], **headers: str) -> Callback:
    """The envelope as SNS posts it."""
    return Callback({"x-amz-sns-message-type": fields["Type"]} | headers, json.dumps(fields).encode())


def ses_event(kind: str = "Bounce", **part: Any) -> dict[str, Any]:
    """An event of a configuration set for one message of ours."""
    parts: dict[str, dict[str, Any]] = {
        "Bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "feedbackId": "f-1",
            "timestamp": stamp(NOW),
            "bouncedRecipients": [{"emailAddress": "jo@example.com", "status": "5.1.1", "action": "failed"}],
        },
        "Complaint": {"feedbackId": "f-2", "timestamp": stamp(NOW), "complainedRecipients": []},
    }
    section = {"DeliveryDelay": "deliveryDelay"}.get(kind, kind.lower())
    mail = {
        "messageId": "ses-1",
        "timestamp": stamp(NOW - timedelta(minutes=1)),
        "destination": ["jo@example.com"],
        "tags": {"ulak_attempt": [ATTEMPT], "ses:configuration-set": ["ulak"]},
    }
    return {"eventType": kind, "mail": mail, section: {**parts.get(kind, {"timestamp": stamp(NOW)}), **part}}


@lru_cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def sendgrid_public(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode((key or sendgrid_key()).public_key().public_bytes(*form)).decode()


def sendgrid_account() -> Account:
    return Account("sendgrid", "sendgrid", Channel.EMAIL, settings={"events_public_key": sendgrid_public()})


def sendgrid_posted(events: Any, at: datetime = NOW, key: ec.EllipticCurvePrivateKey | None = None) -> Callback:
    """Events as SendGrid posts and signs them."""
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    time = str(int(at.timestamp()))
    signature = (key or sendgrid_key()).sign(time.encode() + body, ec.ECDSA(hashes.SHA256()))
    return Callback(
        {
            "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": time,
        },
        body,
    )


def sendgrid_event(name: str = "delivered", identity: str = "ev-1", **more: Any) -> dict[str, Any]:
    return {
        "event": name,
        "sg_event_id": identity,
        "sg_message_id": "abc123.recvd-x-1",
        "email": "jo@example.com",
        "timestamp": int(NOW.timestamp()),
        "ulak_attempt": ATTEMPT,
    } | more


def report(
    status: str = "5.1.1", action: str = "failed", returned: str | None = None, to: str = "bounces@example.org"
) -> bytes:
    """A delivery status notification; ``returned`` are the header lines given back."""
    if returned is None:
        returned = f"X-Ulak-Attempt: {ATTEMPT}\r\nMessage-ID: <dlv_{DELIVERY}@example.org>"
    return f"""From: MAILER-DAEMON@mx.example.com\r
To: {to}\r
Date: Sun, 22 Nov 2026 11:59:00 +0000\r
Subject: Undelivered Mail Returned to Sender\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r
\r
--b\r
Content-Type: text/plain\r
\r
It could not be delivered.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.com\r
\r
Final-Recipient: rfc822; jo@example.com\r
Action: {action}\r
Status: {status}\r
Diagnostic-Code: smtp; 550 {status} <jo@example.com> no such user\r
Last-Attempt-Date: Sun, 22 Nov 2026 11:58:00 +0000\r
\r
--b\r
Content-Type: text/rfc822-headers\r
\r
{returned}\r
\r
--b--\r
""".encode()
