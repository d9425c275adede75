"""How does a Web Push service answer a push to one of its subscriptions?

As RFC 8030 (TTL, Urgency, Topic), RFC 8292 (VAPID) and RFC 8291 (encryption) have it, with the statuses and error
numbers of Mozilla's autopush. Three things are stricter than there, because a browser would drop the push without a
word: the body is decrypted, ``sub`` has to be a mail address or a page, and ``Urgency`` one of the four words.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from ulak.core.device import AddressKind
from ulak.core.ids import internal
from ulak.sandbox.faults import Do
from ulak.sandbox.push.aes128gcm import decrypt
from ulak.sandbox.push.devices import Devices, FakeDevice, State
from ulak.sandbox.push.faults import Do as PushDo
from ulak.sandbox.push.faults import PushFault, PushFaults
from ulak.sandbox.push.tokens import Verified
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.vendor import Asked, Said, Verdict, said
from ulak.sandbox.vendor_faults import Moment, VendorFault

MOST_BYTES = 4_096
MOST_TTL = 2_592_000
DAY = timedelta(hours=24)
URGENCIES = frozenset({"very-low", "low", "normal", "high"})
STATES: Mapping[State, int] = {State.UNINSTALLED: 106, State.EXPIRED: 103, State.UNAVAILABLE: 201}

ERRORS: Mapping[int, tuple[int, str]] = {
    101: (400, "Missing necessary crypto keys"),
    102: (404, "Invalid URL endpoint"),
    103: (410, "Expired URL endpoint"),
    104: (413, "Data payload too large"),
    105: (410, "Endpoint became unavailable during request"),
    106: (410, "Invalid subscription"),
    108: (400, "Router type is invalid"),
    109: (401, "Invalid authentication"),
    110: (400, "Invalid crypto keys specified"),
    111: (400, "Missing Required Header"),
    112: (400, "Invalid TTL header value"),
    113: (400, "Invalid Topic header value"),
    114: (400, "TTL must be greater than 0"),
    201: (503, "Use exponential back-off for retries"),
    202: (503, "Immediate retry ok"),
    900: (502, "Internal Bridge misconfiguration"),
    901: (502, "Invalid authentication"),
    902: (502, "An error occurred while establishing a connection"),
    903: (502, "The request timed out"),
    999: (500, "Unknown error"),
}
"""autopush's error numbers: the status, and what is said."""

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_VAPID = re.compile(r"vapid +(.*)\Z", re.IGNORECASE | re.DOTALL)
_SUBJECT = re.compile(r"(mailto:[^@\s]+@[^@\s]+|https://[^\s/]+.*)\Z")


class Refused(Exception):
    """What a request is refused with: autopush's error number, and a word for people."""

    def __init__(self, errno: int, text: str = "") -> None:
        super().__init__(text)
        self.errno = errno
        self.text = text


