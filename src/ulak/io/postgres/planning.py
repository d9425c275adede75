"""How is a batch of plan work taken, looked up, and written down in one transaction?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.core.device import AddressKind
from ulak.core.inbox import News, new_text, origin_text
from ulak.core.model import User
from ulak.core.plan import Facts, Planned, Reachable, bucket
from ulak.core.work import PlanWork
from ulak.io.postgres.columns import coded, thinned, turned
from ulak.io.postgres.pool import Connection
from ulak.io.postgres.queries import load

_sql = load("plan")
_KINDS = frozenset(AddressKind)


class Write(msgspec.Struct, frozen=True, gc=False):
    """One planned delivery with what it inherits; ``item`` is (content as JSON, watched) for an inbox item."""

    tenant: int
    notification: UUID
    type: str
    category: str
    klass: str
    resend: bool
    expires_at: datetime
    planned: Planned
    waits: bool
    item: tuple[str, bool] | None = None


async def take(connection: Connection, lane: int, room: tuple[int, int], boot: int, lease: float) -> list[PlanWork]:
    """Lease work of a lane for ``lease`` seconds; ``room`` is the most pieces, and about their most cost."""
    pieces, most = room
    rows = await connection.fetch(_sql.take_work, lane, pieces, boot, lease, most)
    return [PlanWork(*map(row.__getitem__, PlanWork.__struct_fields__)) for row in rows]


async def suspect(connection: Connection, work: PlanWork, boot: int) -> int:
    """Count that a piece is planned alone now; returns how often it has been, 0 when it is no longer ours."""
    return int(await connection.fetchval(_sql.suspect, work.id, boot) or 0)


async def finish_work(connection: Connection, works: Sequence[PlanWork], boot: int) -> dict[int, str | None]:
    """Remove the work rows under their lease; those still ours, and what its deliveries have already come to.

    ``cancelled:by_caller`` and ``expired:too_late`` mean that nothing of it is to be sent.
    """
    rows = await connection.fetch(_sql.finish_work, [w.id for w in works], boot)
    return {row["id"]: row["verdict"] for row in rows}


async def facts(
    connection: Connection, users: Sequence[tuple[int, User | str]], *, devices: bool = False
) -> list[Facts]:
    """What is known of each (tenant, user or id), in order; a request's own address wins over the stored one.

    Their ``devices`` are looked up when somebody is to be pushed to.
    """
    rows = await connection.fetch(
        _sql.facts,
        [tenant for tenant, _ in users],
        [u if isinstance(u, str) else u.id for _, u in users],
        thinned([None if isinstance(u, str) else u.email for _, u in users]),
        devices,
    )
    found: list[Facts] = [Facts(User(""), known=False)] * len(users)
    for row in rows:
        given = users[row["ord"] - 1][1]
        inline = User(given) if isinstance(given, str) else given
        user = User(
            inline.id,
            inline.email or row["email"],
            inline.phone or row["phone"],
            inline.locale or row["locale"],
            inline.timezone or row["timezone"],
        )
        choices = [(c[0], c[1], c[2] == "true") for c in row["choices"] or ()]
        suppressed = [(s[0], s[1], s[2]) for s in row["suppressed"] or ()]
        found[row["ord"] - 1] = Facts(user, row["known"], choices, suppressed, _reachable(row["devices"] or ()))
    return found


def _reachable(rows: Sequence[Sequence[str]]) -> list[Reachable]:
    """Devices; of a kind that only a later release knows there are none for us."""
    return [
        Reachable(v[0], AddressKind(v[1]), v[2], v[3], v[4], v[5] == "true", float(v[6]))
        for v in rows
        if v[1] in _KINDS
    ]


async def planned_before(connection: Connection, users: Sequence[tuple[int, UUID, str]]) -> set[int]:
    """Positions of those (tenant, notification, user) that already have a delivery."""
    rows = await connection.fetch(
        _sql.planned_before, [u[0] for u in users], [u[1] for u in users], [u[2] for u in users]
    )
    return {row["ord"] - 1 for row in rows}


async def members(connection: Connection, work: PlanWork) -> list[str]:
    """The user ids of one range of an audience, as of acceptance."""
    after = work.after or ""
    if work.audience == "topic":
        rows = await connection.fetch(_sql.topic_members, work.tenant, work.topic, after, work.upto, work.accepted_at)
    else:
        rows = await connection.fetch(_sql.all_members, work.tenant, after, work.upto, work.accepted_at)
    return [row["user_id"] for row in rows]


async def bounds(connection: Connection, work: PlanWork, size: int, pages: int) -> list[str]:
    """The last user ids of the next full ranges of ``size`` of a walk, at most ``pages``; none when few are left."""
    after = work.after or ""
    if work.audience == "walk_topic":
        rows = await connection.fetch(_sql.topic_bounds, work.tenant, work.topic, after, work.accepted_at, size, pages)
    else:
        rows = await connection.fetch(_sql.all_bounds, work.tenant, after, work.accepted_at, size, pages)
    return [row["user_id"] for row in rows]


async def cut(connection: Connection, work: PlanWork, boot: int, ends: Sequence[str], *, more: bool) -> bool:
    """Cut the ranges that end at ``ends`` off a walk; without ``more`` an open one ends it. False: the lease is gone.

    Ranges and cursor move in the caller's transaction.
    """
    if more:
        held = await connection.fetchval(_sql.advance_walk, work.id, boot, ends[-1])
    else:
        held = await finish_work(connection, [work], boot)
    if not held:
        return False
    last = [] if more else [None]
    await connection.execute(
        _sql.cut_ranges,
        work.tenant,
        work.notification,
        work.lane,
        work.audience.removeprefix("walk_"),
        work.topic,
        [work.after or "", *(ends[:-1] if more else ends)],
        [*ends, *last],
    )
    return True


async def park(connection: Connection, works: Sequence[PlanWork], boot: int, reason: str) -> None:
    """Put work that crashes its planners aside."""
    await connection.fetch(_sql.park_work, [w.id for w in works], boot, reason)


async def write(connection: Connection, writes: Sequence[Write]) -> list[News]:
    """Insert everything that was decided; returns the news of each inbox touched."""
    rows = [
        (w.tenant, w.planned.user.id, w.planned.id, w.notification, w.type, *w.item)
        for w in writes
        if w.item is not None
    ]
    added, news = await _count_up(connection, rows)
    codes, kinds = coded([_kind(w) for w in writes], 16)
    deliveries = [(w.planned.id, w.notification, w.planned.user.id, w.planned.target, w.expires_at) for w in writes]
    await connection.execute(_sql.write_plan, *turned(deliveries, 5), codes, *kinds, *turned(added, 8))
    return news


def _kind(w: Write) -> tuple[object, ...]:
    """What a delivery has in common with others, in the order of ``write_plan``."""
    p = w.planned
    line = None if p.settled else 2 if w.waits else 1
    return (
        w.tenant,
        p.lane,
        p.bulkhead,
        bucket(w.tenant),
        p.delay or None,
        line,
        p.channel.value,
        p.state,
        p.reason,
        w.category,
        w.klass,
        p.user.locale,
        int(p.unless),
        w.resend,
        p.settled,
        p.decision,
    )


async def add_items(connection: Connection, items: Sequence[tuple[int, UUID, str, bool]]) -> list[News]:
    """Put later steps' items (tenant, delivery, content, watched) into inboxes, each once; returns the news."""
    rows = await connection.fetch(_sql.missing_items, [i[0] for i in items], [i[1] for i in items])
    found = [(r["tenant"], r["user_id"], r["id"], r["notification"], r["type"], *items[r["ord"] - 1][2:]) for r in rows]
    added, news = await _count_up(connection, found)
    await connection.execute(_sql.add_items, *turned(added, 8))
    return news


