"""How does Firebase answer ``POST /v1/projects/<project>/messages:send``, and Google the grant before it?

Bodies of errors are those of Google's APIs: ``error`` with ``code``, ``message``, ``status`` and ``details``, of which
FCM's own are ``FcmError`` and, beside it, ``google.rpc.BadRequest`` or ``QuotaFailure``. A minute of the quota does not
begin with the clock's: it begins with the first call after the last one ended.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from ulak.core.device import AddressKind
from ulak.core.ids import internal
from ulak.sandbox.push import fcm_schema
from ulak.sandbox.push.apns import REASONS
from ulak.sandbox.push.devices import Devices, FakeDevice, State
from ulak.sandbox.push.faults import PushFault
from ulak.sandbox.push.fcm_grant import PATH as TOKEN_PATH
from ulak.sandbox.push.fcm_grant import Grants
from ulak.sandbox.push.service import Call, Line, Ruling, plain
from ulak.sandbox.push_keys import PROJECT
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.vendor import Said, page, said

MOST_BYTES = 4_096
LONGEST = timedelta(days=28)
MINUTE = timedelta(minutes=1)
PER_MINUTE = 600_000

CODES: Mapping[str, tuple[int, str, str]] = {
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED", "SenderId mismatch"),
    "UNREGISTERED": (404, "NOT_FOUND", "Requested entity was not found."),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED", "Quota exceeded for sending messages."),
    "INTERNAL": (500, "INTERNAL", "Internal error encountered."),
    "UNAVAILABLE": (503, "UNAVAILABLE", "The service is currently unavailable."),
}
"""FCM's error codes: the status, Google's status, and what is said."""

PLAIN: Mapping[str, tuple[int, str, str]] = {
    "BAD_REQUEST": (400, "INVALID_ARGUMENT", "Invalid JSON payload received."),
    "UNAUTHENTICATED": (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "PERMISSION_DENIED": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "NOT_FOUND": (404, "NOT_FOUND", "Requested entity was not found."),
    "RESOURCE_EXHAUSTED": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
}
"""Errors without a word of FCM's, which say nothing of a device."""

INVALID_TOKEN = "The registration token is not a valid FCM registration token"  # noqa: S105 - what Firebase says
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_APNS_ERROR = "type.googleapis.com/google.firebase.fcm.v1.ApnsError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"

_PATH = re.compile(r"/v1/projects/([^/?]+)/messages:send\Z")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,}:[A-Za-z0-9_-]{16,}\Z")
_FID = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_RESERVED = re.compile(r"from\Z|message_type\Z|google|gcm")
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}\Z")
_TARGETS = ("token", "fid", "topic", "condition")


class Quota:
    """How many calls a project may make in a minute, which begins when its first call comes."""

    def __init__(self) -> None:
        self.most = PER_MINUTE
        self._began: datetime | None = None
        self._used = 0

    def spend(self, now: datetime) -> float | None:
        """Count a call; None when it may be made, else the seconds until the next minute."""
        if self._began is None or now - self._began >= MINUTE:
            self._began, self._used = now, 0
        self._used += 1
        return None if self._used <= self.most else (self._began + MINUTE - now).total_seconds()


