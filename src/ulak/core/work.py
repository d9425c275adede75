"""What does a planner need to know of one piece of plan work?

The same value comes from the acceptor in this process right after its commit, and from the
``plan_work`` table when nobody planned it in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.core.model import User

CHUNK = 500
"""The most recipients that one piece of work holds and one transaction plans."""


class PlanWork(msgspec.Struct, frozen=True, gc=False):
    """One chunk of recipients, or one range of an audience (``after`` < user id <= ``upto``).

    ``audience``: ``list``; ``topic`` or ``all`` for one range; ``walk_topic`` or ``walk_all`` for an
    audience that is still to be cut into ranges. ``takes`` counts the planners that took it; more than
    one of them make it a suspect.
    """

    id: int
    tenant: int
    notification: UUID
    lane: int
    takes: int
    audience: str
    topic: str | None
    after: str | None
    upto: str | None
    recipients: str | None
    type: str
    catalog: int
    accepted_at: datetime
    expires_at: datetime
    channels: Sequence[str] | None
    actor: str | None
    data: str


def cost(recipients: str | None, data: str) -> int:
    """About what a piece asks of a planner, in recipients: a range of an audience is a full chunk, data counts too."""
    return (CHUNK if recipients is None else recipients.count(",") + 1) + len(data) // 200


class _Inline(msgspec.Struct, omit_defaults=True):
    id: str
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    timezone: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str | _Inline]).decode


def pack(recipients: Sequence[str | User]) -> list[str]:
    """Write recipients as JSON chunks: a stored user is its id, one known to this request only an object."""
    plain = [r if isinstance(r, str) else _Inline(r.id, r.email, r.phone, r.locale, r.timezone) for r in recipients]
    return [_encode(plain[i : i + CHUNK]).decode() for i in range(0, len(plain), CHUNK)]


def unpack(text: str) -> list[str | User]:
    """Read one chunk."""
    return [r if isinstance(r, str) else User(r.id, r.email, r.phone, r.locale, r.timezone) for r in _decode(text)]