_New = tuple[int, str, UUID, UUID, str, str, bool]
"""Tenant, user, id, notification, type, content, watched."""


async def _count_up(connection: Connection, items: Sequence[_New]) -> tuple[list[tuple[object, ...]], list[News]]:
    """Take the next revision for each item: the rows to write, in order, and the news of their inboxes."""
    counts: dict[tuple[int, str], int] = {}
    for item in items:
        key = item[:2]
        counts[key] = counts.get(key, 0) + 1
    if not counts:
        return [], []
    rows = await connection.fetch(_sql.count_up, [k[0] for k in counts], [k[1] for k in counts], list(counts.values()))
    counters = {(row["tenant"], row["user_id"]): row for row in rows}
    following = {key: row["revision"] - counts[key] for key, row in counters.items()}
    added: list[tuple[object, ...]] = []
    texts: dict[tuple[int, str], str] = {}
    origins: dict[tuple[UUID, str], str] = {}
    for tenant, user, identity, notification, kind, content, watched in items:
        key = tenant, user
        following[key] = revision = following[key] + 1
        added.append((tenant, user, identity, revision, notification, kind, content, watched))
        if counts[key] == 1:
            origin = origins.get((notification, kind))
            if origin is None:
                origins[notification, kind] = origin = origin_text(kind, notification, rows[0]["now"])
            texts[key] = new_text(identity, revision, origin, content)
    return added, [
        News(*key, row["revision"], texts.get(key), row["unread"], row["unseen"], row["epoch"])
        for key, row in counters.items()
    ]
