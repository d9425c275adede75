"""Which addresses must not be written to?"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ulak.core import suppression_csv, values
from ulak.core.invalid import invalid
from ulak.core.model import Channel
from ulak.edge.api import paging, problem, shape, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call
from ulak.io.postgres.pool import Row
from ulak.io.postgres.suppressions import Suppression, Wanted

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
    scope: str | None = None
    address: Annotated[str, Meta(max_length=values.MAX_ADDRESS)] | None = None


class ExportQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """How much of the list, and from where on."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    cursor: paging.Cursor | None = None
    channel: Channel | None = None


class RemoveQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """In which scope to allow the address again; without it in every one. Vendors know no scopes."""

    scope: str | None = None
    at_vendors: Literal["true", "false"] = "false"


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
    """With `at_vendors=true` it is taken off the vendors' lists, too, within 5 s; 200 tells what came of it at each."""
    q: RemoveQuery = call.query
    channel = call.params["channel"]
    try:
        address = values.address(channel, call.params["address"])
    except values.Unfit as error:
        raise invalid(error.code, "{address}", error.message, error.hint) from None
    scope = fit_query("scope", q.scope)
    removed = await call.deps.suppressions.remove(call.tenant, channel, address, scope)
    if q.at_vendors == "true":  # Also when nothing was removed: a vendor that could not be reached is asked again.
        said = await call.deps.vendors.reactivate(call.tenant, channel, address)
        told = [wire.AtVendor(each.account, each.result.value, each.reason) for each in said]
        return answer(wire.RemovedAnswer(removed, told))
    if not removed:
        raise problem.not_found("suppression")
    return Response(204)


async def listed(call: Call) -> Response:
    """A page of suppressions that hold."""
    q: SuppressionQuery = call.query
    after = paging.read(q.cursor, tuple[str, str, str], ("", "", ""))
    rows = await call.deps.suppressions.page(call.tenant, after, _wanted(q), q.limit + 1)
    items = [shape.suppression(row) for row in rows[: q.limit]]
    return answer(wire.SuppressionPage(items, paging.following(rows, q.limit, _key)))


def _wanted(q: SuppressionQuery) -> Wanted:
    address = q.address
    if address is not None and q.channel is not None:
        try:
            address = values.address(q.channel, address)
        except values.Unfit as error:
            raise invalid(error.code, "?address", error.message, error.hint) from None
    return Wanted(q.channel, fit_query("reason", q.reason), fit_query("scope", q.scope), address)


def _key(row: Row) -> tuple[str, str, str]:
    return row["channel"], row["address"], row["scope"]


async def bring(call: Call) -> Response:
    """Forbid the addresses of a file (at most 1 MiB) with a header line.

    Columns: `channel`, `address`, and where they differ from the default `scope` (all), `reason` (manual), `evidence`,
    `expires_at`. Lines that can't be used are told and left out; the others hold when this is answered.
    """
    try:
        parsed = suppression_csv.read(call.body, call.now)
    except suppression_csv.NotCsv as error:
        raise invalid("invalid_csv", "body", str(error), "send CSV with a header line, in UTF-8") from None
    await call.deps.suppressions.add_many(call.tenant, parsed.entries)
    faults = [wire.LineFault(fault.line, fault.column, fault.detail) for fault in parsed.faults]
    return answer(wire.ImportAnswer(len(parsed.entries), parsed.rejected, faults))


async def export(call: Call) -> Response:
    """At most `limit` addresses as a file that can be imported; where there are more, the header `Link` leads on."""
    q: ExportQuery = call.query
    after = paging.read(q.cursor, tuple[str, str, str], ("", "", ""))
    rows = await call.deps.suppressions.page(call.tenant, after, Wanted(q.channel), q.limit + 1)
    following = paging.following(rows, q.limit, _key)
    more = "" if q.channel is None else f"&channel={q.channel}"
    path = f"/v1/suppressions/export?limit={q.limit}{more}&cursor={following}"
    link = () if following is None else ((b"link", f'<{path}>; rel="next"'.encode()),)
    return Response(200, suppression_csv.write(rows[: q.limit]), b"text/csv; charset=utf-8", link)
