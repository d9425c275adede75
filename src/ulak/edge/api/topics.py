"""Who is a member of a topic?"""

from __future__ import annotations

from ulak.edge.api import paging, problem, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.router import Call


async def subscribe(call: Call) -> Response:
    """Make a user a member."""
    await call.deps.topics.subscribe(call.tenant, call.params["topic"], call.params["user"])
    return Response(204)


async def unsubscribe(call: Call) -> Response:
    """End a membership."""
    if not await call.deps.topics.unsubscribe(call.tenant, call.params["topic"], call.params["user"]):
        raise problem.not_found("subscriber of this topic")
    return Response(204)


async def subscribers(call: Call) -> Response:
    """A page of members; a topic without members is an empty one."""
    q: paging.Page = call.query
    after = paging.read(q.cursor, str, "")
    rows = await call.deps.topics.subscribers(call.tenant, call.params["topic"], after, q.limit + 1)
    items = [wire.SubscriberAnswer(row["user_id"], row["added_at"]) for row in rows[: q.limit]]
    return answer(wire.SubscriberPage(items, paging.following(rows, q.limit, lambda row: row["user_id"])))
