"""What does a caller ask for, is it acceptable, and which of its recipients can be used?

``decode`` reads the body of one request, ``decode_batch`` that of many. A request that is wrong in
itself is refused as a whole with the path at fault; a recipient that can't be used (a malformed
address) only becomes a problem of its own, unless nobody is left. Nothing here asks the database:
whether a user exists is seen when the notification is planned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct

from ulak.core import jsonsafe, values
from ulak.core.device import AddressKind, Environment
from ulak.core.invalid import Invalid, invalid, moved, under
from ulak.core.model import LANE_OF, LANES, Channel, NotificationType
from ulak.core.request_body import MAX_BATCH, ContextBody, InlineBody, NotificationBody, RecipientBody
from ulak.core.states import State
from ulak.core.values import Unfit

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

_RECIPIENT = re.compile(r"\$\.to\[\d+\]")
_FIELD = re.compile(r"(?:required|unknown) field `(.*)`\Z", re.DOTALL)


class Catalog(Protocol):
    """The part of the loaded project that a request is checked against."""

    @property
    def types(self) -> Mapping[str, NotificationType]:
        """Declared types by name."""
        ...


class UserRef(Struct, frozen=True):
    """A stored user."""

    id: str


class InlineUser(Struct, frozen=True):
    """A user as described in the request."""

    id: str
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    timezone: str | None = None


class Topic(Struct, frozen=True):
    """Everyone subscribed when the request was accepted."""

    name: str


class All(Struct, frozen=True):
    """Every stored user."""


Recipient = UserRef | InlineUser | Topic | All


class Problem(Struct, frozen=True):
    """Why one recipient of an accepted request is left out."""

    path: str
    code: str
    detail: str


class NotificationRequest(Struct, frozen=True):
    """A request that may be accepted.

    ``lane`` is already bounded by the type's class; ``send_at`` None means now; ``expires_at`` None
    that the type's own life counts; ``data`` and ``context`` are canonical JSON; ``fingerprint`` is
    BLAKE2b-128 of the canonical body, without the batch item's own key.
    """

    type: NotificationType
    lane: int
    recipients: tuple[Recipient, ...]
    problems: tuple[Problem, ...]
    data: str
    fingerprint: bytes
    send_at: datetime | None = None
    expires_at: datetime | None = None
    channels: tuple[Channel, ...] | None = None
    collapse_key: str | None = None
    actor: str | None = None
    context: str | None = None
    idempotency_key: str | None = None


def decode(body: bytes, catalog: Catalog, now: datetime, idempotency_key: str | None = None) -> NotificationRequest:
    """Read one request; raises ``Invalid`` when it can't be accepted."""
    value, canonical = jsonsafe.loads(body)
    if idempotency_key is not None:
        idempotency_key = _fit("Idempotency-Key", values.idempotency_key, idempotency_key)
    return _check(typed(value, NotificationBody), canonical, catalog, now, idempotency_key)


def decode_batch(body: bytes, catalog: Catalog, now: datetime) -> list[NotificationRequest | Invalid]:
    """Read many requests; an item at fault becomes an ``Invalid`` in its place.

    Raises ``Invalid`` when the body is not a list of at most ``MAX_BATCH`` objects.
    """
    value, _ = jsonsafe.loads(body)
    items = value.get("notifications") if type(value) is dict else None
    if type(items) is not list or len(value) != 1:
        raise invalid("invalid_field", "$", 'expected {"notifications": [...]} and nothing else')
    if not 1 <= len(items) <= MAX_BATCH:
        raise invalid("invalid_field", "$.notifications", f"expected 1 to {MAX_BATCH} items, got {len(items)}")
    checked: list[NotificationRequest | Invalid] = []
    for index, item in enumerate(items):
        try:
            checked.append(_decode_item(item, catalog, now))
        except Invalid as error:
            checked.append(moved(error, f"$.notifications[{index}]"))
    return checked


def _decode_item(item: Any, catalog: Catalog, now: datetime) -> NotificationRequest:
    key = item.pop("idempotency_key", None) if type(item) is dict else None
    body = typed(item, NotificationBody)
    if key is not None:
        if type(key) is not str:
            raise invalid("invalid_field", "$.idempotency_key", "expected a string")
        key = _fit("$.idempotency_key", values.idempotency_key, key)
    return _check(body, jsonsafe.canonical(item), catalog, now, key)


def typed(value: Any, model: type[T]) -> T:
    """Bring a JSON value into the form of a wire type; raises ``Invalid`` with the path at fault."""
    try:
        return msgspec.convert(value, model)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), model) from None


def _refusal(message: str, model: type) -> Invalid:
    """Turn msgspec's sentence into code, path and message."""
    message, _, path = message.partition(" - at `")
    path = path.rstrip("`") or "$"
    name = _FIELD.search(message)
    if name is None:
        return invalid("invalid_field", path, message.replace("`", ""), _hint(path))
    if "missing" in message:
        return invalid("missing_field", f"{path}.{name[1]}", "the field is required")
    elsewhere = ", or move it into data" if "data" in getattr(model, "__struct_fields__", ("data",)) else ""
    return invalid("unknown_field", under(path, name[1]), "there is no such field", f"remove it{elsewhere}")


_CHOICES: Mapping[str, Sequence[str]] = {
    "channel": tuple(Channel),
    "channels": tuple(Channel),
    "priority": tuple(LANES),
    "state": tuple(State),
    "kind": tuple(AddressKind),
    "environment": tuple(Environment),
}


