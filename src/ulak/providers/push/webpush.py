"""What do the push services of browsers answer, and what do we send them?

One sealed message per request (RFC 8030, 8291), to the endpoint that the browser was given. It says who we are by
VAPID (RFC 8292), a token for the origin of the service that nodes mint alike. The text is a declarative push message
of the Push API (https://w3c.github.io/push-api/): browsers that know the form show it by themselves, others hand it
to the app's service worker (``clients/js/push-worker.js``).

One account speaks to many services, so what one of them says of its load or its limits concerns the device, never
the account. ``Topic`` and the notification's ``tag`` are the same for all calls of a delivery: a repeated one replaces
the one before. A service may take shorter messages than others do: the first call carries up to ``payload_bytes``, each
later one is cut to ``SMALL`` where its texts allow that, so that a 413 is answered by one shorter try.

Nothing of an answer's body is kept but words of a closed list, because a stranger may have written it.

Sources: the RFCs; https://mozilla-services.github.io/autopush-rs/errors.html (errno); Apple's "Sending web push
notifications in web apps and browsers" (reasons); Microsoft's page on WNS response codes (406).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from ulak.core.content.declarative import Around, declarative
from ulak.core.content.email import ContentError
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device, Fate
from ulak.core.endpoint import SERVICES, check_endpoint, is_host, origin
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.registration import public_key
from ulak.core.sign import jwt, webpush
from ulak.core.values import Unfit
from ulak.providers import keys, notice
from ulak.providers.answers import Answer, Table, rule, seconds
from ulak.providers.contract import Capabilities, Credential, HttpReply, HttpRequest, Message, Reply

CAPABILITIES = Capabilities(channel=Channel.PUSH, entropy=True)

KINDS = (AddressKind.WEBPUSH,)

BUDGET = 3_800
"""Octets of plaintext unless ``payload_bytes`` says otherwise: services take at least ``webpush.MOST``, or should."""

SMALL = 2_800
"""Octets of plaintext from the second call on: sealed, it is below the 3,000 that the strictest services take."""

LEAST = 500
MOST_TTL = 2_419_200
"""Seconds: four weeks, the most that Google's service takes; Mozilla's takes 30 days."""

SLOT = timedelta(hours=12)
LIFE = timedelta(hours=23)
"""A token ends 23 hours after its slot began: below the 24 of RFC 8292 §2, though a service's clock be slow."""

BUSY_SECONDS = 60.0

URGENCY: Mapping[Class, str] = {Class.CRITICAL: "high", Class.TRANSACTIONAL: "normal", Class.MARKETING: "low"}
PRIORITIES = frozenset({"high", "normal", "low"})

SETTINGS: keys.Types = {
    "subject": str,
    "private_key": str,
    "private_key_env": str,
    "public_key": str,
    "hosts": list,
    "only_hosts": bool,
    "apps": list,
    "payload_bytes": int,
    "ca_file": str,
}
"""The settings of an account and their types; ``docs/how-to/push-web.md`` explains each."""

UNCUT = "uncut"
"""Our word in the table for a message that can still be shortened."""

ERRNOS = frozenset(
    {"101", "102", "103", "104", "105", "106", "108", "109", "110", "111", "112", "113", "201", "202"}
    | {"900", "901", "902", "903", "999"}
)
WORDS = frozenset(
    {
        "BadAuthorizationHeader", "BadContentEncoding", "BadJwtToken", "BadTtl", "BadUrgency", "BadWebPushTopic",
        "PayloadTooLarge", "TooManyRequests", "UnauthorizedRegistration", "Unregistered", "VapidPkHashMismatch",
    }
)  # fmt: skip
"""What may stand in a reason: Apple's words, and the one that Google puts on a page."""

