"""What can a caller do with notifications: send one or many, look at them, cancel?"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from ulak.core import request
from ulak.core.ids import external
from ulak.core.invalid import Invalid
from ulak.core.model import Channel
from ulak.core.states import State
from ulak.edge.api import paging, problem, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.problem import Problem
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call
from ulak.flow.accept import Accepted, AcceptRequest, Conflict, Result
from ulak.io.postgres.reads import LAST, Filter

_Time = Annotated[datetime, Meta(tz=True)]


class NotificationQuery(paging.Page, frozen=True):
    """Filters of the list; those on deliveries ask for notifications that have such a one."""

    user: str | None = None
    type: str | None = None
    state: State | None = None
    channel: Channel | None = None
    reason: str | None = None
    since: _Time | None = None
    until: _Time | None = None


class TimelineQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which part of a long timeline."""

    limit: Annotated[int, Meta(ge=1, le=200, description="most deliveries of the page")] = 200
    cursor: paging.Cursor | None = None


async def send(call: Call) -> Response:
    """Accept one request; the answer comes after the commit."""
    catalog = call.deps.loaded(call.tenant).catalog
    key = call.headers.get(b"idempotency-key")
    text = key.decode("latin-1") if key is not None else None
    checked = request.decode(call.body, catalog, call.now, text)
    asked = AcceptRequest(checked, catalog.version)
    result = await call.deps.accept.accept(call.tenant, asked)
    if isinstance(result, Accepted):
        headers = ((b"idempotent-replayed", b"true"),) if result.replayed else ()
        return answer(_accepted(result), 202, headers)
    raise problem.Refused(_refusal(result, "Idempotency-Key"))


async def send_batch(call: Call) -> Response:
    """Accept many requests, each with an answer of its own."""
    catalog = call.deps.loaded(call.tenant).catalog
    checked = request.decode_batch(call.body, catalog, call.now)
    asked = [AcceptRequest(item, catalog.version) for item in checked if not isinstance(item, Invalid)]
    results = iter(await call.deps.accept.accept_many(call.tenant, asked) if asked else ())
    items = [
        problem.of_invalid(item) if isinstance(item, Invalid) else _item(next(results), index)
        for index, item in enumerate(checked)
    ]
    return answer({"items": items})


def _accepted(result: Accepted) -> wire.AcceptedAnswer:
    return wire.AcceptedAnswer(external("ntf", result.id), result.recipients, shape.problems(result.problems))


def _item(result: Result, index: int) -> Any:
    if not isinstance(result, Accepted):
        return _refusal(result, f"$.notifications[{index}].idempotency_key")
    done = _accepted(result)
    return {"status": 202, "id": done.id, "accepted": done.accepted, "problems": done.problems}


def _refusal(result: Result, where: str) -> Problem:
    title = HTTPStatus(422).phrase
    if isinstance(result, Conflict):
        detail = "this idempotency key was used with another body"
        return Problem(title, 422, "idempotency_conflict", detail, path=where, hint="use a new key for a new request")
    return Problem(title, 422, "unstorable", "the database refuses these values")


async def listed(call: Call) -> Response:
    """A page of notifications."""
    q: NotificationQuery = call.query
    after = paging.read(q.cursor, UUID, LAST)
    rows = await call.deps.reads.notifications(call.tenant, _filter(q), after, q.limit + 1)
    shown = rows[: q.limit]
    counts = await call.deps.reads.counts(call.tenant, [row["id"] for row in shown]) if shown else {}
    catalog = call.deps.loaded(call.tenant).catalog
    items = [shape.notification(row, counts.get(row["id"], {}), catalog) for row in shown]
    return answer(wire.NotificationPage(items, paging.following(rows, q.limit, lambda row: row["id"])))


def _filter(q: NotificationQuery) -> Filter:
    return Filter(
        user=fit_query("user", q.user),
        type=fit_query("type", q.type),
        state=q.state,
        channel=q.channel,
        reason=fit_query("reason", q.reason),
        since=q.since,
        until=q.until,
    )


async def get(call: Call) -> Response:
    """One notification and where its deliveries stand."""
    return answer(await _notification(call))


async def _notification(call: Call) -> wire.NotificationAnswer:
    notification: UUID = call.params["notification"]
    row = await call.deps.reads.notification(call.tenant, notification)
    if row is None:
        raise problem.not_found("notification")
    counts = await call.deps.reads.counts(call.tenant, [notification])
    return shape.notification(row, counts.get(notification, {}), call.deps.loaded(call.tenant).catalog)


async def timeline(call: Call) -> Response:
    """Every decision, attempt and receipt of a notification."""
    q: TimelineQuery = call.query
    found = await _notification(call)
    after = paging.read(q.cursor, UUID, LAST)
    chosen = Filter(notification=call.params["notification"])
    rows = await call.deps.reads.deliveries(call.tenant, chosen, after, q.limit + 1)
    shown = rows[: q.limit]
    calls, receipts = await call.deps.reads.log(call.tenant, [row["id"] for row in shown])
    following = paging.following(rows, q.limit, lambda row: row["id"])
    return answer(wire.Timeline(found, shape.timelines(shown, calls, receipts), following))


async def cancel(call: Call) -> Response:
    """Stop what is not done yet."""
    done = await call.deps.operate.cancel(call.tenant, call.params["notification"])
    if done is None:
        raise problem.not_found("notification")
    return answer(wire.CancelAnswer(done.cancelled, done.too_late))