class WebPush:
    """The service; ``origin`` of its devices is where it answers."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._verified = Verified("ES256")

    def judge(self, asked: Asked, now: datetime) -> Verdict:
        """What the service makes of a request."""
        if asked.method != "POST":
            return Verdict(said(405, {"code": 405, "error": "Method Not Allowed"}))
        try:
            return self._judge(asked, now)
        except Refused as refused:
            return Verdict(error(refused.errno, refused.text))

    def _judge(self, asked: Asked, now: datetime) -> Verdict:
        device = self._devices.at(f"{self._devices.origin}{asked.target}")
        if device is None or device.kind is not AddressKind.WEBPUSH or device.private is None:
            raise Refused(102)
        self._vapid(asked.headers.get("authorization", ""), device, now)
        ttl, topic = _ttl(asked.headers.get("ttl")), asked.headers.get("topic")
        if topic is not None and _TOPIC.match(topic) is None:
            raise Refused(113)
        if asked.headers.get("urgency", "normal") not in URGENCIES:
            raise Refused(110, "Urgency is very-low, low, normal or high")
        text = _text(asked, device.private, device.auth)
        if device.state in STATES:
            raise Refused(STATES[device.state])
        if device.state is State.BUSY:
            return Verdict(said(429, {"code": 429, "error": "Too Many Requests"}, ("Retry-After", "30")))
        name = uuid4().hex
        fields = (("Location", f"{self._devices.origin}/m/{name}"), ("TTL", str(ttl)))
        return Verdict(Said(201, b"", fields), [_pushed(asked, device, name, text, _until(ttl, now))])

    def _vapid(self, authorization: str, device: FakeDevice, now: datetime) -> None:
        """Check who sends (RFC 8292); a subscription was made for one application server."""
        match = _VAPID.match(authorization)
        pairs = [pair.strip().partition("=") for pair in match[1].split(",")] if match else []
        fields = {name: value.strip() for name, _, value in pairs}
        if not fields.keys() >= {"t", "k"} or len(fields) != len(pairs):
            raise Refused(109, "an Authorization of the form: vapid t=TOKEN, k=KEY")
        if fields["k"].rstrip("=") != device.key.rstrip("="):
            raise Refused(109, "the key is not that of the subscription")
        token = self._verified.read(fields["t"], _public(fields["k"]), fields["k"])
        if token is None:
            raise Refused(109, "the token is not signed by the key")
        if token.claims.get("aud") != self._devices.origin:
            raise Refused(109, "aud is not the origin of this service")
        ends = token.number("exp")
        if ends is None or not now.timestamp() < ends <= (now + DAY).timestamp():
            raise Refused(109, "exp has passed, or lies more than 24 hours ahead")
        if _SUBJECT.match(str(token.claims.get("sub", ""))) is None:
            raise Refused(109, "sub is neither mailto: nor https:")


class WebPushFaults:
    """The book of faults as a connection over HTTP/1.1 asks it."""

    def __init__(self, book: PushFaults) -> None:
        self._book = book

    def due(self, at: Moment, vendor: str = "", recipients: Sequence[str] = ()) -> VendorFault | None:
        """The fault that goes off now, if any; what only HTTP/2 has does not."""
        del vendor
        fault = self._book.due(at, "webpush", next(iter(recipients), ""))
        if fault is None or fault.do in {PushDo.RESET, PushDo.GOAWAY}:
            return None
        if fault.do is not PushDo.REPLY:
            return VendorFault(fault.at, Do(fault.do), seconds=fault.seconds)
        answer = reply(fault)
        return VendorFault(
            fault.at, Do.REPLY, status=answer.status, headers=dict(answer.headers), body=answer.body.decode()
        )


def reply(fault: PushFault) -> Said:
    """An error number of autopush with its status, or the reply as the fault has it."""
    if fault.reason.isdecimal() and int(fault.reason) in ERRORS:
        one = error(int(fault.reason))
        return Said(one.status, one.body, (*one.headers, *fault.headers.items()))
    return Said(fault.status, fault.body.encode(), tuple(fault.headers.items()))


def error(errno: int, text: str = "") -> Said:
    """The JSON of autopush."""
    status, words = ERRORS[errno]
    body = {"code": status, "errno": errno, "error": HTTPStatus(status).phrase, "message": text or words}
    return said(status, body)


def _ttl(text: str | None) -> int:
    """Seconds that the push is kept at most; the service lowers what is too long."""
    if text is None or re.fullmatch(r"-?[0-9]{1,18}", text) is None:
        raise Refused(111, "TTL is required, in seconds")
    if text.startswith("-"):
        raise Refused(114)
    return min(int(text), MOST_TTL)


def _until(ttl: int, now: datetime) -> datetime | None:
    return now + timedelta(seconds=ttl) if ttl else None


def _text(asked: Asked, private: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """The plaintext of a body; nothing for none."""
    if len(asked.body) > MOST_BYTES:
        raise Refused(104)
    if not asked.body:
        return b""
    if asked.headers.get("content-encoding") != "aes128gcm":
        raise Refused(110, "Content-Encoding is aes128gcm")
    if asked.headers.keys() & {"encryption", "crypto-key"}:
        raise Refused(110, "aes128gcm has its keys in the body")
    try:
        return decrypt(asked.body, private, auth)
    except ValueError as wrong:
        raise Refused(110, str(wrong)) from None


def _public(text: str) -> ec.EllipticCurvePublicKey | None:
    try:
        octets = urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), octets)
    except ValueError:
        return None


def _pushed(asked: Asked, device: FakeDevice, name: str, text: bytes, until: datetime | None) -> Pushed:
    """What the service worker gets; a declarative message (``web_push``: 8030) is shown without it."""
    try:
        payload: Any = msgspec.json.decode(text) if text else None
    except (msgspec.DecodeError, RecursionError):
        payload = text.decode("utf-8", "replace")
    whole = payload if isinstance(payload, dict) else {}
    shown = _object(whole.get("notification"))
    ours = _object(_object(shown.get("data")).get("ulak"))
    tag, badge = str(shown.get("tag", "")), whole.get("app_badge")
    return Pushed(
        service="webpush",
        id=name,
        device=device.name,
        app=device.app,
        payload=payload,
        headers={key: asked.headers[key] for key in ("ttl", "urgency", "topic") if key in asked.headers},
        delivery=tag if internal("dlv", tag) is not None else "",
        notification=str(ours.get("notification", "")),
        title=str(shown.get("title", "")),
        body=str(shown.get("body", payload if isinstance(payload, str) else "")),
        badge=badge if isinstance(badge, int) else None,
        collapse=asked.headers.get("topic", ""),
        tag=tag,
        silent=not text,
        expires_at=until,
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
