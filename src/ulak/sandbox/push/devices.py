"""Which fake devices are there, how are they made, and what does each of them show?

A device is one app on one phone, or one subscription of one browser. Nothing is known of the real world's tokens: what
was not made here is refused as unknown. What a device gets while it is offline waits as its service keeps it; what
comes later under the same tag takes the place of what is shown.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Meta

from ulak.core.device import AddressKind, Environment
from ulak.sandbox.push_keys import PROJECT, point, vapid_key
from ulak.sandbox.pushed import Pushed

APP = "org.example.app"
SHOWN = 200
"""A device keeps so many of the newest that it shows."""
SEEN = 10_000
"""A device knows so many of the newest ids again."""
COLLAPSE_KEYS = 4
"""FCM keeps so many collapse keys for an offline device, and so many messages without one."""
PENDING = 100

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
App = Annotated[str, Meta(pattern=r"^[!-~]{0,200}$")]
PLATFORMS = {
    AddressKind.APNS: "ios",
    AddressKind.FCM_TOKEN: "android",
    AddressKind.FCM_FID: "android",
    AddressKind.WEBPUSH: "web",
}


class State(StrEnum):
    """What a service knows of a device: ``busy`` ones get more than they may, ``unavailable`` ones can't be reached."""

    ACTIVE = "active"
    UNINSTALLED = "uninstalled"
    EXPIRED = "expired"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device that somebody asks for; without a name it gets one."""

    kind: AddressKind
    name: Name = ""
    app: App | None = None
    environment: Environment = Environment.PRODUCTION
    platform: Literal["ios", "android", "web", "macos", "windows", "other", ""] = ""
    sender: str = PROJECT
    application_server_key: str = ""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to a device; what is not given stays."""

    state: State | None = None
    online: bool | None = None
    app: App | None = None
    sender: str | None = None
    environment: Environment | None = None