def _hint(path: str) -> str:
    """What to write there, for the places where people go wrong."""
    if _RECIPIENT.fullmatch(path):
        return 'a recipient is an object, such as {"user": "ada"} or {"topic": "news"}'
    choices = _CHOICES.get(path.rpartition(".")[2].partition("[")[0])
    return "" if choices is None else "one of " + ", ".join(choices)


def _fit(path: str, check: Callable[[A], B], value: A) -> B:
    """Apply one of ``values``' checks to a value that stands at ``path``."""
    try:
        return check(value)
    except Unfit as error:
        raise invalid(error.code, path, error.message, error.hint) from None


def _check(
    body: NotificationBody, canonical: bytes, catalog: Catalog, now: datetime, key: str | None
) -> NotificationRequest:
    kind = catalog.types.get(body.type)
    if kind is None:
        near = get_close_matches(body.type, catalog.types, 1)
        hint = f"did you mean {near[0]}?" if near else "GET /v1/types lists those that are declared"
        raise invalid("unknown_type", "$.type", "no such notification type", hint)
    recipients, problems = _recipients(body.to)
    send_at, expires_at = _times(body, now)
    return NotificationRequest(
        kind,
        _lane(body, kind),
        recipients,
        problems,
        jsonsafe.canonical(body.data).decode(),
        hashlib.blake2b(canonical, digest_size=16).digest(),
        send_at,
        expires_at,
        None if body.channels is None else _channels(body.channels, kind),
        None if body.collapse_key is None else _fit("$.collapse_key", values.identifier, body.collapse_key),
        None if body.actor is None else _fit("$.actor", values.identifier, body.actor),
        None if body.context is None else _context(body.context),
        key,
    )


def _lane(body: NotificationBody, kind: NotificationType) -> int:
    best = LANE_OF[kind.klass]
    if body.priority is None:
        return best
    lane = LANES[body.priority]
    if lane < best:
        message = f"{body.priority} is above the type's class {kind.klass.value}"
        raise invalid("priority_too_high", "$.priority", message, "leave it out or lower it")
    return lane


def _times(body: NotificationBody, now: datetime) -> tuple[datetime | None, datetime | None]:
    send_at = expires_at = None
    if body.send_at is not None:
        at = _fit("$.send_at", values.moment, body.send_at)
        send_at = _fit("$.send_at", lambda at: values.send_time(at, now), at)
    if body.expires_at is not None:
        at = _fit("$.expires_at", values.moment, body.expires_at)
        expires_at = _fit("$.expires_at", lambda at: values.expiry(at, send_at or now), at)
    return send_at, expires_at


def _channels(channels: Sequence[Channel], kind: NotificationType) -> tuple[Channel, ...]:
    route = {step.channel for step in kind.route}
    for index, channel in enumerate(channels):
        if channel not in route:
            message = f"the route of {kind.name} has no step for {channel.value}"
            raise invalid("channel_not_in_route", f"$.channels[{index}]", message, "channels only narrow a route")
    return tuple(dict.fromkeys(channels))


def _context(context: ContextBody) -> str:
    if context.locale is not None:
        context.locale = _fit("$.context.locale", values.locale, context.locale)
    if context.ip is not None:
        context.ip = _fit("$.context.ip", values.ip, context.ip)
    return jsonsafe.canonical(context).decode()


def _recipients(to: Sequence[RecipientBody]) -> tuple[tuple[Recipient, ...], tuple[Problem, ...]]:
    """Sort recipients into usable ones, each once, and problems; the first of a repeated user counts."""
    usable: dict[tuple[str, str], Recipient] = {}
    problems: list[Problem] = []
    for index, body in enumerate(to):
        user = body.user
        if type(user) is str and body.topic is UNSET and body.all is UNSET:
            found = _user(user, index)  # the case of nearly all
        else:
            found = _other(body, index)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            usable.setdefault(_identity(found), found)
    if not usable:
        first = problems[0]
        raise invalid(first.code, first.path, first.detail, "none of the recipients can be used")
    return tuple(usable.values()), tuple(problems)


def _identity(recipient: Recipient) -> tuple[str, str]:
    """What makes two recipients the same; a user is the same by id, however it is described."""
    match recipient:
        case Topic(name):
            return "topic", name
        case All():
            return "all", ""
        case _:
            return "user", recipient.id


def _user(user: str, index: int) -> Recipient | Problem:
    try:
        return UserRef(values.identifier(user))
    except Unfit as error:
        return Problem(f"$.to[{index}].user", error.code, error.message)


def _other(body: RecipientBody, index: int) -> Recipient | Problem:
    path = f"$.to[{index}]"
    if (body.user is not UNSET) + (body.topic is not UNSET) + (body.all is not UNSET) != 1:
        raise invalid("invalid_recipient", path, "expected exactly one of user, topic and all")
    if isinstance(body.user, InlineBody):
        return _inline(body.user, f"{path}.user")
    if isinstance(body.topic, str):
        try:
            return Topic(values.identifier(body.topic))
        except Unfit as error:
            return Problem(f"{path}.topic", error.code, error.message)
    if body.all is not True:
        raise invalid("invalid_recipient", f"{path}.all", "expected true", "leave the recipient out instead")
    return All()


_INLINE: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("id", values.identifier),
    ("email", values.email),
    ("phone", values.phone),
    ("locale", values.locale),
    ("timezone", values.timezone),
)


def _inline(body: InlineBody, path: str) -> InlineUser | Problem:
    values: list[str | None] = []
    for name, check in _INLINE:
        value = getattr(body, name)
        try:
            values.append(None if value is None else check(value))
        except Unfit as error:
            return Problem(f"{path}.{name}", error.code, error.message)
    return InlineUser(*values)  # type: ignore[arg-type]  # the id is never None
