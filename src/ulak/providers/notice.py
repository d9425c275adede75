"""What of a notification do all push services get alike, and how long is theirs to wait?

The parts that APNs and FCM share: Apple's ``aps`` object (FCM passes it on to iPhones), what the app is told besides,
the id by which a newer notification replaces an older one, its urgency, its life, and texts cut to a limit.

Sources: Apple, "Generating a remote notification" and "Sending notification requests to APNs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from ulak.core.content.email import ContentError
from ulak.core.content.push import PushContent
from ulak.core.content.shrink import shrink
from ulak.core.device import AddressKind, Device
from ulak.core.model import Class
from ulak.core.sign.jwt import encoded
from ulak.providers.answers import text_of
from ulak.providers.contract import HttpReply, Lost, Message, Reply, Ungranted

MOST_BYTES = 4_096
"""What APNs and FCM take of a payload."""

PATIENCE: Mapping[Class, float] = {Class.CRITICAL: 30.0, Class.TRANSACTIONAL: 900.0, Class.MARKETING: 900.0}
"""The longest wait in seconds that we choose ourselves after a service's fault."""

_URGENCY: Mapping[Class, str] = {Class.CRITICAL: "high", Class.TRANSACTIONAL: "high", Class.MARKETING: "normal"}
_COLLAPSE = re.compile(r"[!-~]{1,64}")
_LONG = re.compile(r"[A-Za-z0-9_:.%+/=~-]{48,}")
_WORD = re.compile(r"[A-Za-z]{1,60}")


class Alert(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is read on an iPhone's screen."""

    title: str = ""
    subtitle: str | None = None
    body: str = ""


class Sound(msgspec.Struct, frozen=True, gc=False):
    """A sound that is heard in spite of the mute switch; the app needs Apple's leave for it."""

    name: str
    critical: int = 1
    volume: float = 1.0


class Aps(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename=lambda name: name.replace("_", "-")):
    """The object that Apple's systems read themselves."""

    alert: Alert | None = None
    badge: int | None = None
    sound: str | Sound | None = None
    thread_id: str | None = None
    category: str | None = None
    interruption_level: str | None = None
    mutable_content: int | None = None
    content_available: int | None = None


class Button(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An action, for the app to show."""

    name: str
    title: str
    url: str | None = None
    icon: str | None = None


def addressed(message: Message, kinds: Collection[AddressKind]) -> tuple[PushContent, Device]:
    """The content and the device of a message; raises ``ContentError`` when it is none for this service."""
    content, device = message.content, message.device
    if not isinstance(content, PushContent):
        raise ContentError("not_push", "the content is not that of a push notification")
    if device is None or device.kind not in kinds:
        raise ContentError("not_its_device", "the device is none that this service knows")
    if not content.silent and not (content.title or content.body):
        raise ContentError("empty_content", "title and body are empty")
    return content, device


def texts(content: PushContent) -> tuple[str, ...]:
    """What may be cut to fit, in the order of who is cut first; nothing of what shows nothing."""
    return () if content.silent else (content.body, content.subtitle or "", content.title)


def aps(content: PushContent, message: Message, shown: Sequence[str]) -> Aps:
    """Apple's object with these texts; an extension of the app is woken to load a picture or send a receipt."""
    if content.silent:
        return Aps(content_available=1)
    body, subtitle, title = shown
    critical = content.interruption == "critical"
    return Aps(
        alert=Alert(title, subtitle or None, body),
        badge=message.badge if content.badge else None,
        sound=Sound(content.sound) if critical and content.sound else content.sound,
        thread_id=content.thread,
        category=content.category,
        interruption_level=content.interruption,
        mutable_content=1 if content.image or message.receipt else None,
    )


def buttons(content: PushContent) -> list[Button] | None:
    """The actions of a notification; None when it has none."""
    return [Button(each.name, each.title, each.url, each.icon) for each in content.actions] or None


def apns_priority(content: PushContent, message: Message) -> str:
    """``apns-priority``: what shows nothing must have 5."""
    return "5" if content.silent else {"high": "10", "normal": "5", "low": "1"}[urgency(content, message)]


def apns_expiration(message: Message, now: datetime) -> str:
    """``apns-expiration`` in seconds since 1970; 0 when the end has come: one attempt, nothing stored."""
    left = lifetime(message, now, 30 * 86_400)
    return str(int(now.timestamp()) + left) if left else "0"


def urgency(content: PushContent, message: Message) -> str:
    """``high``, ``normal`` or ``low``: the content's own, else that of its class."""
    return content.priority or _URGENCY[message.klass]


def lifetime(message: Message, now: datetime, most: int) -> int:
    """Whole seconds until the notification is void, not below 0 and not above ``most``."""
    return max(0, min(most, int((message.expires_at - now).total_seconds())))


def collapse_id(message: Message) -> str:
    """By what a newer one replaces an older one: at most 64 ASCII characters.

    Without a key of the caller's it is the delivery's id, so that a repeated send replaces what is already shown.
    """
    key = message.collapse
    if key is None:
        return message.delivery
    return key if _COLLAPSE.fullmatch(key) else encoded(sha256(key.encode("utf-8", "replace")).digest()).decode("ascii")


def within(make: Callable[[Sequence[str]], bytes], full: Sequence[str], size: Callable[[bytes], int]) -> bytes:
    """The request's body, its texts cut as little as the limit asks for: the first of them before the second.

    Raises ``ContentError`` when it is too large even with one character of each.
    """
    try:
        body = make(full)
        if size(body) <= MOST_BYTES:
            return body
        kept = shrink(full, lambda cut: size(make(cut)) <= MOST_BYTES)
    except UnicodeEncodeError:
        raise half_a_character() from None
    if kept is None:
        raise ContentError("payload_too_large", f"over {MOST_BYTES} bytes without its texts: shorten data and links")
    return make(kept)


def half_a_character() -> ContentError:
    """What to raise for a text that has no form in UTF-8."""
    return ContentError("bad_text", "a text holds half of a character")


def doubled(message: Message, first: float) -> float:
    """Seconds to wait after a service's fault: doubled at each attempt up to the patience of the class."""
    tail = message.attempt.rpartition("_")[2]
    number = int(tail) if len(tail) < 5 and tail.isascii() and tail.isdigit() else 1
    return min(PATIENCE[message.klass], first * 2.0 ** min(max(number, 1) - 1, 16))


def json_object(body: bytes) -> dict[str, Any]:
    """An answer's JSON object; an empty one for anything else. Never raises."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def word(said: object) -> str:
    """A service's name for something, as far as it is one: letters only, so that no token can pass for it."""
    return said if isinstance(said, str) and _WORD.fullmatch(said) else ""


def covered(text: str, message: Message) -> str:
    """A service's words without tokens: neither the device's address nor anything that could be one."""
    address = message.device.address if message.device is not None else ""
    if address:
        text = text.replace(address, "<token>")
    return _LONG.sub("<token>", text)


def discreet(reply: Reply, message: Message) -> Reply:
    """What came instead of an answer, its words without tokens."""
    if isinstance(reply, Lost):
        return Lost(reply.phase, reply.reason, covered(reply.detail, message))
    if isinstance(reply, Ungranted) and isinstance(reply.reply, HttpReply):
        said = covered(text_of(reply.reply), message).encode("utf-8", "replace")
        return Ungranted(HttpReply(reply.reply.status, {}, said))
    if isinstance(reply, Ungranted) and isinstance(reply.reply, Lost):
        return Ungranted(Lost(reply.reply.phase, reply.reply.reason, covered(reply.reply.detail, message)))
    return reply