@dataclass(slots=True, eq=False)
class FakeDevice:
    """One device. ``sender`` is the project of Firebase, ``key`` the application server's, that may write to it."""

    name: str
    kind: AddressKind
    app: str
    environment: Environment
    platform: str
    address: str
    sender: str
    key: str
    made_at: datetime
    private: ec.EllipticCurvePrivateKey | None = None
    auth: bytes = b""
    state: State = State.ACTIVE
    changed_at: datetime | None = None
    online: bool = True
    received: int = 0
    duplicates: int = 0
    woken: int = 0
    lost: int = 0
    badge: int | None = None
    shown: OrderedDict[str, Pushed] = field(default_factory=OrderedDict)
    pending: OrderedDict[str, Pushed] = field(default_factory=OrderedDict)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def take(self, push: Pushed, now: datetime) -> None:
        """A push arrives: it is shown, or waits."""
        self.received += 1
        known = push.delivery or push.notification or push.id
        if known in self._seen:
            self.duplicates += 1
        self._seen[known] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        if self.online:
            self._present(push)
        elif push.expires_at is None or push.expires_at <= now:
            self.lost += 1
        else:
            self._wait(push)

    def come_online(self, now: datetime) -> None:
        """Show what waited and has not expired."""
        self.online = True
        waiting = list(self.pending.values())
        self.pending.clear()
        for push in waiting:
            if push.expires_at is not None and push.expires_at > now:
                self._present(push)
            else:
                self.lost += 1

    def _present(self, push: Pushed) -> None:
        if push.badge is not None:
            self.badge = push.badge
        if push.silent:
            self.woken += 1
            return
        key = push.tag or f"{push.id} {self.received}"
        self.shown.pop(key, None)
        self.shown[key] = push
        if len(self.shown) > SHOWN:
            self.shown.popitem(last=False)

    def _wait(self, push: Pushed) -> None:
        """Keep it as the service does: APNs the newest alone, the others the newest under each key."""
        if self.kind is AddressKind.APNS:
            self.lost += len(self.pending)
            self.pending.clear()
        key = push.collapse or f" {self.received}"
        self.pending.pop(key, None)
        self.pending[key] = push
        if self.kind in {AddressKind.FCM_TOKEN, AddressKind.FCM_FID}:
            self._crowded()

    def _crowded(self) -> None:
        """FCM drops a collapse key beyond the fourth, and all that has none when they are too many."""
        collapsible = [key for key in self.pending if not key.startswith(" ")]
        single = [key for key in self.pending if key.startswith(" ")]
        gone = collapsible[:-COLLAPSE_KEYS] + (single if len(single) > PENDING else [])
        for key in gone:
            del self.pending[key]
        self.lost += len(gone)

    def registration(self) -> dict[str, object]:
        """The body that the app of this device sends to Ulak."""
        about: dict[str, object] = {"kind": str(self.kind), "app": self.app, "platform": self.platform}
        if self.kind is AddressKind.APNS:
            about["environment"] = str(self.environment)
        if self.private is None:
            return {**about, "token": self.address}
        keys = {"p256dh": point(self.private), "auth": urlsafe_b64encode(self.auth).rstrip(b"=").decode("ascii")}
        subscription = {"endpoint": self.address, "expirationTime": None, "keys": keys}
        return {**about, "subscription": subscription, "application_server_key": self.key}

    def report(self) -> dict[str, object]:
        """What a person or a judge wants to know of it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "app": self.app,
            "environment": self.environment,
            "platform": self.platform,
            "state": self.state,
            "online": self.online,
            "received": self.received,
            "duplicates": self.duplicates,
            "woken": self.woken,
            "lost": self.lost,
            "badge": self.badge,
            "pending": len(self.pending),
            "shown": list(self.shown.values()),
            "register": self.registration(),
        }


class Devices:
    """All devices by name and by address; ``origin`` is where endpoints of subscriptions lie."""

    def __init__(self) -> None:
        self.origin = ""
        self.apps: frozenset[str] | None = None
        self._names: dict[str, FakeDevice] = {}
        self._addresses: dict[str, FakeDevice] = {}

    def make(self, wanted: Wanted, now: datetime) -> FakeDevice:
        """A new device; of a name that is taken, the same phone with a fresh address. Raises ``ValueError``."""
        kind = AddressKind(wanted.kind)
        name = wanted.name or f"{PLATFORMS[kind]}-{len(self._names) + 1}"
        web = kind is AddressKind.WEBPUSH
        app = wanted.app if wanted.app is not None else ("" if web else APP)
        device = FakeDevice(
            name=name,
            kind=kind,
            app=app,
            environment=Environment(wanted.environment),
            platform=wanted.platform or PLATFORMS[kind],
            address=self._address(kind),
            sender=wanted.sender,
            key=(wanted.application_server_key or point(vapid_key())) if web else "",
            made_at=now,
            private=ec.generate_private_key(ec.SECP256R1()) if web else None,
            auth=secrets.token_bytes(16) if web else b"",
        )
        former = self._names.get(name)
        if former is not None:
            self.change(former, Change(state=State.UNINSTALLED), now)
        self._names[name] = self._addresses[device.address] = device
        return device

    def change(self, device: FakeDevice, change: Change, now: datetime) -> None:
        """Let something happen to a device."""
        if change.state is not None and change.state is not device.state:
            device.state, device.changed_at = change.state, now
        device.app = device.app if change.app is None else change.app
        device.sender = device.sender if change.sender is None else change.sender
        device.environment = change.environment or device.environment
        if change.online:
            device.come_online(now)
        elif change.online is False:
            device.online = False

    def named(self, name: str) -> FakeDevice | None:
        """The device of a name."""
        return self._names.get(name)

    def at(self, address: str) -> FakeDevice | None:
        """The device of a token or endpoint."""
        return self._addresses.get(address)

    def all(self) -> list[FakeDevice]:
        """Every device, in the order of making; of a name only the newest."""
        return list(self._names.values())

    def clear(self) -> None:
        """Forget all."""
        self._names.clear()
        self._addresses.clear()

    def _address(self, kind: AddressKind) -> str:
        match kind:
            case AddressKind.APNS:
                return secrets.token_hex(32)
            case AddressKind.FCM_TOKEN:
                return f"{secrets.token_urlsafe(16)}:APA91b{secrets.token_urlsafe(100)}"
            case AddressKind.FCM_FID:
                return _fid()
            case AddressKind.WEBPUSH:
                return f"{self.origin}/wpush/v2/{secrets.token_urlsafe(48)}"


def _fid() -> str:
    """17 octets in base64url, of which the first four bits are 0111 and the last character is dropped."""
    octets = bytearray(secrets.token_bytes(17))
    octets[0] = 0x70 | octets[0] & 0x0F
    return urlsafe_b64encode(bytes(octets)).decode("ascii")[:22]
