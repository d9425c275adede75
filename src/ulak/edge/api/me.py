"""What can an end user do with his own token: read his inbox, mark items, choose?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ulak.core import ids
from ulak.core.inbox import Op, Page, full_text, must_restart
from ulak.core.invalid import invalid
from ulak.edge.api import shape
from ulak.edge.api.http import Response, answer
from ulak.edge.api.problem import unavailable
from ulak.edge.api.router import Call
from ulak.edge.api.users import choices, said
from ulak.io.postgres.inbox import Ack

_MOST = 2**63 - 1
_CHANGED = 500
_Revision = Annotated[int, Meta(ge=0, le=_MOST)]
_Ids = Annotated[list[str], Meta(min_length=1, max_length=500)]


class InboxQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """From where to go on; ``wait`` seconds for something new (a long poll), at most 30."""

    since: _Revision | None = None
    epoch: Annotated[str, Meta(max_length=64)] | None = None
    wait: Annotated[float, Meta(ge=0, le=30)] = 0
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class StreamQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """From where to go on, unless the header ``Last-Event-ID`` says so; ``topics`` is a JSON list of names."""

    since: _Revision | None = None
    epoch: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    topics: str | None = None


class UpTo(Struct, forbid_unknown_fields=True):
    """All items up to a revision."""

    up_to: _Revision


class Delivered(Struct, forbid_unknown_fields=True):
    """What has arrived on this device: all with revisions after ``after`` and up to ``up_to``.

    ``active`` says that somebody looks at the device; only then does it count for ``unless = "delivered"``.
    """

    up_to: _Revision
    after: _Revision = 0
    active: bool = False


class InboxBody(Struct, forbid_unknown_fields=True):
    """What the user did, with items by id or with all up to a revision, and what arrived."""

    delivered: Delivered | None = None
    seen: _Ids | UpTo | None = None
    read: _Ids | UpTo | None = None
    archive: _Ids | UpTo | None = None


async def inbox(call: Call) -> Response:
    """What changed in the inbox; with ``wait`` the answer may take its time."""
    q: InboxQuery = call.query
    since = q.since or 0
    page = await call.deps.inbox.page(call.tenant, call.user, since, q.limit)
    if since and must_restart(page, since, q.epoch or page.epoch):
        return await _from_the_start(call, q.limit)
    seconds = min(q.wait, call.deps.limits.longest_wait)
    if seconds > 0 and not page.items:
        await call.deps.inbox.wait(call.tenant, call.user, since, seconds)
        page = await call.deps.inbox.page(call.tenant, call.user, since, q.limit)
        if since and must_restart(page, since, q.epoch or page.epoch):
            return await _from_the_start(call, q.limit)
    return _page(page, reset=False)


async def _from_the_start(call: Call, limit: int) -> Response:
    return _page(await call.deps.inbox.page(call.tenant, call.user, 0, limit), reset=True)


async def stream(call: Call) -> Response:
    """The objects of the socket `ulak.v1` as server-sent events, until a last event `close` that says why.

    Events of `items` and `changed` have the id `<epoch>:<revision>`, from which `Last-Event-ID` goes on.
    """
    del call
    raise unavailable("this node has no gateway", 5.0)  # where it has one, that answers (see `doors`)


async def change_inbox(call: Call) -> Response:
    """Mark items as seen or read, put them away, or say that they arrived; answers what changed."""
    body: InboxBody = call.body
    wanted = [(op, given) for op, given in zip(Op, (body.seen, body.read, body.archive), strict=True) if given]
    arrived = body.delivered
    if not wanted and arrived is None:
        raise invalid("missing_field", "$", "expected one of delivered, seen, read and archive")
    checked = [(op, *_items(op, given)) for op, given in wanted]
    if arrived is not None:
        await call.deps.inbox.acked([Ack(call.tenant, call.user, arrived.after, arrived.up_to, arrived.active)])
    before = [await call.deps.inbox.change(call.tenant, call.user, op, ids, up_to) for op, ids, up_to in checked]
    since = min(before, default=arrived.up_to if arrived is not None else 0)
    return _page(await call.deps.inbox.page(call.tenant, call.user, since, _CHANGED), reset=False)


def _items(op: Op, wanted: Sequence[str] | UpTo) -> tuple[Sequence[UUID], int | None]:
    if isinstance(wanted, UpTo):
        return (), wanted.up_to
    return [_id(text, f"$.{op}[{index}]") for index, text in enumerate(wanted)], None


def _id(text: str, path: str) -> UUID:
    found = ids.internal("dlv", text)
    if found is None:
        raise invalid("invalid_id", path, "not the id of an item", "it looks like dlv_…")
    return found


def _page(page: Page, *, reset: bool) -> Response:
    items = [msgspec.Raw(full_text(item).encode()) for item in page.items]
    head = {"revision": page.reaches, "epoch": page.epoch, "unread": page.unread, "unseen": page.unseen}
    return answer({"items": items, **head, "more": page.more, "reset": reset})


async def preferences(call: Call) -> Response:
    """The user's own choices."""
    return answer(shape.preferences(await call.deps.users.preferences(call.tenant, call.user)))


async def put_preferences(call: Call) -> Response:
    """Replace the user's own choices."""
    return await _choose(call, replace=True)


async def patch_preferences(call: Call) -> Response:
    """Change some of the user's own choices."""
    return await _choose(call, replace=False)


async def _choose(call: Call, *, replace: bool) -> Response:
    chosen, by = choices(call.body), said(call, "me")
    rows = await call.deps.users.choose(call.tenant, call.user, chosen, by, replace=replace)
    return answer(shape.preferences(rows))
