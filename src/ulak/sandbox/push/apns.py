"""How does Apple answer ``POST /3/device/<token>``?

As "Sending notification requests to APNs" and "Handling notification responses from APNs" have it (Apple's developer
documentation): every refusal has Apple's status and reason. Where Apple does not say how it finds out, this is as
strict as it can be: a second provider token whose ``iat`` is less than 20 minutes from one that is known counts as
minted too often, and spoils its connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from ulak.core.device import AddressKind, Environment
from ulak.sandbox.push.devices import Devices, FakeDevice, State
from ulak.sandbox.push.faults import PushFault
from ulak.sandbox.push.service import Call, Line, Ruling, plain
from ulak.sandbox.push.tokens import Token, Verified
from ulak.sandbox.push_keys import KEY_ID, TEAM, apns_key
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.vendor import Said, said

REASONS: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "BadCollapseId", "BadDeviceToken", "BadExpirationDate", "BadMessageId", "BadPriority", "BadTopic",
            "DeviceTokenNotForTopic", "DuplicateHeaders", "IdleTimeout", "InvalidPushType", "MissingDeviceToken",
            "MissingTopic", "PayloadEmpty", "TopicDisallowed",
        ), 400),
    **dict.fromkeys(
        (
            "BadCertificate", "BadCertificateEnvironment", "BadEnvironmentKeyInToken", "ExpiredProviderToken",
            "Forbidden", "InvalidProviderToken", "MissingProviderToken", "UnrelatedKeyIdInToken",
        ), 403),
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}  # fmt: skip
"""Every reason that Apple lists, with its status."""

PATH = "/3/device/"
MOST_BYTES = 4_096
MOST_BYTES_VOIP = 5_120
MOST_COLLAPSE = 64
OLDEST = timedelta(hours=1)
SKEW = timedelta(minutes=1)
"""How far ahead of ours a sender's clock may go."""
APART = 20 * 60
"""Seconds between the ``iat`` of two provider tokens of a key, at the least."""
STORED = timedelta(days=30)

SUFFIXES: Mapping[str, str] = {
    "alert": "", "background": "", "mdm": "",
    "voip": ".voip", "complication": ".complication", "fileprovider": ".pushkit.fileprovider",
    "location": ".location-query", "liveactivity": ".push-type.liveactivity", "pushtotalk": ".voip-ptt",
    "controls": ".push-type.controls", "widgets": ".push-type.widgets",
}  # fmt: skip
"""By push type: what its topic has after the bundle id."""

_ONCE = ("authorization", "apns-id", "apns-topic", "apns-push-type", "apns-priority", "apns-expiration",
         "apns-collapse-id")  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_TOKEN = re.compile(r"[0-9a-f]{32,200}\Z", re.IGNORECASE)
_TOPIC = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\Z")


class Apns:
    """One of Apple's two environments; ``tokens`` are the provider tokens that both know."""

    def __init__(self, environment: Environment, devices: Devices, tokens: ProviderTokens) -> None:
        self._environment = environment
        self._devices = devices
        self._tokens = tokens
        self.name = "apns_sandbox" if environment is Environment.SANDBOX else "apns"
        self.streams = (1, 1_000)

    def judge(self, call: Call, line: Line, now: datetime) -> Ruling:
        """What Apple makes of a request."""
        given = call.get("apns-id")
        name = given if given is not None and _UUID.match(given) else str(uuid4())
        path = _path(call)
        if path is not None:
            return Ruling(refusal(path, name))
        reason = self._tokens.refusal(call.get("authorization"), line, now)
        if reason is not None:
            return Ruling(refusal(reason, name))
        device = self._devices.at(call.path.removeprefix(PATH).lower())
        called = "" if device is None else device.name
        wrong = _fields(call) or self._topic(call) or _payload(call) or self._device(device, call)
        if wrong is not None:
            when = device.changed_at if device is not None else None
            return Ruling(refusal(wrong, name, when), device=called, proves=True)
        assert device is not None
        taken = Said(200, b"", (("apns-id", name),))
        return Ruling(taken, _pushed(call, device, name, now), proves=True, device=called)

    def reply(self, fault: PushFault, now: datetime) -> Said:
        """A reason of Apple's with its status; 410 happened just now."""
        if not fault.reason:
            return plain(fault)
        return refusal(fault.reason, str(uuid4()), now, fault.status, dict(fault.headers))

    def _topic(self, call: Call) -> str | None:
        topic = call.get("apns-topic")
        if not topic:
            return "MissingTopic"
        app = _app(call)
        if app is None or _TOPIC.match(topic) is None:
            return "BadTopic"
        foreign = self._devices.apps is not None and app not in self._devices.apps
        return "TopicDisallowed" if foreign or app.startswith("com.apple.") else None

    def _device(self, device: FakeDevice | None, call: Call) -> str | None:
        token = call.path.removeprefix(PATH)
        if device is None or device.kind is not AddressKind.APNS or _TOKEN.match(token) is None:
            return "BadDeviceToken"
        if device.environment is not self._environment:
            return "BadDeviceToken"
        if _app(call) != device.app:
            return "DeviceTokenNotForTopic"
        match device.state:
            case State.UNINSTALLED:
                return "Unregistered"
            case State.EXPIRED:
                return "ExpiredToken"
            case State.BUSY:
                return "TooManyRequests"
            case State.UNAVAILABLE:
                return "ServiceUnavailable"
            case State.ACTIVE:
                return None


