"""Who is connected right now, and how is somebody sent away?

Answers are put together from all nodes that may know. One that did not answer in time makes an answer
incomplete, which is said: an unknown connection is never counted as an absent one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from ulak.core import values
from ulak.core.connections import Answers, Described, Question
from ulak.edge.api import problem, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call

_PATIENCE = 1.0
"""Seconds to wait for other nodes."""

_MOST_OF_A_USER = 200


class ConnectionQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Parameters of the list."""

    user: Annotated[str, Meta(min_length=1, max_length=values.MAX_ID, description="only this user's")] | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="most connections that are shown; all are counted")] = 50


async def _ask(call: Call, question: Question) -> Answers:
    return await call.deps.bus.ask(question, _PATIENCE)


async def listed(call: Call) -> Response:
    """Open connections, the newest of those shown first; `total` counts all. There are no further pages."""
    q: ConnectionQuery = call.query
    found = await _ask(call, Question(call.tenant, fit_query("user", q.user), limit=q.limit))
    return answer(wire.ConnectionList([_shown(one) for one in found.found], found.total, found.complete))


async def presence(call: Call) -> Response:
    """Whether a user is connected, and looking at a device. One that misses a ping is absent at once."""
    found = await _ask(call, Question(call.tenant, call.params["user"], limit=_MOST_OF_A_USER))
    return answer(
        wire.PresenceAnswer(
            present=found.total > 0,
            active=any(one.active for one in found.found),
            connections=found.total,
            devices=sorted({one.device for one in found.found if one.device is not None}),
            last_seen=max((_moment(one.seen) for one in found.found), default=None),
            complete=found.complete,
        )
    )


async def close(call: Call) -> Response:
    """Close one connection with 4507: its client does not come back by itself."""
    found = await _ask(call, Question(call.tenant, connection=call.params["connection"], close=True))
    if found.total:
        return answer(wire.ClosedAnswer(found.total, found.complete))
    if not found.complete:
        raise problem.unavailable("the node that holds the connection did not answer", 1.0)
    raise problem.not_found("connection")


async def close_all(call: Call) -> Response:
    """Close all connections of a user with 4507. His token still holds: revoke it to keep him out."""
    found = await _ask(call, Question(call.tenant, call.params["user"], close=True))
    return answer(wire.ClosedAnswer(found.total, found.complete))


def _shown(one: Described) -> wire.ConnectionAnswer:
    return wire.ConnectionAnswer(
        id=one.id,
        user=one.user,
        transport=one.transport,
        connected_at=_moment(one.connected_at),
        last_seen=_moment(one.seen),
        active=one.active,
        device=one.device,
        user_agent=one.user_agent,
        address=one.address,
        topics=one.topics,
        meta=shape.stored_object(one.meta),
        expires_at=None if one.expires_at is None else _moment(one.expires_at),
    )


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
