"""Is what an app says of its device fit to be registered, and in which spelling?

Everything is checked here, at the door, and never at a send: a malformed address would be refused by its service
again and again, and the service would count it against us. What is refused is told with its place and what to do,
never with the value itself, because whoever has an address can write to it.

Sources: Apple, "Registering your app with APNs" (a token is bytes of a length that may change); Firebase, "Best
practices for FCM registration token management"; Push API (W3C) §8 for what browsers hand out; RFC 8291 §2 for keys.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Meta, Struct

from ulak.core import values
from ulak.core.device import PROVIDER_OF, AddressKind, Environment
from ulak.core.endpoint import SERVICES, check_endpoint
from ulak.core.invalid import invalid
from ulak.core.model import Account
from ulak.core.values import Unfit

A = TypeVar("A")
B = TypeVar("B")
Platform = Literal["ios", "android", "web", "macos", "windows", "other"]

MAX_APNS, MIN_APNS = 200, 32
"""Bytes of a token of Apple's; today's have 32, and nothing may depend on it."""

MAX_FCM = 4_096
"""Characters of a registration token of Firebase's."""

_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
_FCM = re.compile(r"[!-~]+\Z")
# 22 characters from the SDKs of today; an app that is older than installation ids goes on with its 11.
_FID = re.compile(r"[A-Za-z0-9_-]{22}\Z|[A-Za-z0-9_-]{11}\Z")
_BASE64 = re.compile(r"[A-Za-z0-9_+/-]*={0,2}\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POINT, _AUTH = 65, 16

_PLATFORM: Mapping[AddressKind, Platform] = {
    AddressKind.APNS: "ios",
    AddressKind.FCM_TOKEN: "android",
    AddressKind.FCM_FID: "android",
    AddressKind.WEBPUSH: "web",
}


class KeysBody(Struct):
    """Keys of a subscription (RFC 8291 §2), base64url."""

    p256dh: Annotated[str, Meta(max_length=200)]
    auth: Annotated[str, Meta(max_length=200)]


class SubscriptionBody(Struct, rename={"expiration_time": "expirationTime"}):
    """What ``PushSubscription.toJSON()`` gives; ``expirationTime`` in milliseconds since 1970, or null."""

    endpoint: str
    keys: KeysBody
    expiration_time: float | None = None


class DeviceBody(Struct, forbid_unknown_fields=True):
    """One installation of an app, or one browser, and how it is reached.

    ``token`` for ``apns`` (hexadecimal), ``fcm_token`` and ``fcm_fid`` (a Firebase installation id); ``subscription``
    for ``webpush``, with the ``application_server_key`` that it was made with (without it: the first key of
    ``GET /v1/me/devices``, or the one it was registered with). ``app`` is a bundle id, package or origin.
    ``environment``, of ``apns`` only, is Apple's service that issued the token: ``sandbox`` for development builds.
    """

    kind: AddressKind
    token: str | None = None
    subscription: SubscriptionBody | None = None
    application_server_key: Annotated[str, Meta(max_length=200)] | None = None
    app: Annotated[str, Meta(max_length=values.MAX_ID)] | None = None
    platform: Platform | None = None
    environment: Environment | None = None
    app_version: Annotated[str, Meta(max_length=64)] | None = None
    model: Annotated[str, Meta(max_length=100)] | None = None


class ApplicationServer(msgspec.Struct, frozen=True, gc=False):
    """An account whose public key subscriptions may be made with, and the hosts it may call besides the usual ones.

    With ``only_hosts`` it calls no others.
    """

    account: str
    key: str
    hosts: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    only_hosts: bool = False

    def serves(self, app: str) -> bool:
        """Whether it may push to this app."""
        return not app or not self.apps or app in self.apps


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a device is registered: its user, and the app's own id of the installation."""

    user: str
    name: str


class Registration(msgspec.Struct, frozen=True, gc=False):
    """A device that may be registered, its address in the spelling that is stored.

    ``environment`` None: what was learned of this address before stays, else production. ``account`` holds for a
    subscription; unless it is ``named``, the one that is stored with the same endpoint stays.
    """

    user: str
    name: str
    app: str
    kind: AddressKind
    platform: str
    address: str
    p256dh: str = ""
    auth: str = ""
    account: str = ""
    named: bool = False
    environment: Environment | None = None
    app_version: str = ""
    model: str = ""
    expires_at: datetime | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the address."""
        return hashlib.sha256(self.address.encode()).digest()

    def __repr__(self) -> str:
        """Without address and keys."""
        return f"Registration({self.kind})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        """The same for programs that draw."""
        return [("kind", self.kind)]


class _Subscription(msgspec.Struct, frozen=True, gc=False):
    """A subscription that was checked."""

    endpoint: str
    p256dh: str
    auth: str
    server: ApplicationServer
    expires_at: datetime | None


def read(body: DeviceBody, place: Place, servers: Sequence[ApplicationServer], now: datetime) -> Registration:
    """Check what an app sent; raises ``Invalid`` with the place at fault. ``servers``: the one to prefer first."""
    app = _line(body.app, "$.app")
    version, model = _line(body.app_version, "$.app_version"), _line(body.model, "$.model")
    platform = body.platform or _PLATFORM[body.kind]
    plain = Registration(place.user, place.name, app, body.kind, platform, "", app_version=version, model=model)
    _only("environment", body.environment, body.kind, AddressKind.APNS)
    _only("subscription", body.subscription, body.kind, AddressKind.WEBPUSH)
    _only("application_server_key", body.application_server_key, body.kind, AddressKind.WEBPUSH)
    if body.kind is not AddressKind.WEBPUSH:
        return msgspec.structs.replace(plain, address=_token(body), environment=body.environment)
    found = _subscription(body, [server for server in servers if server.serves(app)], now)
    return msgspec.structs.replace(
        plain,
        address=found.endpoint,
        p256dh=found.p256dh,
        auth=found.auth,
        account=found.server.account,
        named=body.application_server_key is not None,
        expires_at=found.expires_at,
    )


def application_servers(accounts: Iterable[Account]) -> list[ApplicationServer]:
    """Those of the accounts that have a usable public key; what sends first stands first."""
    found = []
    for account in sorted(accounts, key=lambda one: one.priority):
        if account.provider != PROVIDER_OF[AddressKind.WEBPUSH]:
            continue
        try:
            key = public_key(str(account.settings.get("public_key", "")))
        except Unfit:
            continue  # the account is not in use, for the same reason
        hosts, apps = (_texts(account, name) for name in ("hosts", "apps"))
        found.append(ApplicationServer(account.name, key, hosts, apps, account.settings.get("only_hosts") is True))
    return found


def _texts(account: Account, setting: str) -> tuple[str, ...]:
    value = account.settings.get(setting)
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


# -------------------------------------------------------------------------------------------- addresses


def apns_token(text: str) -> str:
    """A token of Apple's: hexadecimal, in small letters."""
    token = text.lower()
    if not 2 * MIN_APNS <= len(token) <= 2 * MAX_APNS or _HEX.match(token) is None:
        what = f"not {MIN_APNS} to {MAX_APNS} bytes in hexadecimal"
        raise Unfit("invalid_token", what, "write each byte of deviceToken as two digits, without spaces")
    return token


def fcm_token(text: str) -> str:
    """A registration token of Firebase's, which means nothing to us."""
    if len(text) > MAX_FCM or ":" not in text or _FCM.match(text) is None:
        hint = "send what getToken() gives, as it is; an installation id has the kind fcm_fid"
        raise Unfit("invalid_token", "not a registration token of FCM", hint)
    return text


def fcm_fid(text: str) -> str:
    """A Firebase installation id."""
    if _FID.match(text) is None:
        hint = "send what FirebaseInstallations getId() gives; a registration token has the kind fcm_token"
        raise Unfit("invalid_token", "not a Firebase installation id", hint)
    return text


_TOKENS: Mapping[AddressKind, Callable[[str], str]] = {
    AddressKind.APNS: apns_token,
    AddressKind.FCM_TOKEN: fcm_token,
    AddressKind.FCM_FID: fcm_fid,
}


def public_key(text: str) -> str:
    """A point on the curve P-256, uncompressed (SEC 1 §2.3.3), as base64url without padding."""
    raw = _decoded(text)
    if len(raw) != _POINT or raw[0] != 4:
        raise Unfit("invalid_key", "not 65 bytes that begin with 4, in base64url", "send it as the browser gives it")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        raise Unfit("invalid_key", "not a point on the curve P-256", "send it as the browser gives it") from None
    return _encoded(raw)


def auth_secret(text: str) -> str:
    """The 16 bytes that a subscription shares with us (RFC 8291 §3.2), as base64url without padding."""
    raw = _decoded(text)
    if len(raw) != _AUTH:
        raise Unfit("invalid_key", "not 16 bytes in base64url", "send it as the browser gives it")
    return _encoded(raw)


def expiry(milliseconds: float, now: datetime) -> datetime:
    """The end of a subscription, from milliseconds since 1970."""
    try:
        at = _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):
        raise Unfit("invalid_time", "not milliseconds since 1970", "send it as the browser gives it") from None
    if at <= now:
        raise Unfit("subscription_expired", "the subscription has ended", "subscribe again, then register")
    return at