TABLE = Table(
    "webpush",
    rule("200,201,202,204", Kind.ACCEPTED, "accepted",
         "The push service has the message; whether the browser shows it, it does not tell."),
    rule("404,410 with others", Kind.RECIPIENT_PERMANENT, "webpush_{status}_{name}",
         "The subscription is no more; the device is put into quarantine.", device=Fate.DEAD),
    rule("404,410", Kind.RECIPIENT_PERMANENT, "webpush_gone",
         "The subscription is no more; the device is put into quarantine.", device=Fate.DEAD),
    rule("400 with others", Kind.RECIPIENT_TEMPORARY, "webpush_400_{name}",
         "Refused, and why is named: the subscription was made with another key, or our message is wrong. "
         "Going on, it puts the device into quarantine.", device=Fate.STRIKE),
    rule("400", Kind.RECIPIENT_TEMPORARY, "webpush_http_400",
         "Refused without a reason that we know; going on, it puts the device into quarantine.", device=Fate.STRIKE),
    rule("507", Kind.RECIPIENT_TEMPORARY, "webpush_http_507",
         "Nobody listens there now (ntfy); going on, it puts the device into quarantine.", device=Fate.STRIKE),
    rule("401,403 with others", Kind.NEXT_PROVIDER, "webpush_{status}_{name}",
         "The service does not take our VAPID token: its subject, key or time is wrong. No device is touched."),
    rule("401,403", Kind.NEXT_PROVIDER, "webpush_http_{status}",
         "The service does not take our VAPID token, or a guard stopped the call. No device is touched."),
    rule("413 with uncut", Kind.RECIPIENT_TEMPORARY, "webpush_cut",
         "Too long for this service: the texts are cut further, once."),
    rule("413", Kind.PAYLOAD_ERROR, "webpush_http_413", "Too long for this service, however short the texts."),
    rule("406,429", Kind.RECIPIENT_TEMPORARY, "webpush_http_{status}",
         "Too fast for this service, which has many accounts' devices and we many services: the device waits.",
         device=Fate.BUSY, wait=BUSY_SECONDS),
    rule("500,503 with others", Kind.RETRY, "webpush_{status}_{name}", "A fault of the service's own; try again."),
    rule("502 with 900,901,902", Kind.RETRY, "webpush_502_{name}",
         "The service could not pass the message on, and says so; try again."),
    rule("3xx", Kind.NEXT_PROVIDER, "webpush_http_{status}", "A redirect, which is never followed."),
)  # fmt: skip
OUTCOMES = TABLE.rows

_MAIL = re.compile(r"mailto:[^\s<>@,;?]+@([a-z0-9-]+\.)+[a-z0-9-]+", re.IGNORECASE)
_SITE = re.compile(r"https://([a-z0-9-]+\.)+[a-z0-9-]+(?::[0-9]+)?(?:/[!-~]*)?", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9_-]+=*")


class _Said(msgspec.Struct):
    errno: int | None = None
    reason: str | None = None


_decode = msgspec.json.Decoder(_Said).decode


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    keys.check_types(settings, SETTINGS)
    _check_subject(str(settings.get("subject", "")))
    if ("private_key" in settings) == ("private_key_env" in settings):
        raise ValueError("private_key_env: name the environment variable that holds it")
    _check_pair(settings)
    for host in _texts(settings, "hosts"):
        if not is_host(host):
            raise ValueError('hosts: must be names such as "push.example.org" or "*.example.org:8443"')
    size = settings.get("payload_bytes", BUDGET)
    if not isinstance(size, int) or not LEAST <= size <= webpush.MOST:
        raise ValueError(f"payload_bytes: must be {LEAST} to {webpush.MOST}")


def _check_subject(subject: str) -> None:
    """Apple resolves the host: one without a dot, such as localhost, makes it refuse every token."""
    if _MAIL.fullmatch(subject) is None and _SITE.fullmatch(subject) is None:
        raise ValueError('subject: must be "mailto:you@example.com" or an https:// URL of yours')


def _check_pair(settings: Mapping[str, object]) -> None:
    given = str(settings.get("public_key", ""))
    if _BASE64.fullmatch(given) is None or not _is_point(given):
        raise ValueError("public_key: must be the application server key in base64url, 65 bytes")
    private = settings.get("private_key")
    if private is None or keys.is_variable(private):
        return
    try:
        public = _public(str(private))
    except ValueError as error:
        raise ValueError(f"private_key: {error}") from None
    if public != given.rstrip("="):
        raise ValueError("public_key: does not belong to the private key")


def _is_point(text: str) -> bool:
    try:
        public_key(text)
    except Unfit:
        return False
    return True


def _public(private: str) -> str:
    return jwt.encoded(webpush.public_point(jwt.p256(private))).decode("ascii")


def _texts(settings: Mapping[str, object], key: str) -> list[str]:
    found = settings.get(key)
    return [str(each) for each in found] if isinstance(found, list) else []


def build(messages: Sequence[Message], account: Account, now: datetime) -> HttpRequest:
    """Seal one message for its device; raises ``ContentError`` when it can never be sent."""
    (message,) = messages
    content, device = notice.addressed(message, KINDS)
    services = () if account.settings.get("only_hosts") is True else SERVICES
    refused = check_endpoint(device.address, _texts(account.settings, "hosts"), services)
    if refused is not None:
        raise ContentError("endpoint_refused", f"the endpoint {refused}; an account's hosts may name more")
    plaintext = _plaintext(message, account)
    if plaintext is None:
        raise ContentError("payload_too_large", "data and addresses alone are too long, however short the texts")
    try:
        body = webpush.encrypt(plaintext, device.p256dh, device.auth, message.entropy)
    except ValueError:
        raise ContentError("bad_subscription", "the subscription's keys can't be used") from None
    headers = _headers(message, _urgency(content, message), _topic(message, device), now)
    return HttpRequest("POST", device.address, headers, body)


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    if not isinstance(reply, HttpReply):
        return [TABLE.unanswered(reply)] * len(messages)
    wait = seconds(reply.headers, now) if reply.status in (429, 500, 503) else None
    name = _name(reply)
    return [
        TABLE.judge(
            Answer(
                reply.status,
                UNCUT if reply.status == 413 and _can_be_cut(message, account) else name,
                vendor_id=_message_id(reply, message),
                wait=wait,
            )
        )
        for message in messages
    ]


