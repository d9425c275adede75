"""What does the body of a request look like: which fields, of which types, within which bounds?

These types read the JSON and, through the OpenAPI description, tell callers what to write. What they
can't say (an id's characters, a time's bounds) is checked in ``request``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ulak.core import values
from ulak.core.model import Channel

MAX_RECIPIENTS = 1_000
MAX_BATCH = 1_000

_Id = Annotated[str, Meta(min_length=1, max_length=values.MAX_ID)]
_Time = Annotated[datetime, Meta(tz=True)]


class InlineBody(Struct, forbid_unknown_fields=True):
    """A user known to this notification only; nothing of it is stored as a user."""

    id: str
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    timezone: str | None = None


class RecipientBody(Struct, forbid_unknown_fields=True):
    """Exactly one of: a user (by id, or inline), a topic's subscribers, all users."""

    user: str | InlineBody | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    all: bool | UnsetType = UNSET


class ContextBody(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where the event came from."""

    ip: Annotated[str, Meta(max_length=45)] | None = None
    locale: Annotated[str, Meta(max_length=35)] | None = None


class NotificationBody(Struct, forbid_unknown_fields=True):
    """One event to be told to somebody."""

    type: _Id
    to: Annotated[list[RecipientBody], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    data: dict[str, Any] = {}  # msgspec copies it
    channels: Annotated[list[Channel], Meta(min_length=1, max_length=len(Channel))] | None = None
    priority: Literal["critical", "transactional", "bulk"] | None = None
    send_at: _Time | None = None
    expires_at: _Time | None = None
    collapse_key: _Id | None = None
    actor: _Id | None = None
    context: ContextBody | None = None


class BatchItemBody(NotificationBody, forbid_unknown_fields=True):
    """One request of a batch."""

    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class BatchBody(Struct, forbid_unknown_fields=True):
    """Up to 1,000 requests, each with an answer of its own."""

    notifications: Annotated[list[BatchItemBody], Meta(min_length=1, max_length=MAX_BATCH)]