def _decoded(text: str) -> bytes:
    """Base64 in either alphabet, padded or not: libraries differ in how they write keys. Empty: it is none."""
    if _BASE64.match(text) is None:
        return b""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    return b"" if len(plain) % 4 == 1 else base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


# ------------------------------------------------------------------------------------------------ parts


def _token(body: DeviceBody) -> str:
    if body.token is None:
        raise invalid("missing_field", "$.token", f"a device of the kind {body.kind} has a token")
    return _fit("$.token", _TOKENS[body.kind], body.token)


def _subscription(body: DeviceBody, servers: Sequence[ApplicationServer], now: datetime) -> _Subscription:
    if body.token is not None:
        raise invalid("invalid_field", "$.token", "a browser has a subscription instead", "remove it")
    given = body.subscription
    if given is None:
        raise invalid("missing_field", "$.subscription", "a device of the kind webpush has a subscription")
    server = _server(body.application_server_key, servers)
    wrong = check_endpoint(given.endpoint, server.hosts, () if server.only_hosts else SERVICES)
    if wrong is not None:
        hint = "hosts of the account allows other push services"
        raise invalid("invalid_endpoint", "$.subscription.endpoint", f"it {wrong}", hint)
    ends = given.expiration_time
    return _Subscription(
        given.endpoint,
        _fit("$.subscription.keys.p256dh", public_key, given.keys.p256dh),
        _fit("$.subscription.keys.auth", auth_secret, given.keys.auth),
        server,
        None if ends is None else _fit("$.subscription.expirationTime", lambda at: expiry(float(at), now), ends),
    )


def _server(key: str | None, servers: Sequence[ApplicationServer]) -> ApplicationServer:
    """The account whose key a subscription was made with."""
    if not servers:
        hint = 'declare an account with channel = "push" and provider = "webpush"'
        raise invalid("no_account", "$.kind", "no account can push to browsers of this app", hint)
    if key is None:
        return servers[0]
    wanted = _fit("$.application_server_key", public_key, key)
    for server in servers:
        if server.key == wanted:
            return server
    hint = "subscribe with a key of GET /v1/me/devices; a key that was replaced needs an account of its own"
    raise invalid("unknown_server_key", "$.application_server_key", "no account has this key", hint)


def _only(name: str, value: object, kind: AddressKind, wanted: AddressKind) -> None:
    if value is not None and kind is not wanted:
        raise invalid("invalid_field", f"$.{name}", f"it belongs to the kind {wanted}", "remove it")


def _line(text: str | None, path: str) -> str:
    """A short text of the app's, empty where it gives none."""
    return _fit(path, values.identifier, text) if text else ""


def _fit(path: str, check: Callable[[A], B], value: A) -> B:
    try:
        return check(value)
    except Unfit as error:
        raise invalid(error.code, path, error.message, error.hint) from None
