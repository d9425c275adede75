"""What do the answers of Apple's push service mean, and what do we send it?

``POST /3/device/<token>`` over HTTP/2, one device a call. ``apns-id`` is the delivery's id on every attempt. The
provider token is made of nothing but the key and the half hour, so that all nodes show Apple the same one: it
complains of tokens that change more often than every 20 minutes, and takes none that is older than an hour.

"Taken" is not "shown", and "bad token" may mean the other environment: see the rows.

Sources: Apple, "Sending notification requests to APNs", "Handling notification responses from APNs", "Establishing a
token-based connection to APNs", "Generating a remote notification"; answers of Apple's engineers in its forums (675879,
807380).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from ulak.core.content.email import ContentError
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device, Environment, Fate
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.sign import jwt
from ulak.providers import keys, notice
from ulak.providers.answers import Answer, Table, rule, seconds, text_of
from ulak.providers.contract import Capabilities, Credential, HttpReply, HttpRequest, Message, Reply

CAPABILITIES = Capabilities(channel=Channel.PUSH)

PRODUCTION = "https://api.push.apple.com"
SANDBOX = "https://api.sandbox.push.apple.com"

TOKEN_SECONDS = 1_800
"""A provider token's ``iat`` is a whole multiple of this: between the 20 and 60 minutes that Apple asks for."""
LAG = 60
"""Seconds after which a new half hour's token is used, so that no clock a little slow sees one from the future."""
TOKEN_LIFE = 3_300
"""Seconds after its ``iat`` at which a token is no longer used: five minutes before Apple refuses it."""

BUSY_SECONDS = 60.0
"""How long a device is left alone that Apple has told us so of, without saying for how long."""
UPDATES_SECONDS = 300.0
"""How long an account is left alone whose provider token changed too often."""

SETTINGS: keys.Types = {
    "team_id": str,
    "key_id": str,
    "private_key": str,
    "private_key_env": str,
    "apps": list,
    "environment": str,
    "endpoint": str,
    "endpoint_sandbox": str,
    "ca_file": str,
}
"""The settings of an account and their types; ``docs/how-to/push-apns.md`` explains each."""

TABLE = Table(
    "apns",
    rule("200 with apns-id", Kind.ACCEPTED, "accepted",
         "Apple has taken it; whether it is shown, only the app can tell."),
    rule("410 with Unregistered-before", Kind.RECIPIENT_TEMPORARY, "apns_unregistered_before",
         "It died before the app registered it again: Apple's news is older than ours, so the device stays."),
    rule("410 with Unregistered,ExpiredToken", Kind.RECIPIENT_PERMANENT, "apns_{name}",
         "The app was removed, or the token has run out: the device goes into quarantine.", device=Fate.DEAD),
    rule("400 with BadDeviceToken-here", Kind.RECIPIENT_TEMPORARY, "apns_bad_device_token_here",
         "No token of this environment; the account has both, so the other one is tried, once.",
         device=Fate.OTHER_ENVIRONMENT),
    rule("400 with BadDeviceToken", Kind.RECIPIENT_PERMANENT, "apns_bad_device_token",
         "No token of this environment: a damaged one, or the account's environment is the wrong one. Quarantine.",
         device=Fate.DOUBTED),
    rule("400 with DeviceTokenNotForTopic", Kind.RECIPIENT_PERMANENT, "apns_device_token_not_for_topic",
         "A token of another app than the device says: see the account's apps. Quarantine.", device=Fate.DOUBTED),
    rule("413 with PayloadTooLarge", Kind.PAYLOAD_ERROR, "apns_payload_too_large", "Over 4,096 bytes."),
    rule("400 with PayloadEmpty", Kind.PAYLOAD_ERROR, "apns_payload_empty", "Nothing to show and nothing for the app."),
    rule("400 with IdleTimeout", Kind.RETRY, "apns_idle_timeout",
         "Apple was about to close this connection: again at once by the ladder, on another one."),
    rule("503 with Shutdown", Kind.RETRY, "apns_shutdown",
         "This server of Apple's is going down: again at once by the ladder, on a connection to another one."),
    rule("400 with BadCollapseId,BadExpirationDate,BadMessageId,BadPriority,BadTopic,DuplicateHeaders,InvalidPushType,"
         "MissingDeviceToken,MissingTopic,TopicDisallowed", Kind.NEXT_PROVIDER, "apns_{name}",
         "The account's apps are wrong or not this key's, or our request is: no other device would fare better."),
    rule("403 with ExpiredProviderToken", Kind.NEXT_PROVIDER, "apns_expired_provider_token",
         "The token was refused as too old, which ours never is: this machine's clock is wrong."),
    rule("403 with BadCertificate,BadCertificateEnvironment,BadEnvironmentKeyIdInToken,BadEnvironmentKeyInToken,"
         "Forbidden,InvalidProviderToken,MissingProviderToken,UnrelatedKeyIdInToken", Kind.NEXT_PROVIDER,
         "apns_{name}", "The key is wrong, revoked, or not for this team, app or environment."),
    rule("404 with BadPath", Kind.NEXT_PROVIDER, "apns_bad_path", "The address that we call is not Apple's."),
    rule("405 with MethodNotAllowed", Kind.NEXT_PROVIDER, "apns_method_not_allowed",
         "The address that we call is not Apple's."),
    rule("400,403,404,405 with others", Kind.NEXT_PROVIDER, "apns_{name}",
         "Refused for a reason that we don't know: never taken for the device's fault."),
    rule("429 with TooManyRequests", Kind.RECIPIENT_TEMPORARY, "apns_too_many_requests",
         "Too many for this device: it alone is left alone, for a minute unless Apple says how long.",
         device=Fate.BUSY, wait=BUSY_SECONDS),
    rule("429 with TooManyProviderTokenUpdates", Kind.THROTTLED, "apns_too_many_provider_token_updates",
         "Another program uses this key with tokens of its own: no new one helps; wait five minutes.",
         wait=UPDATES_SECONDS),
    rule("500 with InternalServerError", Kind.RETRY, "apns_internal_server_error",
         "Apple asks for 15 minutes: marketing waits these, transactional from 30 s doubling up to them, critical by "
         "its ladder, because it would be void by then and another server may well answer."),
    rule("503 with ServiceUnavailable", Kind.RETRY, "apns_service_unavailable", "As for InternalServerError."),
)  # fmt: skip
OUTCOMES = TABLE.rows

