"""What is a message of Firebase Cloud Messaging, on each platform?

Of the three blocks that FCM knows, only that of the device's platform is made. iPhones get what APNs would give them;
browsers a notification that Firebase's own service worker shows; all else counts as Android.

Source: Firebase, REST reference of ``projects.messages``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec

from ulak.core.content.email import ContentError
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device
from ulak.providers import notice
from ulak.providers.contract import Message

MOST_SECONDS = 2_419_200
"""How long FCM keeps a message: four weeks."""

RESERVED = re.compile(r"(?:from|message_type|aps)\Z|google|gcm")
"""Keys of data that FCM, or Apple behind it, keeps for itself."""

_RESOURCE = re.compile(r"[a-z][a-z0-9_]{0,99}")
_APPLE = frozenset({"ios", "macos"})


class _Json(msgspec.Struct, gc=False, omit_defaults=True):
    """A JSON object of the API; what is not given is left out."""


class _Notification(_Json):
    title: str = ""
    body: str = ""
    image: str | None = None


class _AndroidNotification(_Json):
    icon: str | None = None
    color: str | None = None
    sound: str | None = None
    tag: str | None = None
    channel_id: str | None = None
    notification_count: int | None = None


class _Android(_Json):
    priority: str
    ttl: str
    collapse_key: str | None = None
    notification: _AndroidNotification | None = None


class _Payload(_Json):
    aps: notice.Aps


class _AppleOptions(_Json):
    image: str


class _Apple(_Json):
    headers: dict[str, str]
    payload: _Payload
    fcm_options: _AppleOptions | None = None


class _WebAction(_Json):
    action: str
    title: str
    icon: str | None = None


class _WebNotification(_Json):
    title: str
    body: str
    icon: str | None = None
    image: str | None = None
    tag: str | None = None
    silent: bool | None = None
    actions: list[_WebAction] | None = None


class _WebOptions(_Json):
    link: str


class _Web(_Json):
    headers: dict[str, str]
    notification: _WebNotification | None = None
    fcm_options: _WebOptions | None = None


class _Message(_Json):
    data: dict[str, str]
    token: str | None = None
    fid: str | None = None
    notification: _Notification | None = None
    android: _Android | None = None
    apns: _Apple | None = None
    webpush: _Web | None = None


class _Body(msgspec.Struct, gc=False):
    message: _Message


class Case(msgspec.Struct, frozen=True, gc=False):
    """What a message is made from."""

    content: PushContent
    message: Message
    device: Device
    data: dict[str, str]
    now: datetime


_encode = msgspec.json.Encoder().encode


def encode(case: Case, shown: Sequence[str]) -> bytes:
    """The request's body with these texts: the block of the device's platform and no other."""
    return _encode(_Body(_message(case, shown)))


def data_of(content: PushContent, message: Message) -> dict[str, str]:
    """What the app is told: texts only; our own keys win. Raises ``ContentError`` for a key that is reserved."""
    data = dict(content.data)
    for key in data:
        if RESERVED.match(key):
            raise ContentError("reserved_data_key", f"FCM keeps the key {key} of data for itself")
    if content.url:
        data["url"] = content.url
    data["ulak_notification"] = message.notification
    data["ulak_type"] = message.type
    if message.receipt:
        data["ulak_receipt"] = message.receipt
    if content.actions:
        try:
            data["ulak_actions"] = _encode(notice.buttons(content)).decode("utf-8")
        except UnicodeEncodeError:
            raise notice.half_a_character() from None
    return data


def _message(case: Case, shown: Sequence[str]) -> _Message:
    address, fid = case.device.address, case.device.kind is AddressKind.FCM_FID
    token, install = (None, address) if fid else (address, None)
    if case.device.platform in _APPLE:
        return _Message(case.data, token, install, apns=_apple(case, shown))
    if case.device.platform == "web":
        return _Message(case.data, token, install, webpush=_web(case, shown))
    return _Message(case.data, token, install, _notification(case.content, shown), _android(case))


def _notification(content: PushContent, shown: Sequence[str]) -> _Notification | None:
    if content.silent:
        return None
    body, _, title = shown
    return _Notification(title, body, _absolute(content.image))


def _android(case: Case) -> _Android:
    content, message = case.content, case.message
    visible = _AndroidNotification(
        # An icon of Android's is the name of a resource of the app; the URL of one is for browsers.
        icon=content.icon if content.icon and _RESOURCE.fullmatch(content.icon) else None,
        color=content.color,
        sound=content.sound,
        tag=notice.collapse_id(message),
        channel_id=content.android_channel,
        notification_count=message.badge or None if content.badge else None,
    )
    return _Android(
        priority="high" if _urgency(case) == "high" else "normal",
        ttl=f"{notice.lifetime(message, case.now, MOST_SECONDS)}s",
        collapse_key=message.collapse,
        notification=None if content.silent else visible,
    )


def _apple(case: Case, shown: Sequence[str]) -> _Apple:
    content, message = case.content, case.message
    image = None if content.silent else _absolute(content.image)
    headers = {
        "apns-push-type": "background" if content.silent else "alert",
        "apns-priority": notice.apns_priority(content, message),
        "apns-expiration": notice.apns_expiration(message, case.now),
        "apns-collapse-id": notice.collapse_id(message),
    }
    payload = _Payload(notice.aps(content, message, shown))
    return _Apple(headers, payload, _AppleOptions(image) if image else None)


def _web(case: Case, shown: Sequence[str]) -> _Web:
    content, message = case.content, case.message
    headers = {"TTL": str(notice.lifetime(message, case.now, MOST_SECONDS)), "Urgency": _urgency(case)}
    if content.silent:
        return _Web(headers)
    body, _, title = shown
    visible = _WebNotification(
        title=title,
        body=body,
        icon=content.icon,
        image=content.image,
        tag=notice.collapse_id(message),
        silent=True if content.sound is None else None,
        actions=[_WebAction(each.name, each.title, each.icon) for each in content.actions] or None,
    )
    # FCM takes links of this kind only, and of no other scheme than this.
    link = content.url if content.url and content.url.startswith("https://") else None
    return _Web(headers, visible, _WebOptions(link) if link else None)


def _urgency(case: Case) -> str:
    """That of the content or its class; what shows nothing is normal, or Android stops believing our ``high``."""
    return case.content.priority or "normal" if case.content.silent else notice.urgency(case.content, case.message)


def _absolute(url: str | None) -> str | None:
    """A URL that a device can load by itself."""
    return url if url and url.startswith(("https://", "http://")) else None
