"""Do counts, revisions, marks and receipts of real inboxes stay true, whatever happens at once?"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.support import eventually
from ulak.core.ids import new_id
from ulak.core.inbox import News, Op, Page
from ulak.core.states import RECEIPTS, Event, Happened, State, fold
from ulak.io.postgres.inbox import Ack, InboxStore
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

DELIVERY = """
INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, category, class, lane, bulkhead,
                        resend, expires_at, settled_at, decision)
VALUES ($1, $2, $3, $4, 'in_app', '', 'accepted', 'c', 'transactional', 1, 'in_app/inbox', true,
        now() + interval '1 day', now(), '{}')"""
ITEM = """
INSERT INTO inbox_items (tenant, user_id, id, revision, born, notification, type, content, watched)
VALUES ($1, $2, $3, $4, $4, $5, 'issues', '{"title":"t"}', $6)"""


WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted"


def new_uuid() -> UUID:
    return new_id(time.time_ns() // 1_000_000, os.urandom(10))


async def add(pool: Pool, user: str, *, watched: bool = False, tenant: int = 0) -> UUID:
    """One item, as the planner adds it."""
    delivery, notification = new_uuid(), new_uuid()
    async with pool.transaction() as connection:
        (row,) = await connection.fetch(load("plan").count_up, [tenant], [user], [1])
        await connection.execute(DELIVERY, tenant, delivery, notification, user)
        await connection.execute(ITEM, tenant, user, delivery, row["revision"], notification, watched)
    return delivery


async def one(pool: Pool, query: str, *args: object) -> dict[str, object]:
    row = await pool.fetchrow(query, *args)
    assert row is not None
    return dict(row)


async def kinds(pool: Pool, delivery: UUID) -> list[str]:
    rows = await pool.fetch("SELECT kind FROM receipts WHERE delivery = $1 ORDER BY id", delivery)
    return [row["kind"] for row in rows]


async def mask(pool: Pool, delivery: UUID) -> int | None:
    found: int | None = await pool.fetchval(
        "SELECT mask FROM markers m JOIN deliveries d USING (tenant, notification, user_id) WHERE d.id = $1", delivery
    )
    return found


def summary(page: Page) -> tuple[int, int, int]:
    return page.top, page.unread, page.unseen


async def test_an_inbox_that_nobody_has_is_empty(database: Pool) -> None:
    page = await InboxStore(database).page(0, "nobody", 5, 10)
    assert (page.top, page.items, page.more, page.since) == (0, (), False, 5)
    assert await InboxStore(database).change(0, "nobody", Op.SEEN, up_to=9) == 0
    assert await InboxStore(database).pages([], 10) == []
    assert await InboxStore(database).moved([]) == []
    assert await InboxStore(database).acked([]) == 0


async def test_pages_of_many_inboxes_at_once(database: Pool) -> None:
    store = InboxStore(database)
    ann = [await add(database, "ann") for _ in range(5)]
    bob = await add(database, "bob", tenant=7)
    first, second, third, rest = await store.pages([(0, "ann", 0), (7, "bob", 0), (0, "bob", 0), (0, "ann", 3)], 3)
    assert [i.id for i in first.items] == ann[:3]
    assert (first.more, first.reaches, first.top, first.unread) == (True, 3, 5, 5)
    assert [i.id for i in second.items] == [bob]
    assert third.items == ()
    assert [i.revision for i in rest.items] == [4, 5]
    assert (rest.more, rest.reaches) == (False, 5)
    assert first.epoch == second.epoch == await store.epoch() == "1-00000001"


async def test_moved_tells_only_of_those_that_did(database: Pool) -> None:
    store = InboxStore(database)
    await add(database, "ann")
    await add(database, "bob")
    assert await store.moved([(0, "ann", 1), (0, "bob", 0), (0, "cem", 0)]) == [(0, "bob", 1)]


async def test_seen_read_and_archived_each_once(database: Pool) -> None:
    hints: list[Sequence[News]] = []
    store = InboxStore(database, hints.append)
    first, second = await add(database, "ann", watched=True), await add(database, "ann")
    assert summary(await store.page(0, "ann", 0, 10)) == (2, 2, 2)

    assert await store.change(0, "ann", Op.SEEN, [first, first]) == 2
    assert summary(await store.page(0, "ann", 0, 10)) == (3, 2, 1)
    assert await mask(database, first) == 3
    assert await store.change(0, "ann", Op.SEEN, [first]) == 3
    assert await store.change(0, "ann", Op.READ, [first, second]) == 3
    assert summary(await store.page(0, "ann", 0, 10)) == (5, 0, 0)
    assert await mask(database, first) == 7
    assert await mask(database, second) is None, "nothing waits for it"
    assert await store.change(0, "ann", Op.ARCHIVE, [second]) == 5
    page = await store.page(0, "ann", 0, 10)
    assert [(i.id, i.revision, i.born) for i in page.items] == [(first, 4, 1), (second, 6, 2)]
    assert page.items[1].archived_at is not None
    assert hints == [[News(0, "ann", 3)], [News(0, "ann", 5)], [News(0, "ann", 6)]]
    assert await kinds(database, first) == ["delivered", "seen", "read"]
    assert await kinds(database, second) == ["delivered", "seen", "read", "archived"]
    row = await one(database, "SELECT state, delivered_at, seen_at, read_at FROM deliveries WHERE id = $1", first)
    assert row["state"] == "delivered"
    assert None not in row.values()


async def test_archiving_what_is_new_takes_it_off_both_counts_and_stops_what_waits_for_seen(database: Pool) -> None:
    store = InboxStore(database)
    item = await add(database, "ann", watched=True)
    await store.change(0, "ann", Op.ARCHIVE, [item])
    page = await store.page(0, "ann", 0, 10)
    assert summary(page) == (2, 0, 0)
    assert page.items[0].read_at is None
    assert await mask(database, item) == 3
    await store.change(0, "ann", Op.READ, [item])
    assert summary(await store.page(0, "ann", 0, 10)) == (3, 0, 0)


async def test_up_to_takes_what_came_by_then_even_if_it_changed_since(database: Pool) -> None:
    store = InboxStore(database)
    first, second, third = [await add(database, "ann") for _ in range(3)]
    await store.change(0, "ann", Op.SEEN, [first])
    assert await store.change(0, "ann", Op.READ, up_to=2) == 4
    items = {i.id: i for i in (await store.page(0, "ann", 0, 10)).items}
    assert items[first].read_at
    assert items[second].read_at
    assert items[third].read_at is None
    assert summary(await store.page(0, "ann", 0, 10)) == (6, 1, 1)


async def test_nobody_marks_what_is_not_his(database: Pool) -> None:
    store = InboxStore(database)
    item = await add(database, "ann")
    await add(database, "bob")
    assert await store.change(0, "bob", Op.READ, [item]) == 1
    await add(database, "ann", tenant=7)
    await store.change(7, "ann", Op.READ, [item])
    assert summary(await store.page(0, "ann", 0, 10)) == (1, 1, 1)


async def test_removed_items_are_tombstones_that_can_not_be_marked(database: Pool) -> None:
    store = InboxStore(database)
    item = await add(database, "ann")
    await database.execute("UPDATE inbox_items SET removed_at = now()")
    assert await store.change(0, "ann", Op.READ, [item]) == 1
    assert await store.acked([Ack(0, "ann", 0, 1, active=True)]) == 0
    assert (await store.page(0, "ann", 0, 10)).items[0].removed


async def test_an_ack_delivers_once_and_only_its_range(database: Pool) -> None:
    store = InboxStore(database)
    first, second, third = [await add(database, "ann") for _ in range(3)]
    acks = [Ack(0, "ann", 0, 2, active=False), Ack(0, "ann", 0, 1, active=False), Ack(0, "bob", 0, 9, active=True)]
    assert await store.acked(acks) == 2
    assert await store.acked(acks) == 0
    assert await kinds(database, first) == await kinds(database, second) == ["delivered"]
    assert await kinds(database, third) == []
    states = await database.fetch("SELECT state FROM deliveries ORDER BY id")
    assert [row["state"] for row in states] == ["delivered", "delivered", "accepted"]
    assert summary(await store.page(0, "ann", 0, 10)) == (3, 3, 3), "no revision is used up"


async def test_only_an_active_device_stops_what_waits_for_delivered(database: Pool) -> None:
    store = InboxStore(database)
    item, other = await add(database, "ann", watched=True), await add(database, "ann")
    await store.acked([Ack(0, "ann", 0, 2, active=False)])
    assert await mask(database, item) is None
    await store.acked([Ack(0, "ann", 0, 2, active=True)])
    assert (await mask(database, item), await mask(database, other)) == (1, None)
    await store.change(0, "ann", Op.READ, [item])
    await store.acked([Ack(0, "ann", 0, 9, active=True)])
    assert await mask(database, item) == 7


async def test_an_ack_before_the_outcome_of_a_later_step_is_kept(database: Pool) -> None:
    item = await add(database, "ann")
    await database.execute("UPDATE deliveries SET state = 'attempting', settled_at = NULL")
    await InboxStore(database).acked([Ack(0, "ann", 0, 1, active=False)])
    row = await one(database, "SELECT state, settled_at FROM deliveries WHERE id = $1", item)
    assert row["state"] == "delivered"
    assert row["settled_at"] is not None


@pytest.mark.parametrize("watched", [True, False])
async def test_a_no_waits_for_those_who_send_and_only_where_something_waits_for_it(
    watched: bool, database: Pool
) -> None:
    store = InboxStore(database)
    item = await add(database, "ann", watched=watched)
    async with database.transaction("LOCK TABLE gate IN ROW EXCLUSIVE MODE"):
        marking = asyncio.create_task(store.change(0, "ann", Op.SEEN, [item]))
        acking = asyncio.create_task(store.acked([Ack(0, "ann", 0, 1, active=True)]))
        if watched:
            await eventually(lambda: database.fetchval(f"SELECT ({WAITING}) = 2"), what="both to wait")
            assert not marking.done() | acking.done()
        else:
            await asyncio.gather(marking, acking)
    await asyncio.gather(marking, acking)


# ------------------------------------------------------------------------------ everything at once


async def check(pool: Pool, user: str) -> None:
    """Compare the counter row with what the items say, and the deliveries with a fold of their receipts."""
    counted = await one(
        pool,
        """SELECT count(*) FILTER (WHERE read_at IS NULL AND archived_at IS NULL AND removed_at IS NULL)::int AS unread,
                  count(*) FILTER (WHERE seen_at IS NULL AND archived_at IS NULL AND removed_at IS NULL)::int AS unseen,
                  max(revision) AS revision, count(DISTINCT revision) = count(*) AS distinct
           FROM inbox_items WHERE user_id = $1""",
        user,
    )
    counter = await one(pool, "SELECT unread, unseen, revision, true AS distinct FROM inboxes WHERE user_id = $1", user)
    assert counted == counter
    rows = await pool.fetch(
        """SELECT d.id, d.state, count(*) FILTER (WHERE true) AS receipts, count(DISTINCT r.kind) AS kinds,
                  array_agg(r.kind ORDER BY r.id) FILTER (WHERE r.kind IS NOT NULL) AS log
           FROM deliveries d LEFT JOIN receipts r ON r.tenant = d.tenant AND r.delivery = d.id
           WHERE d.user_id = $1 GROUP BY d.tenant, d.id""",
        user,
    )
    for row in rows:
        log = row["log"] or []
        assert len(log) == len(set(log)), "a receipt twice"
        assert row["state"] == ("delivered" if log else "accepted")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_counts_do_not_drift_under_concurrent_devices(seed: int, database: Pool) -> None:
    store = InboxStore(database)
    users = ["ann", "bob", "cem"]
    known: list[tuple[str, UUID]] = []

    async def device(chance: random.Random) -> None:
        for _ in range(25):
            user = chance.choice(users)
            what = chance.choice(["add", "add", "ids", "ids", "up_to", "ack"])
            if what == "add":
                known.append((user, await add(database, user, watched=chance.random() < 0.3)))
            elif what == "ids":
                ids = [i for u, i in known if u == user or chance.random() < 0.2]
                chance.shuffle(ids)
                await store.change(0, user, chance.choice(list(Op)), ids[:4])
            elif what == "up_to":
                await store.change(0, user, chance.choice(list(Op)), up_to=chance.randrange(60))
            else:
                chosen = chance.sample(users, 3)
                await store.acked([Ack(0, u, 0, chance.randrange(1, 80), active=chance.random() < 0.5) for u in chosen])

    await asyncio.gather(*(device(random.Random(seed * 100 + n)) for n in range(6)))
    for user in users:
        await check(database, user)
    wrong = await database.fetchval(
        """SELECT count(*) FROM markers m JOIN inbox_items i USING (tenant, notification, user_id)
           WHERE NOT i.watched OR (m.mask & 4 <> 0) <> (i.read_at IS NOT NULL)
              OR (m.mask & 2 <> 0) <> (i.seen_at IS NOT NULL)"""
    )
    assert wrong == 0
    unmarked = await database.fetchval(
        """SELECT count(*) FROM inbox_items i WHERE i.watched AND i.seen_at IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM markers m WHERE m.notification = i.notification)"""
    )
    assert unmarked == 0


def test_the_receipts_written_here_fold_to_the_states_written_here() -> None:
    for log in (["delivered"], ["delivered", "seen"], ["delivered", "seen", "read", "archived"]):
        events = [Event.STORED, *(Event(kind) for kind in log)]
        assert all(event in RECEIPTS for event in events[1:])
        assert fold(Happened(event, datetime(2026, 1, 1, tzinfo=UTC)) for event in events).state is State.DELIVERED
