r"""Is this message really from Amazon SNS, and from a topic that was meant?

Rules: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html. The signature covers
some fields of the envelope as ``Key\nValue\n``; its certificate is named by the message itself, so the whole
weight lies on where that URL may point: exactly Amazon's host of SNS, over HTTPS, and a file of its form.
A valid signature alone proves little, because Amazon signs for everybody's topics: the topic must be listed.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

NOTIFICATION = "Notification"
SUBSCRIBE = "SubscriptionConfirmation"
UNSUBSCRIBE = "UnsubscribeConfirmation"

_HOST = r"sns\.[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE = re.compile(rf"https://{_HOST}(?::443)?/SimpleNotificationService-[0-9A-Za-z]{{8,64}}\.pem")
_SUBSCRIBE = re.compile(rf"https://{_HOST}(?::443)?/\?Action=ConfirmSubscription&TopicArn=([^&#]+)&Token=[0-9a-zA-Z]+")
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")

_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIBE: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    UNSUBSCRIBE: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_HASHES: dict[str, type[hashes.SHA1 | hashes.SHA256]] = {"1": hashes.SHA1, "2": hashes.SHA256}


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What SNS posts, with its own field names."""

    Type: str
    MessageId: str
    TopicArn: str
    Message: str
    Timestamp: str
    SignatureVersion: str
    Signature: str
    SigningCertURL: str
    Subject: str | None = None
    SubscribeURL: str | None = None
    Token: str | None = None


_decode = msgspec.json.Decoder(Envelope).decode


def read(body: bytes) -> Envelope | None:
    """The envelope in a body, or None when it holds none."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError):  # a wrong shape, or no JSON
        return None


def is_topic(text: str) -> bool:
    """Whether this is the ARN of a topic."""
    return _TOPIC.fullmatch(text) is not None


def is_loopback(place: str) -> bool:
    """Whether this is ``host:port`` on this machine, where tests and the sandbox stand in for Amazon."""
    return _LOOPBACK.fullmatch(place) is not None


def certificate_url(url: str, stand_in: str | None = None) -> bool:
    """Whether a certificate may be fetched from there; ``stand_in`` is a ``host:port`` on loopback instead."""
    if stand_in is not None:
        return is_loopback(stand_in) and re.fullmatch(rf"https?://{re.escape(stand_in)}/[\w./-]+\.pem", url) is not None
    return _CERTIFICATE.fullmatch(url) is not None


def subscribe_url(url: str, topic: str, stand_in: str | None = None) -> bool:
    """Whether a call there confirms the subscription to this topic and does nothing else."""
    if stand_in is not None:
        return is_loopback(stand_in) and re.match(rf"https?://{re.escape(stand_in)}/", url) is not None
    match = _SUBSCRIBE.fullmatch(url)
    return match is not None and match[1].replace("%3A", ":").replace("%3a", ":") == topic


def signed_text(envelope: Envelope) -> bytes | None:
    """The text that is signed; None for an unknown type."""
    names = _SIGNED.get(envelope.Type)
    if names is None:
        return None
    parts = [(name, getattr(envelope, name)) for name in names]
    return "".join(f"{name}\n{value}\n" for name, value in parts if value is not None).encode()


def verify(envelope: Envelope, certificate: bytes, now: datetime) -> bool:
    """Whether the signature (version 1 or 2) is that of the certificate, and that one is valid now."""
    text = signed_text(envelope)
    hashed = _HASHES.get(envelope.SignatureVersion)
    if text is None or hashed is None:
        return False
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
        key = loaded.public_key()
        if (
            not isinstance(key, rsa.RSAPublicKey)
            or not loaded.not_valid_before_utc <= now <= loaded.not_valid_after_utc
        ):
            return False
        key.verify(base64.b64decode(envelope.Signature, validate=True), text, padding.PKCS1v15(), hashed())
    except (ValueError, binascii.Error, InvalidSignature):
        return False
    return True