class ProviderTokens:
    """Which provider tokens of our key Apple has seen, and whether one may be used."""

    def __init__(self) -> None:
        self._verified = Verified("ES256")
        self._key = apns_key().public_key()
        self._seen: dict[str, int] = {}
        self.updates = 0

    def refusal(self, authorization: str | None, line: Line, now: datetime) -> str | None:
        """Apple's reason against the token of a request, or None."""
        if not authorization:
            return "MissingProviderToken"
        scheme, _, text = authorization.partition(" ")
        token = self._verified.read(text, self._key) if scheme.lower() == "bearer" else None
        if token is None or token.header.get("kid") != KEY_ID or token.claims.get("iss") != TEAM:
            return "InvalidProviderToken"
        reason = _age(token, now)
        if reason is not None:
            return reason
        if line.spoiled or not self._known(text, token.number("iat") or 0, now):
            line.spoiled = True
            return "TooManyProviderTokenUpdates"
        return None

    def _known(self, text: str, issued: int, now: datetime) -> bool:
        """Whether it has been seen, or may be new; those that are too old for use are forgotten."""
        if text in self._seen:
            return True
        oldest = (now - OLDEST).timestamp()
        self._seen = {old: at for old, at in self._seen.items() if at >= oldest}
        if any(abs(issued - at) < APART for at in self._seen.values()):
            return False
        self._seen[text] = issued
        self.updates += 1
        return True


def refusal(
    reason: str, name: str, when: datetime | None = None, status: int = 500, fields: Mapping[str, str] | None = None
) -> Said:
    """A refusal with Apple's JSON; one with 410 says since ``when``, in milliseconds."""
    status = REASONS.get(reason, status)
    body: dict[str, object] = {"reason": reason}
    if status == 410 and when is not None:
        body["timestamp"] = int(when.timestamp() * 1000)
    return said(status, body, ("apns-id", name), *(fields or {}).items())


def _path(call: Call) -> str | None:
    if call.method != "POST":
        return "MethodNotAllowed"
    if not call.path.startswith(PATH) or "/" in call.path.removeprefix(PATH) or "?" in call.path:
        return "BadPath"
    return None if call.path != PATH else "MissingDeviceToken"


def _age(token: Token, now: datetime) -> str | None:
    issued = token.number("iat")
    if issued is None or not 0 <= issued < 2**40:
        return "InvalidProviderToken"
    at = datetime.fromtimestamp(issued, UTC)
    if at > now + SKEW:
        return "InvalidProviderToken"
    return "ExpiredProviderToken" if now - at > OLDEST else None


def _fields(call: Call) -> str | None:
    """What is wrong with a field, by Apple's word."""
    names = [name for name, _ in call.fields]
    if any(names.count(name) > 1 for name in _ONCE):
        return "DuplicateHeaders"
    name, expires = call.get("apns-id"), call.get("apns-expiration")
    if name is not None and _UUID.match(name) is None:
        return "BadMessageId"
    if expires is not None and re.fullmatch("[0-9]{1,11}", expires) is None:
        return "BadExpirationDate"
    kind, priority = call.get("apns-push-type"), call.get("apns-priority")
    if priority not in {None, "10", "5", "1"} or (kind == "background" and priority != "5"):
        return "BadPriority"
    if kind is not None and kind not in SUFFIXES:
        return "InvalidPushType"
    collapse = call.get("apns-collapse-id")
    return "BadCollapseId" if collapse is not None and not 0 < len(collapse) <= MOST_COLLAPSE else None


def _app(call: Call) -> str | None:
    """The bundle id of the topic; None where the topic is not one of its push type."""
    topic, suffix = call.get("apns-topic") or "", SUFFIXES.get(call.get("apns-push-type") or "alert", "")
    return topic.removesuffix(suffix) if topic.endswith(suffix) else None


def _payload(call: Call) -> str | None:
    most = MOST_BYTES_VOIP if call.get("apns-push-type") == "voip" else MOST_BYTES
    if len(call.body) > most:
        return "PayloadTooLarge"
    try:
        payload = msgspec.json.decode(call.body)
    except (msgspec.DecodeError, RecursionError):
        return "PayloadEmpty"  # Apple names no reason for what is not JSON
    # Apple takes {} for passes of its Wallet; here it can only be a mistake.
    return None if isinstance(payload, dict) and payload else "PayloadEmpty"


def _pushed(call: Call, device: FakeDevice, name: str, now: datetime) -> Pushed:
    payload: dict[str, Any] = msgspec.json.decode(call.body)
    aps, ours = _object(payload.get("aps")), _object(payload.get("ulak"))
    alert = aps.get("alert")
    alert = {"body": alert} if isinstance(alert, str) else _object(alert)
    collapse = call.get("apns-collapse-id") or ""
    badge = aps.get("badge")
    return Pushed(
        service="apns",
        id=name,
        device=device.name,
        app=device.app,
        payload=payload,
        headers={key: value for key, value in call.fields if key.startswith("apns-")},
        delivery=f"dlv_{UUID(name).hex}" if call.get("apns-id") else "",
        notification=str(ours.get("notification", "")),
        title=str(alert.get("title", "")),
        body=str(alert.get("body", "")),
        badge=badge if isinstance(badge, int) else None,
        collapse=collapse,
        tag=collapse,
        silent=call.get("apns-push-type") == "background" or not alert,
        expires_at=_expires(call.get("apns-expiration"), now),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _expires(text: str | None, now: datetime) -> datetime | None:
    """Until when an offline device's push is kept: not at all for 0, at most 30 days."""
    if text == "0":
        return None
    latest = now + STORED
    return latest if text is None else min(latest, datetime.fromtimestamp(min(int(text), 2**33), UTC))