_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){16,200}")
"""A token of any length that may be registered (``core/registration``)."""
_PLACES: Mapping[str, tuple[str, str]] = {
    Environment.PRODUCTION: ("endpoint", PRODUCTION),
    Environment.SANDBOX: ("endpoint_sandbox", SANDBOX),
}


class _Told(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the app is told of the notification itself."""

    notification: str
    type: str
    receipt: str | None = None


class _Payload(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    aps: notice.Aps
    ulak: _Told
    data: dict[str, str] | None = None
    url: str | None = None
    image: str | None = None
    actions: list[notice.Button] | None = None


_encode = msgspec.json.Encoder().encode


_OF_THE_DEVICE = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    keys.check_types(settings, SETTINGS)
    for key in ("team_id", "key_id"):
        if re.fullmatch(r"[A-Z0-9]{10}", str(settings.get(key, ""))) is None:
            raise ValueError(f"{key}: must be 10 letters and digits, as Apple's developer site shows it")
    _check_key(settings)
    apps = settings.get("apps")
    if not isinstance(apps, list) or not apps:
        raise ValueError('apps: list the bundle ids of your apps, such as ["com.example.app"]')
    if any(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,154}", app) is None for app in apps):
        raise ValueError("apps: must be bundle ids, such as com.example.app")
    keys.check_pattern(settings, "environment", "production|sandbox|both", '"production", "sandbox" or "both"')
    keys.check_endpoint(settings)
    keys.check_endpoint(settings, "endpoint_sandbox")
    if "ca_file" in settings and not {"endpoint", "endpoint_sandbox"} & settings.keys():
        raise ValueError("ca_file: goes together with endpoint; Apple's own certificates need none")


def build(messages: Sequence[Message], account: Account, now: datetime) -> HttpRequest:
    """One message as one call; raises ``ContentError`` when it can never be sent."""
    (message,) = messages
    content, device = notice.addressed(message, (AddressKind.APNS,))
    if _HEX.fullmatch(device.address) is None:
        raise ContentError("bad_address", "the device's token is not in hexadecimal digits")
    body = notice.within(lambda shown: _encode(_payload(content, message, shown)), notice.texts(content), len)
    headers = (
        ("apns-topic", device.app or _first_app(account)),
        ("apns-push-type", "background" if content.silent else "alert"),
        ("apns-priority", notice.apns_priority(content, message)),
        ("apns-expiration", notice.apns_expiration(message, now)),
        ("apns-collapse-id", notice.collapse_id(message)),
        ("apns-id", _uuid(message.delivery)),
        ("content-type", "application/json"),
    )
    url = f"{_place(account, device)}/3/device/{device.address}"
    return HttpRequest("POST", url, headers, body)


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    return [_verdict(reply, message, account, now) for message in messages]


def scope(request: HttpRequest, account: Account) -> str:
    """One provider token serves all apps and both environments of an account."""
    del request, account
    return ""


def credential(scope: str, account: Account, now: datetime) -> Credential:
    """The provider token of this half hour, the same on every node."""
    del scope
    issued = (int(now.timestamp()) - LAG) // TOKEN_SECONDS * TOKEN_SECONDS
    key = jwt.p256(str(account.settings["private_key"]))
    claims: dict[str, str | int] = {"iss": str(account.settings["team_id"]), "iat": issued}
    token = jwt.mint(key, claims, str(account.settings["key_id"]))
    renew, end = issued + TOKEN_SECONDS + LAG, issued + TOKEN_LIFE
    return Credential(f"bearer {token}", datetime.fromtimestamp(renew, UTC), datetime.fromtimestamp(end, UTC))


def granted(reply: HttpReply, account: Account, now: datetime) -> Credential | None:
    """Apple is asked for no credential, so nothing is one."""
    del reply, account, now
    return None


def stale(reply: HttpReply) -> bool:
    """Whether Apple took the provider token for too old."""
    return reply.status == 403 and notice.json_object(reply.body).get("reason") == "ExpiredProviderToken"


def proves(reply: HttpReply) -> bool:
    """Whether Apple has looked past the provider token, so that a connection may carry more than one request.

    A word on the device's token comes only after the provider's own was accepted.
    """
    return reply.status in (200, 410) or notice.json_object(reply.body).get("reason") in _OF_THE_DEVICE


def _check_key(settings: Mapping[str, object]) -> None:
    given = [settings[key] for key in ("private_key", "private_key_env") if key in settings]
    if len(given) != 1 or not given[0]:
        raise ValueError("private_key_env: name the environment variable that holds the .p8 file's text")
    if not keys.is_variable(given[0]):
        try:
            jwt.p256(str(given[0]))
        except ValueError as error:
            raise ValueError(f"private_key: {error}") from None


def _first_app(account: Account) -> str:
    apps = account.settings.get("apps")
    return str(apps[0]) if isinstance(apps, list) and apps else ""


def _place(account: Account, device: Device) -> str:
    """The service of the environment that issued the token, as far as the account has it."""
    wanted = str(account.settings.get("environment", Environment.PRODUCTION))
    key, default = _PLACES[device.environment if wanted == "both" else wanted]
    return str(account.settings.get(key, default)).rstrip("/")


def _uuid(delivery: str) -> str:
    """A delivery's id in the form that Apple wants of ``apns-id``."""
    digits = delivery[4:]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _payload(content: PushContent, message: Message, shown: Sequence[str]) -> _Payload:
    return _Payload(
        aps=notice.aps(content, message, shown),
        ulak=_Told(message.notification, message.type, message.receipt),
        data=dict(content.data) or None,
        url=content.url,
        image=content.image,
        actions=notice.buttons(content),
    )


def _verdict(reply: Reply, message: Message, account: Account, now: datetime) -> Outcome:
    if isinstance(reply, HttpReply):
        return TABLE.judge(_answer(reply, message, account, now))
    return TABLE.unanswered(notice.discreet(reply, message))


def _answer(reply: HttpReply, message: Message, account: Account, now: datetime) -> Answer:
    """What Apple said, by the word in the body; a success is proven by the id that it gives back."""
    status = reply.status
    if status == 200:
        proof = reply.headers.get("apns-id")
        return Answer(status, "apns-id" if proof else "", vendor_id=proof)
    said = notice.json_object(reply.body)
    name, since, device = notice.word(said.get("reason")), _moment(said.get("timestamp")), message.device
    text = "" if name else notice.covered(text_of(reply), message)
    if status == 410 and since is not None:
        text = f"dead since {since:%Y-%m-%dT%H:%M:%S}Z"
        if name and device is not None and since < device.registered_at:
            name = "Unregistered-before"
    if name == "BadDeviceToken" and _may_flip(account, device):
        name = "BadDeviceToken-here"
    wait = seconds(reply.headers, now)
    if wait is None and name in ("InternalServerError", "ServiceUnavailable"):
        wait = _patience(message)
    return Answer(status, name, text, wait=wait, dead_since=since)


def _may_flip(account: Account, device: Device | None) -> bool:
    return account.settings.get("environment") == "both" and device is not None and not device.flipped


def _patience(message: Message) -> float | None:
    """Seconds after a fault of Apple's; None leaves it to the ladder of the class."""
    if message.klass is Class.CRITICAL:
        return None
    return notice.PATIENCE[Class.MARKETING] if message.klass is Class.MARKETING else notice.doubled(message, 30.0)


def _moment(said: object) -> datetime | None:
    """A time in milliseconds since 1970, as Apple tells it; None for what is none."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < 10**14:
        return None
    return datetime.fromtimestamp(said / 1_000, UTC)