class Fcm:
    """Firebase's service for one project."""

    name = "fcm"
    streams = (100, 100)

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self.grants = Grants()
        self.quota = Quota()

    def judge(self, call: Call, line: Line, now: datetime) -> Ruling:
        """What Google makes of a request."""
        del line
        if call.path == TOKEN_PATH:
            return Ruling(self.grants.judge(call, now), service="token")
        refused = self._door(call, now)
        if refused is not None:
            return Ruling(refused)
        try:
            given = msgspec.json.decode(call.body)
        except (msgspec.DecodeError, RecursionError):
            return Ruling(plain_error("BAD_REQUEST"))
        wrong = list(fcm_schema.violations(given))
        if wrong:
            return Ruling(_unreadable(wrong))
        request = fcm_schema.normal(given)
        return self._message(request, now)

    def reply(self, fault: PushFault, now: datetime) -> Said:
        """A code of FCM's, a reason of Apple's behind ``Apns``, or an error of Google's without a word of FCM's."""
        del now
        fields = dict(fault.headers)
        if fault.reason in CODES:
            return error(fault.reason, fields=fields)
        if fault.reason == "INVALID_TOKEN":
            return error("INVALID_ARGUMENT", INVALID_TOKEN, fields=fields)
        if fault.reason in {"DEVICE_QUOTA", "TOPIC_QUOTA"}:
            return _quota(fault.reason.partition("_")[0].title(), None, fields)
        if fault.reason.removeprefix("Apns") in REASONS:
            return _apple(fault.reason.removeprefix("Apns"), fields)
        if fault.reason in PLAIN:
            return plain_error(fault.reason, fields)
        return plain(fault)

    def _door(self, call: Call, now: datetime) -> Said | None:
        """What is refused before anybody looks at the message."""
        match = _PATH.match(call.path)
        if match is None or call.method != "POST":
            return page(404, "Error 404 (Not Found)!!1")
        scheme, _, token = (call.get("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not self.grants.holds(token, now):
            return plain_error("UNAUTHENTICATED")
        if match[1] != PROJECT:
            return plain_error("NOT_FOUND")
        if (call.get("content-type") or "").partition(";")[0].strip().lower() != "application/json":
            return plain_error("BAD_REQUEST")
        wait = self.quota.spend(now)
        return None if wait is None else _quota("Message", wait, {})

    def _message(self, request: dict[str, Any], now: datetime) -> Ruling:
        message = request.get("message", {})
        targets = [name for name in _TARGETS if name in message]
        if len(targets) != 1:
            return Ruling(_invalid("message", "Exactly one of token, fid, topic or condition is required"))
        wrong = _values(message, now)
        if targets[0] in {"topic", "condition"}:
            return Ruling(wrong or _invalid(f"message.{targets[0]}", "The sandbox knows devices only"))
        address = message[targets[0]]
        device = self._devices.at(address)
        if device is None and (_TOKEN if targets[0] == "token" else _FID).match(address) is None:
            return Ruling(wrong or error("INVALID_ARGUMENT", INVALID_TOKEN))
        refused = wrong or _device(device, targets[0])
        if refused is not None or device is None:
            return Ruling(refused or error("UNREGISTERED"), device="" if device is None else device.name)
        name = f"projects/{PROJECT}/messages/{uuid4().hex}"
        taken = None if request.get("validate_only") else _pushed(message, device, name, now)
        return Ruling(said(200, {"name": name}), taken, proves=True, device=device.name)


def error(
    code: str, text: str = "", details: list[dict[str, Any]] | None = None, fields: Mapping[str, str] | None = None
) -> Said:
    """An error with FCM's own detail."""
    status, google, words = CODES[code]
    listed = [{"@type": _FCM_ERROR, "errorCode": code}, *(details or [])]
    return _google(status, google, text or words, listed, fields)


def plain_error(reason: str, fields: Mapping[str, str] | None = None) -> Said:
    """An error of Google's without a word of FCM's."""
    status, google, words = PLAIN[reason]
    return _google(status, google, words, [], fields)


def _google(
    status: int, google: str, text: str, details: list[dict[str, Any]], fields: Mapping[str, str] | None
) -> Said:
    body: dict[str, Any] = {"code": status, "message": text, "status": google}
    if details:
        body["details"] = details
    return said(status, {"error": body}, *(fields or {}).items())


def _unreadable(wrong: list[tuple[str, str]]) -> Said:
    """What is not of the API's form is refused before FCM sees it, so without ``FcmError``."""
    listed = [{"field": field, "description": text} for field, text in wrong]
    text = "\n".join(description for _, description in wrong)
    return _google(400, "INVALID_ARGUMENT", text, [{"@type": _BAD_REQUEST, "fieldViolations": listed}], None)


def _invalid(field: str, text: str) -> Said:
    """A value that FCM does not take."""
    violations = [{"field": field, "description": text}]
    return error("INVALID_ARGUMENT", text, [{"@type": _BAD_REQUEST, "fieldViolations": violations}])


def _apple(reason: str, fields: Mapping[str, str]) -> Said:
    """What FCM passes on when Apple refuses an iPhone's push."""
    detail = {"@type": _APNS_ERROR, "statusCode": REASONS[reason], "reason": reason}
    return error("INVALID_ARGUMENT", "", [detail], fields)


def _quota(which: str, wait: float | None, fields: Mapping[str, str]) -> Said:
    """Which quota was used up: ``Message``, ``Device`` or ``Topic``."""
    words = f"{which} rate exceeded" if which == "Message" else f"{which} message rate exceeded"
    subject = f"project:{PROJECT}" if which == "Message" else which.lower()
    detail = {"@type": _QUOTA, "violations": [{"subject": subject, "description": words}]}
    after = {} if wait is None else {"retry-after": str(max(1, math.ceil(wait)))}
    return error("QUOTA_EXCEEDED", "", [detail], {**after, **fields})


def _values(message: dict[str, Any], now: datetime) -> Said | None:
    """What FCM refuses of a message that is well formed."""
    del now
    android = message.get("android", {})
    for place, data in (("message.data", message.get("data")), ("message.android.data", android.get("data"))):
        for key in data or {}:
            if not key or _RESERVED.match(key):
                return _invalid(place, f"Invalid data payload key: {key}")
    ttl = android.get("ttl")
    if ttl is not None and not 0 <= float(ttl.removesuffix("s")) <= LONGEST.total_seconds():
        return _invalid("message.android.ttl", "Invalid ttl")
    color = android.get("notification", {}).get("color")
    if color is not None and _COLOR.match(color) is None:
        return _invalid("message.android.notification.color", "Invalid color")
    content = {name: value for name, value in message.items() if name not in _TARGETS}
    if len(msgspec.json.encode(content)) > MOST_BYTES:
        return _invalid("message", "Android message is too big")
    return None


def _device(device: FakeDevice | None, target: str) -> Said | None:
    """What FCM says of the device."""
    kinds = {AddressKind.FCM_FID} if target == "fid" else {AddressKind.FCM_TOKEN, AddressKind.FCM_FID}
    if device is None or device.kind not in kinds or device.state in {State.UNINSTALLED, State.EXPIRED}:
        return error("UNREGISTERED")
    if device.sender != PROJECT:
        return error("SENDER_ID_MISMATCH")
    if device.state is State.BUSY:
        return _quota("Device", None, {})
    return error("UNAVAILABLE") if device.state is State.UNAVAILABLE else None


def _pushed(message: dict[str, Any], device: FakeDevice, name: str, now: datetime) -> Pushed:
    """What the device gets: the common part, and over it that of its platform."""
    android, data = message.get("android", {}), message.get("data", {})
    own: dict[str, Any]
    match device.platform:
        case "ios" | "macos":
            apns = message.get("apns", {})
            aps = apns.get("payload", {}).get("aps", {})
            alert = aps.get("alert", {})
            own = alert if isinstance(alert, dict) else {"body": alert}
            tag, badge = apns.get("headers", {}).get("apns-collapse-id", ""), aps.get("badge")
        case "web" | "windows":
            own = message.get("webpush", {}).get("notification", {})
            tag, badge = str(own.get("tag", "")), None
            data = {**data, **message.get("webpush", {}).get("data", {})}
        case _:
            own = android.get("notification", {})
            tag, badge = own.get("tag", ""), own.get("notification_count")
            data = android.get("data", data)
    shown = {**message.get("notification", {}), **own}
    return Pushed(
        service="fcm",
        id=name,
        device=device.name,
        app=device.app,
        payload=message,
        delivery=tag if internal("dlv", tag) is not None else "",
        notification=str(data.get("ulak_notification", "")),
        title=str(shown.get("title", "")),
        body=str(shown.get("body", "")),
        badge=badge if isinstance(badge, int) else None,
        collapse=android.get("collapse_key", ""),
        tag=tag,
        silent=not shown,
        expires_at=_expires(android.get("ttl"), now),
    )


def _expires(ttl: str | None, now: datetime) -> datetime | None:
    """Until when it waits for an offline device: four weeks unless it says so, not at all for 0."""
    life = LONGEST if ttl is None else timedelta(seconds=math.floor(float(ttl.removesuffix("s"))))
    return now + life if life else None
