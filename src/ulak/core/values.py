"""Is this one value (an id, an address, a locale, a time) fit to be stored, and in which spelling?

Each function takes what the caller gave and returns it as it is kept, or raises ``Unfit`` with a
stable code. Nothing here knows where the value stood; whoever asks adds the path.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from ulak.core.content.address import normalise_email, suppression_key
from ulak.core.locale import canonical

MAX_ID = 128
"""Characters of a user id, topic, category or actor."""

MAX_ADDRESS = 1024
"""Characters of an address of any kind (a push endpoint is the longest)."""

PAST_TOLERANCE = timedelta(minutes=5)
"""How far in the past a ``send_at`` may lie (clocks differ, requests wait) and still mean "now"."""

HORIZON = timedelta(days=366)
"""How far ahead of now a time may lie."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,31}){0,2}\Z")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


class Unfit(ValueError):
    """A value that can't be stored; ``code`` is stable, ``message`` and ``hint`` are for people."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


def identifier(text: str) -> str:
    """A user id, topic, category, actor or collapse key: 1 to 128 characters, no control characters."""
    if not 1 <= len(text) <= MAX_ID:
        raise Unfit("invalid_id", f"{len(text)} characters", f"use 1 to {MAX_ID} characters")
    if not text.isprintable() and _CONTROL.search(text):
        raise Unfit("invalid_id", "it holds a control character", "use printable characters")
    return text


def email(text: str) -> str:
    """One email address, in the spelling that is stored and sent to."""
    address = normalise_email(text)
    if address is None:
        raise Unfit("invalid_email", "not one email address", "give a single address such as user@example.com")
    return address


def phone(text: str) -> str:
    """A number in E.164 form (ITU-T E.164: a plus and at most 15 digits)."""
    if not _PHONE.match(text):
        raise Unfit("invalid_phone", "not a number in E.164 form", "write it like +14155550123")
    return text


def locale(text: str) -> str:
    """A language tag (RFC 5646) in its usual spelling: ``tr``, ``pt-BR``, ``zh-Hant-TW``."""
    tag = canonical(text)
    if tag is None:
        raise Unfit("invalid_locale", "not a language tag", "write it like en, tr or pt-BR")
    return tag


def timezone(text: str) -> str:
    """The name of a time zone as the IANA database spells it; only the form is checked."""
    if not _ZONE.match(text):
        raise Unfit("invalid_timezone", "not the name of a time zone", "write it like Europe/Istanbul")
    return text


def address(channel: str, text: str) -> str:
    """An address of a channel in the form under which it is suppressed."""
    if channel == "email":
        return suppression_key(email(text))
    if channel == "sms":
        return phone(text)
    if not 1 <= len(text) <= MAX_ADDRESS or _CONTROL.search(text):
        raise Unfit("invalid_address", "not an address", f"use 1 to {MAX_ADDRESS} printable characters")
    return text


def ip(text: str) -> str:
    """An IPv4 or IPv6 address, in its canonical spelling."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise Unfit("invalid_ip", "not an IP address", "write it like 203.0.113.7 or 2001:db8::1") from None


def idempotency_key(text: str) -> str:
    """The value of an ``Idempotency-Key``: 1 to 255 visible ASCII characters."""
    if not _KEY.match(text):
        raise Unfit("invalid_idempotency_key", "not 1 to 255 visible ASCII characters", "a UUID will do")
    return text


def moment(at: datetime) -> datetime:
    """A time that was given with its offset (RFC 3339), in UTC."""
    if at.tzinfo is None:
        raise Unfit("invalid_time", "the offset is missing", "end it with Z or an offset such as +03:00")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise Unfit("invalid_time", "the year is out of range") from None


def send_time(at: datetime, now: datetime) -> datetime | None:
    """When to send; None for "now", which is what a moment just passed means as well."""
    if at < now - PAST_TOLERANCE:
        raise Unfit("time_in_the_past", "it has passed", "leave it out to send now")
    if at > now + HORIZON:
        raise Unfit("time_too_far", "it is more than a year ahead", "choose a time within a year")
    return at if at > now else None


def expiry(at: datetime, send_at: datetime) -> datetime:
    """When a notification is worth nothing any more: after it is to be sent, and within a year of that."""
    if at <= send_at:
        raise Unfit("expires_too_early", "it expires before it would be sent", "choose a later time")
    if at > send_at + HORIZON:
        raise Unfit("time_too_far", "it is more than a year after sending", "choose a time within a year")
    return at
