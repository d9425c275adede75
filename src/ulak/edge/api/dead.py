"""What was given up, and how is it sent on its way again?"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ulak.core import ids, values
from ulak.core.invalid import invalid
from ulak.core.model import Channel
from ulak.edge.api import paging, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call
from ulak.io.postgres.reads import LAST

MAX_REDRIVE = 1_000


class DeadQuery(paging.Page, frozen=True):
    """Filters of the list."""

    channel: Channel | None = None
    reason: str | None = None


class RedriveBody(Struct, forbid_unknown_fields=True):
    """Which parked deliveries: by id, channel or reason; at most ``limit`` in one call."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=MAX_REDRIVE)] | None = None
    channel: Channel | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=values.MAX_ID)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_REDRIVE)] = MAX_REDRIVE


async def listed(call: Call) -> Response:
    """A page of parked deliveries."""
    q: DeadQuery = call.query
    after = paging.read(q.cursor, UUID, LAST)
    rows = await call.deps.reads.dead(call.tenant, q.channel, fit_query("reason", q.reason), after, q.limit + 1)
    items = [shape.dead(row) for row in rows[: q.limit]]
    return answer(wire.DeadPage(items, paging.following(rows, q.limit, lambda row: row["delivery"])))


async def redrive(call: Call) -> Response:
    """Put parked deliveries back into their queue."""
    body: RedriveBody = call.body
    chosen = None if body.ids is None else [_id(text, index) for index, text in enumerate(body.ids)]
    redriven = await call.deps.operate.redrive(call.tenant, chosen, body.channel, body.reason, body.limit)
    return answer(wire.RedriveAnswer(redriven))


def _id(text: str, index: int) -> UUID:
    found = ids.internal("dlv", text)
    if found is None:
        raise invalid("invalid_id", f"$.ids[{index}]", "not the id of a delivery", "it looks like dlv_…")
    return found
