"""What is a device: a push address, the proofs that it lives, and the account that can reach it?

A device is one installation of an app, or one browser, of one user. Deliveries name it by its id (``dev_…``), never
by its address. What it is like is read again at the last check before each call, so that a change holds everywhere
at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from ulak.core.model import Account


class AddressKind(StrEnum):
    """What an address is, and so which service understands it."""

    APNS = "apns"
    FCM_TOKEN = "fcm_token"  # noqa: S105 - the name of a kind
    FCM_FID = "fcm_fid"
    WEBPUSH = "webpush"


PROVIDER_OF: Mapping[AddressKind, str] = {
    AddressKind.APNS: "apns",
    AddressKind.FCM_TOKEN: "fcm",
    AddressKind.FCM_FID: "fcm",
    AddressKind.WEBPUSH: "webpush",
}
"""The provider that speaks to each kind of address."""

ANY_DEVICE = frozenset({"noop"})
"""Providers that take whatever device they are given."""


class Environment(StrEnum):
    """Which of Apple's two services issued a token; other kinds know production only."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class Fate(StrEnum):
    """What an answer says of the device, beside what it says of the delivery."""

    DEAD = "dead"
    """The service says that this address is no more."""
    DOUBTED = "doubted"
    """The service does not take it from us: it may be dead, or our topic, key or project may be wrong."""
    STRIKE = "strike"
    """Refused in a way that means nothing once, and something when it goes on."""
    OTHER_ENVIRONMENT = "other_environment"
    """It may belong to the other environment: to be tried there, once."""
    BUSY = "busy"
    """The service wants this device left alone for a while."""
    ALIVE = "alive"
    """Taken, after strikes: they no longer count."""


STRIKES = 5
"""So many refusals in a row without a success between them put a device into quarantine."""


STALE = timedelta(days=60)
"""A device whose app was not heard of for so long gets what is critical, and nothing else."""

FORGOTTEN = timedelta(days=270)
"""A device that its app has not registered again for so long is deleted (Firebase lets its tokens die then, too)."""

QUARANTINE = timedelta(days=90)
"""A disabled device is kept for so long, in case its app comes back."""

MAX_DEVICES = 32
"""Devices of one user; with one more, that seen longest ago gives way."""


class Device(msgspec.Struct, frozen=True, gc=False):
    """A device as the last check found it.

    ``app`` is its bundle id, package or origin, empty where the app named none. ``address`` is a token, or the
    endpoint of a subscription with its keys ``p256dh`` and ``auth`` (base64url, RFC 8291); ``account`` names the
    account whose application server key a subscription was made with. ``flipped`` says that the other environment
    has been tried since it registered.
    """

    id: str
    kind: AddressKind
    app: str
    platform: str
    address: str
    registered_at: datetime
    environment: Environment = Environment.PRODUCTION
    flipped: bool = False
    p256dh: str = ""
    auth: str = ""
    account: str = ""
    app_version: str = ""
    strikes: int = 0

    def __repr__(self) -> str:
        """Without address and keys: whoever has them can write to the device."""
        return f"Device({self.id}, {self.kind})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        """The same for programs that draw."""
        return [("id", self.id), ("kind", self.kind)]


def fits(account: Account, kind: AddressKind, app: str, owner: str = "") -> bool:
    """Whether an account can reach a device of this kind and app; ``owner`` is the device's own account, if it has one.

    The setting ``apps`` of an account lists the apps that it may push to; without it, or for a device that names no
    app, there is no restriction.
    """
    if account.provider in ANY_DEVICE:
        return True
    if PROVIDER_OF[kind] != account.provider or (owner and owner != account.name):
        return False
    apps = account.settings.get("apps")
    return not app or not isinstance(apps, list) or not apps or app in apps


def stands_in(account: Account, other: Account) -> bool:
    """Whether ``other`` reaches the devices of ``account``, so that a delivery may go on by it.

    Of push accounts only those of the same provider and apps; a subscription belongs to the key of one account.
    """
    if account.name == other.name:
        return True
    if account.channel != other.channel:
        return False
    if account.channel != "push" or account.provider in ANY_DEVICE:
        return True
    same = account.provider == other.provider and account.settings.get("apps") == other.settings.get("apps")
    return same and account.provider != PROVIDER_OF[AddressKind.WEBPUSH]
