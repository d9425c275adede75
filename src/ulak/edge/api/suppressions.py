"""Which addresses must not be written to?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ulak.core import values
from ulak.core.invalid import invalid
from ulak.core.model import Channel
from ulak.edge.api import paging, problem, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call
from ulak.io.postgres.suppressions import Suppression

_Id = Annotated[str, Meta(min_length=1, max_length=values.MAX_ID)]
Cause = Literal["manual", "bounced", "complained", "unsubscribed"]


class SuppressionBody(Struct, forbid_unknown_fields=True):
    """An address to leave alone: in everything (``scope`` all), or in one category."""

    channel: Channel
    address: Annotated[str, Meta(min_length=1, max_length=values.MAX_ADDRESS)]
    scope: _Id = "all"
    reason: Cause = "manual"
    evidence: Annotated[str, Meta(max_length=1_000)] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class SuppressionQuery(paging.Page, frozen=True):
    """Filters of the list."""

    channel: Channel | None = None
    reason: str | None = None


class ScopeQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """In which scope to allow the address again; without it in every one."""

    scope: str | None = None


async def add(call: Call) -> Response:
    """Forbid an address."""
    body: SuppressionBody = call.body
    try:
        address = values.address(body.channel, body.address)
    except values.Unfit as error:
        raise invalid(error.code, "$.address", error.message, error.hint) from None
    try:
        scope = values.identifier(body.scope)
    except values.Unfit as error:
        raise invalid(error.code, "$.scope", error.message, error.hint) from None
    suppression = Suppression(body.channel, address, scope, body.reason, body.evidence, _expiry(body, call.now))
    return answer(shape.suppression(await call.deps.suppressions.add(call.tenant, suppression)), 201)


def _expiry(body: SuppressionBody, now: datetime) -> datetime | None:
    if body.expires_at is None:
        return None
    try:
        at = values.moment(body.expires_at)
    except values.Unfit as error:
        raise invalid(error.code, "$.expires_at", error.message, error.hint) from None
    if at <= now:
        raise invalid("time_in_the_past", "$.expires_at", "it has passed", "leave it out to forbid for good")
    return at


async def remove(call: Call) -> Response:
    """Allow an address again."""
    q: ScopeQuery = call.query
    channel = call.params["channel"]
    try:
        address = values.address(channel, call.params["address"])
    except values.Unfit as error:
        raise invalid(error.code, "{address}", error.message, error.hint) from None
    scope = fit_query("scope", q.scope)
    if not await call.deps.suppressions.remove(call.tenant, channel, address, scope):
        raise problem.not_found("suppression")
    return Response(204)


async def listed(call: Call) -> Response:
    """A page of suppressions that hold."""
    q: SuppressionQuery = call.query
    after = paging.read(q.cursor, tuple[str, str, str], ("", "", ""))
    reason = fit_query("reason", q.reason)
    rows = await call.deps.suppressions.page(call.tenant, after, q.channel, reason, q.limit + 1)
    items = [shape.suppression(row) for row in rows[: q.limit]]
    key = lambda row: (row["channel"], row["address"], row["scope"])  # noqa: E731  # shorter than a function
    return answer(wire.SuppressionPage(items, paging.following(rows, q.limit, key)))
