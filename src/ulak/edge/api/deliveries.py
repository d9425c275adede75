"""What became of deliveries, one by one?"""

from __future__ import annotations

from uuid import UUID

from ulak.core import ids
from ulak.core.invalid import invalid
from ulak.edge.api import paging, problem, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.notifications import NotificationQuery
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call
from ulak.io.postgres.reads import LAST, Filter


class DeliveryQuery(NotificationQuery, frozen=True):
    """Filters of the list; ``since`` and ``until`` are about when a delivery was planned."""

    notification: str | None = None


async def listed(call: Call) -> Response:
    """A page of deliveries."""
    q: DeliveryQuery = call.query
    after = paging.read(q.cursor, UUID, LAST)
    rows = await call.deps.reads.deliveries(call.tenant, _filter(q), after, q.limit + 1)
    items = [shape.delivery(row) for row in rows[: q.limit]]
    return answer(wire.DeliveryPage(items, paging.following(rows, q.limit, lambda row: row["id"])))


def _filter(q: DeliveryQuery) -> Filter:
    notification = None
    if q.notification is not None:
        notification = ids.internal("ntf", q.notification)
        if notification is None:
            raise invalid("invalid_id", "?notification", "not the id of a notification", "it looks like ntf_…")
    return Filter(
        notification,
        fit_query("user", q.user),
        fit_query("type", q.type),
        q.state,
        q.channel,
        fit_query("reason", q.reason),
        q.since,
        q.until,
    )


async def timeline(call: Call) -> Response:
    """All that happened to one delivery, with its notification."""
    delivery: UUID = call.params["delivery"]
    row = await call.deps.reads.delivery(call.tenant, delivery)
    parent = None if row is None else await call.deps.reads.notification(call.tenant, row["notification"])
    if row is None or parent is None:
        raise problem.not_found("delivery")
    counts = await call.deps.reads.counts(call.tenant, [parent["id"]])
    calls, receipts = await call.deps.reads.log(call.tenant, [delivery])
    found = shape.notification(parent, counts.get(parent["id"], {}), call.deps.loaded(call.tenant).catalog)
    return answer(wire.Timeline(found, shape.timelines([row], calls, receipts), None))
