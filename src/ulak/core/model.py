"""What are the things that Ulak speaks of: channels, classes, lanes, types, steps, users?

The words are those of the design; every value here is frozen and free of I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum

import msgspec


class Channel(StrEnum):
    """A way to reach a user."""

    IN_APP = "in_app"
    PUSH = "push"
    EMAIL = "email"
    SMS = "sms"
    WEBHOOK = "webhook"


class Class(StrEnum):
    """How much a notification matters; decides lane, retry ladder and what an ``unknown`` becomes."""

    CRITICAL = "critical"
    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


LANES: Mapping[str, int] = {"critical": 0, "transactional": 1, "bulk": 2}
"""Lane name to its number in the queue."""

LANE_OF: Mapping[Class, int] = {Class.CRITICAL: 0, Class.TRANSACTIONAL: 1, Class.MARKETING: 2}
"""The best lane that a class may use; ``priority`` may only lower it."""

SOLO = 10
"""Added to a lane's number for rows that are tried alone after a crash."""


class Mark(IntFlag):
    """What a user did that can stop a later step (bits of ``markers.mask`` and ``deliveries.unless``)."""

    NONE = 0
    DELIVERED = 1
    SEEN = 2
    READ = 4
    CLICKED = 8


IMPLIES: Mapping[Mark, Mark] = {
    Mark.DELIVERED: Mark.DELIVERED,
    Mark.SEEN: Mark.SEEN | Mark.DELIVERED,
    Mark.READ: Mark.READ | Mark.SEEN | Mark.DELIVERED,
    Mark.CLICKED: Mark.CLICKED | Mark.READ | Mark.SEEN | Mark.DELIVERED,
}
"""A user who read something has seen it, and it was delivered."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a route: this channel, ``after`` seconds, unless the mark was made by then."""

    channel: Channel
    after: float = 0.0
    unless: Mark = Mark.NONE


@dataclass(frozen=True, slots=True)
class NotificationType:
    """A declared kind of event (a ``[types.NAME]`` table of ``ulak.toml``).

    ``template`` names the template folder (the type's own name by default); ``expires`` is the
    life of a notification in seconds when the request gives none; ``on_unknown`` overrides what
    becomes of an unanswered send: ``resend`` (by the same account), ``resend_elsewhere`` or ``stop``.
    ``track`` is what links of ours note of its emails: ``opens``, ``clicks``.
    """

    name: str
    category: str
    klass: Class
    route: tuple[Step, ...]
    template: str
    expires: float
    on_unknown: str
    track: frozenset[str] = frozenset()


class User(msgspec.Struct, frozen=True, gc=False):
    """Somebody who can be notified, as known at planning time (stored or inline)."""

    id: str
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One set of credentials and limits of a provider (an ``[accounts.NAME]`` table).

    ``settings`` are the provider's own keys, already checked by it. Timeouts are seconds. Of a channel's
    accounts those of the lowest ``priority`` send first, each its share by ``weight`` (``core/failover``).
    """

    name: str
    provider: str
    channel: Channel
    concurrency: int = 8
    timeout: float = 30.0
    reconcile_after: float = 60.0
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)  # there are keys among them
    priority: int = 1
    weight: float = 1.0

    @property
    def bulkhead(self) -> str:
        """The queue that this account works off: channel and account name."""
        return f"{self.channel}/{self.name}"
