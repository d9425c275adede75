"""What goes into the accept stage, and what can come out?"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec

from ulak.core.request import NotificationRequest


class AcceptRequest(msgspec.Struct, frozen=True, gc=False):
    """A checked request, and the version of the catalogue that it was checked against."""

    request: NotificationRequest
    catalog: int


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Durable. ``replayed`` says that an earlier request with this key made it; ``problems`` is JSON."""

    id: UUID
    recipients: int
    problems: str | None
    replayed: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """The idempotency key was used with another body."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """PostgreSQL refuses this very request, whenever it is tried."""

    detail: str


Result = Accepted | Conflict | Rejected