def scope(request: HttpRequest, account: Account) -> str:
    """One token for each push service: its origin, which the token names (RFC 8292 §2)."""
    del account
    return origin(request.url)


def credential(scope: str, account: Account, now: datetime) -> Credential:
    """The token for one service: the same on every node for twelve hours."""
    key = str(account.settings["private_key"])
    began = datetime.fromtimestamp(now.timestamp() // SLOT.total_seconds() * SLOT.total_seconds(), UTC)
    ends = began + LIFE
    claims: dict[str, str | int] = {
        "aud": scope,
        "exp": int(ends.timestamp()),
        "sub": str(account.settings["subject"]),
    }
    value = f"vapid t={jwt.mint(jwt.p256(key), claims)}, k={_public(key)}"
    return Credential(value, renew_at=began + SLOT, ends_at=ends - timedelta(hours=1))


def granted(reply: HttpReply, account: Account, now: datetime) -> Credential | None:
    """None: no service is ever asked for a token, ours are our own."""
    del reply, account, now
    return None


def stale(reply: HttpReply) -> bool:
    """Never: a token that is refused is refused again, for it is minted from the same key and claims."""
    del reply
    return False


def _headers(message: Message, urgency: str, topic: str, now: datetime) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Encoding", "aes128gcm"),
        ("Content-Type", "application/octet-stream"),
        ("TTL", str(notice.lifetime(message, now, MOST_TTL))),
        ("Urgency", urgency),
        ("Topic", topic),
    )


def _urgency(content: PushContent, message: Message) -> str:
    return content.priority if content.priority in PRIORITIES else URGENCY[message.klass]


def _topic(message: Message, device: Device) -> str:
    """By which a newer message replaces a waiting one: 32 characters that tell the service nothing of the key."""
    key = (message.collapse or message.delivery).encode("utf-8", "replace")
    return hmac.digest(device.auth.encode(), key, "sha256").hex()[:32]


def _plaintext(message: Message, account: Account) -> bytes | None:
    """What is sealed, as short as this call has to be; None when it can't be."""
    size = account.settings.get("payload_bytes", BUDGET)
    most = min(size, webpush.MOST) if isinstance(size, int) else BUDGET
    again = None if _is_first(message) else _within(message, min(most, SMALL))
    return _within(message, most) if again is None else again


def _is_first(message: Message) -> bool:
    """Whether this is the first call of a delivery, by the number that ends the attempt's id."""
    return message.attempt.rpartition("_")[2] in ("", "1")


def _can_be_cut(message: Message, account: Account) -> bool:
    """Whether a call that was too long will be shorter the next time. Never raises."""
    try:
        sent, shorter = _plaintext(message, account), _within(message, SMALL)
    except ContentError:
        return False
    return sent is not None and shorter is not None and len(shorter) < len(sent)


def _within(message: Message, most: int) -> bytes | None:
    told = {"notification": message.notification, "type": message.type, "receipt": message.receipt or ""}
    around = Around(
        tag=message.collapse or message.delivery,
        badge=message.badge,
        told={name: value for name, value in told.items() if value},
        watched=message.receipt is not None,
    )
    content, _ = notice.addressed(message, KINDS)
    try:
        return declarative(content, around, most)
    except UnicodeEncodeError:
        raise ContentError("bad_text", "a text holds half of a character") from None


def _name(reply: HttpReply) -> str:
    """The service's word for what it says, if it is one that we know; never a text of its own."""
    if reply.status < 400:
        return ""
    try:
        said = _decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "UnauthorizedRegistration" if b"UnauthorizedRegistration" in reply.body[:1_000] else ""
    errno = str(said.errno)
    if errno in ERRNOS:
        return errno
    return said.reason if said.reason in WORDS else ""


def _message_id(reply: HttpReply, message: Message) -> str | None:
    """The last part of the URL that the service gave the message; never a part of the endpoint, which is secret."""
    found = reply.headers.get("location", "").rpartition("/")[2]
    return found if message.device is not None and found and found not in message.device.address else None
