"""Is accepted work planned exactly once, whoever tries, dies or comes late, and is every end explained?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.flow.harness import PROJECT, ask, body, open_node, plan_all, prepare, put_users, send, states
from tests.support import eventually
from ulak.core.failpoint import NoFailpoints
from ulak.core.inbox import News, full_text
from ulak.core.work import CHUNK
from ulak.flow.plan import Planner
from ulak.flow.plan import Settings as PlanSettings
from ulak.flow.plan.planner import Hint, Listeners
from ulak.io.postgres.inbox import InboxStore
from ulak.io.postgres.operate import Operations
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.topics import Topics
from ulak.node import Node

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

WORK = "SELECT count(*) FROM plan_work"
LEASE_OVER = "UPDATE plan_work SET ready_at = now()"


class Died(Exception):
    """What a planner's process does not come back from."""


class DieAt(NoFailpoints):
    """Raises where a process would be killed: the transaction is rolled back by the server, as then."""

    def __init__(self, name: str, times: int = 1) -> None:
        self.name, self.times = name, times

    def hit(self, name: str) -> None:
        if name == self.name and self.times:
            self.times -= 1
            raise Died


@pytest.fixture
async def door(store: Pool) -> AsyncIterator[Node]:
    """A node that only accepts: its work lies in the table for any planner."""
    await prepare(store)
    await put_users(store, "ada", "bob")
    async with opened(store, "door", roles="api") as node:
        yield node


@asynccontextmanager
async def opened(pool: Pool, name: str, **settings: Any) -> AsyncIterator[Node]:
    node = await open_node(pool, name, **settings)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


def planner(
    node: Node, full: bool = False, die: DieAt | None = None, crashes: int = 5, hear: Hint = lambda news: None
) -> Planner:
    """A planner of this node whose loops don't run."""
    listeners = Listeners(hear, lambda places: None, lambda lane, bulkhead: full, die or NoFailpoints())
    return Planner(
        node.pool, node.boot, node.catalogs, node.new_id, listeners, PlanSettings(crashes=crashes, pause=0.0)
    )


async def work_off(worker: Planner) -> None:
    while worker.handed or await worker.poll():
        await worker.run(worker._next())


async def reset_lease(pool: Pool) -> None:
    await pool.execute(LEASE_OVER)


# --------------------------------------------------------------------------------------------- news


async def test_news_of_a_commit_say_what_a_read_would_find(door: Node) -> None:
    """The item of whom one has come, the counts of everybody; later steps the same."""
    heard: list[News] = []
    await send(door, body("order", "ada", "bob"))
    async with opened(door.pool, "one") as one:
        worker = planner(one, hear=heard.extend)
        await work_off(worker)
        await send(door, body("order", "bob"))
        await send(door, body("order", "bob"))
        await work_off(worker)
    store = InboxStore(door.pool)
    assert sorted((n.user, n.revision, n.unread, n.unseen) for n in heard) == [
        ("ada", 1, 1, 1),
        ("bob", 1, 1, 1),
        ("bob", 3, 3, 3),
    ]
    for news in heard:
        page = await store.page(0, news.user, news.revision - 1, 1)
        assert news.epoch == page.epoch
        assert news.item == (None if news.revision == 3 else full_text(page.items[0]))


# --------------------------------------------------------------------------------------------- once


async def test_two_planners_who_hold_the_same_work_plan_it_once(door: Node) -> None:
    """The lease of the first has ended, and neither knows of the other."""
    await send(door, body("order", "ada", "bob"))
    async with opened(door.pool, "one") as one, opened(door.pool, "two") as two:
        first, second = planner(one), planner(two)
        await first.poll()
        await reset_lease(door.pool)
        await second.poll()
        await asyncio.gather(work_off(first), work_off(second))
    assert len(await states(door.pool)) == 4
    assert await door.pool.fetchval("SELECT count(*) FROM ready") == 2
    assert await door.pool.fetchval("SELECT count(*) FROM inbox_items") == 2


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_stale_planner_is_fenced(door: Node, fenced: bool) -> None:
    """Without the lease in the delete, a planner that was taken for dead would plan what another holds."""
    await send(door, body("mail", "ada"))
    async with opened(door.pool, "stale") as stale, opened(door.pool, "next") as new:
        slow = planner(stale)
        await slow.poll()
        await reset_lease(door.pool)
        assert await planner(new).poll() == 1
        if not fenced:
            await door.pool.execute("UPDATE plan_work SET boot = $1", stale.boot)
        await work_off(slow)
    assert len(await states(door.pool)) == (0 if fenced else 1)
    assert await door.pool.fetchval(WORK) == (1 if fenced else 0)


async def test_a_planner_that_dies_before_its_commit_leaves_nothing_and_another_takes_over(
    door: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await send(door, body("order", "ada"))
    async with opened(door.pool, "dies") as dying, opened(door.pool, "heir") as heir:
        with caplog.at_level(logging.CRITICAL):
            await work_off(planner(dying, die=DieAt("plan.before_commit", 9)))
        assert await states(door.pool) == {}
        assert await door.pool.fetchval("SELECT count(*) FROM inboxes") == 0
        await work_off(planner(heir))
        assert await states(door.pool) == {}, "the lease of the dead one still runs"
        await reset_lease(door.pool)
        await work_off(planner(heir))
    assert len(await states(door.pool)) == 2


async def test_a_planner_that_dies_after_its_commit_has_planned(door: Node, caplog: pytest.LogCaptureFixture) -> None:
    await send(door, body("order", "ada"))
    async with opened(door.pool, "dies") as dying:
        with caplog.at_level(logging.CRITICAL):
            await work_off(planner(dying, die=DieAt("plan.after_commit")))
        await reset_lease(door.pool)
        await work_off(planner(dying))
    assert await states(door.pool) == {("ada", "in_app"): "accepted", ("ada", "email"): "pending"}


async def test_a_planner_whose_connection_dies_tries_again_at_once(door: Node) -> None:
    """Its lease still holds: nobody has to wait for its end."""
    await send(door, body("order", "ada"))
    async with opened(door.pool, "node") as node:
        one = planner(node)
        await one.poll()
        async with door.pool.transaction("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE"):
            planning = asyncio.create_task(one.run(one._next()))
            waiting = "FROM pg_locks WHERE relation = 'deliveries'::regclass AND NOT granted"
            await eventually(lambda: door.pool.fetchval(f"SELECT count(*) {waiting}"), what="the plan to wait")
            await door.pool.fetch(f"SELECT pg_terminate_backend(pid) {waiting}")
            await planning
        assert one.handed == 1
        await work_off(one)
    assert len(await states(door.pool)) == 2


async def test_a_node_that_comes_back_takes_its_work_at_once(door: Node) -> None:
    await send(door, body("mail", "ada"))
    async with opened(door.pool, "same") as former:
        await planner(former).poll()
    async with opened(door.pool, "same") as back:
        await plan_all(back)
    assert len(await states(door.pool)) == 1


async def test_work_that_kills_its_planners_is_put_aside_and_the_rest_goes_on(
    door: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await send(door, body("mail", "ada"))
    async with opened(door.pool, "node") as node:
        with caplog.at_level(logging.CRITICAL):
            for _ in range(4):
                await work_off(planner(node, die=DieAt("plan.before_commit", 9), crashes=2))
                await reset_lease(door.pool)
        await send(door, body("mail", "bob"))
        await work_off(planner(node, crashes=2))
    assert await states(door.pool) == {("bob", "email"): "pending"}
    assert await door.pool.fetchval(WORK) == 0
    row = await door.pool.fetchrow("SELECT recipients, reason FROM dead_plans")
    assert row is not None
    assert tuple(row.values()) == ('["ada"]', "crashed")


async def test_work_that_only_waited_is_not_put_aside(door: Node) -> None:
    await send(door, body("mail", "ada"))
    async with opened(door.pool, "node") as node:
        for _ in range(9):
            await planner(node, crashes=2).poll()
            await reset_lease(door.pool)
        await work_off(planner(node, crashes=2))
    assert await states(door.pool) == {("ada", "email"): "pending"}


# --------------------------------------------------------------------------------------------- audiences


async def test_who_is_in_the_list_and_in_the_topic_gets_one_delivery(door: Node) -> None:
    topics = Topics(door.pool)
    for user in ("ada", "bob"):
        await topics.subscribe(0, "news", user)
        await topics.subscribe(0, "more", user)
    await send(door, body("mail", "ada", {"topic": "news"}, {"topic": "more"}, {"all": True}))
    async with opened(door.pool, "node") as node:
        await plan_all(node)
    assert await states(door.pool) == {("ada", "email"): "pending", ("bob", "email"): "pending"}
    assert await door.pool.fetchval("SELECT count(*) FROM ready") == 2


async def test_a_list_whose_topic_was_planned_first_loses_nobody(door: Node) -> None:
    """An optimistic list meets the other's rows, and then looks who was reached."""
    await put_users(door.pool, "eve")
    await Topics(door.pool).subscribe(0, "news", "ada")
    await send(door, body("mail", "ada", "bob", "eve", {"topic": "news"}))
    async with opened(door.pool, "one") as one, opened(door.pool, "two") as two:
        await door.pool.execute("UPDATE plan_work SET ready_at = now() + interval '1 hour' WHERE audience = 'list'")
        await plan_all(one)
        assert set(await states(door.pool)) == {("ada", "email")}
        await reset_lease(door.pool)
        await plan_all(two)
    assert set(await states(door.pool)) == {(user, "email") for user in ("ada", "bob", "eve")}
    assert await door.pool.fetchval(WORK) == 0


async def test_a_list_and_a_topic_at_the_same_time_lose_nobody(door: Node) -> None:
    await Topics(door.pool).subscribe(0, "news", "ada")
    await send(door, body("order", "ada", "bob", {"topic": "news"}))
    async with opened(door.pool, "one") as one, opened(door.pool, "two") as two:
        lists, topics = planner(one), planner(two)
        await lists.poll()
        (work,) = (w for w in lists._handed if w.audience == "walk_topic")
        lists._handed.remove(work)
        topics.hand_over([work])
        await door.pool.execute("UPDATE plan_work SET boot = $1 WHERE audience = 'walk_topic'", two.boot)
        await asyncio.gather(work_off(lists), work_off(topics))
    assert len(await states(door.pool)) == 4
    assert await door.pool.fetchval(WORK) == 0


async def test_a_large_topic_is_cut_into_ranges_that_several_plan(door: Node) -> None:
    members = [f"user{i:04}" for i in range(2 * CHUNK + 100)]
    await put_users(door.pool, *members)
    await door.pool.execute(
        "INSERT INTO subscriptions (tenant, topic, user_id) SELECT 0, 'big', id FROM unnest($1::text[]) AS id", members
    )
    await send(door, body("order", {"topic": "big"}))
    async with opened(door.pool, "one") as one, opened(door.pool, "two") as two:
        await asyncio.gather(plan_all(one), plan_all(two))
        await plan_all(one)
    found = await states(door.pool)
    assert {user for user, _ in found} == set(members)
    assert len(found) == 2 * len(members)


# --------------------------------------------------------------------------------------------- inbox


async def test_revisions_have_no_holes_with_several_planners_on_the_same_users(door: Node) -> None:
    users = [f"user{i}" for i in range(6)]
    nodes = [await open_node(door.pool, f"node{i}") for i in range(3)]
    for turn in range(12):
        await send(door, body("order", *(users[turn % 3 :])))
        await send(door, body("later", *(users[: 1 + turn % 6])))
    await asyncio.gather(*(plan_all(node) for node in nodes))
    rows = await door.pool.fetch(
        "SELECT user_id, array_agg(revision ORDER BY revision) AS r FROM inbox_items GROUP BY 1"
    )
    assert len(rows) == 6
    counters = {r["user_id"]: r for r in await door.pool.fetch("SELECT * FROM inboxes")}
    for row in rows:
        assert row["r"] == list(range(1, len(row["r"]) + 1))
        counter = counters[row["user_id"]]
        assert counter["revision"] == counter["unread"] == counter["unseen"] == len(row["r"])


async def test_a_template_that_fails_settles_its_delivery_and_no_other(store: Pool) -> None:
    fails = {**PROJECT, "templates/order/in_app.txt": '+++\ntitle = "{{ data.number.a.b }}"\n+++\n{{ 1 / 0 }}'}
    await prepare(store, fails)
    await put_users(store, "ada")
    async with opened(store, "node") as node:
        await send(node, body("order", "ada"))
        await plan_all(node)
    assert await states(store) == {("ada", "in_app"): "failed:render_failed", ("ada", "email"): "pending"}
    assert await store.fetchval("SELECT count(*) FROM inbox_items") == 0
    assert await store.fetchval("SELECT settled_at IS NOT NULL FROM deliveries WHERE channel = 'in_app'")


# --------------------------------------------------------------------------------------------- queue


@pytest.mark.parametrize("full", [True, False])
async def test_a_bulkhead_at_its_depth_cap_is_not_filled_further(door: Node, full: bool) -> None:
    await send(door, body("order", "ada"))
    async with opened(door.pool, "node") as node:
        await work_off(planner(node, full=full))
    counts = await door.pool.fetchrow(
        "SELECT (SELECT count(*) FROM ready) AS ready, (SELECT count(*) FROM timers WHERE due_at <= now()) AS timers"
    )
    assert counts is not None
    assert tuple(counts.values()) == ((0, 1) if full else (1, 0))


async def test_a_later_step_waits_in_the_timer_with_its_due_time(door: Node) -> None:
    await send(door, body("escalated", "ada"))
    async with opened(door.pool, "node") as node:
        await plan_all(node)
    row = await door.pool.fetchrow(
        "SELECT d.state, d.due_at = t.due_at AS same, extract(epoch FROM t.due_at - d.planned_at)::int AS after"
        " FROM deliveries d JOIN timers t ON t.delivery = d.id"
    )
    assert row is not None
    assert tuple(row.values()) == ("held", True, 3600)


# --------------------------------------------------------------------------------------------- too late


async def test_what_expired_before_it_was_planned_is_written_down_as_expired(door: Node) -> None:
    await send(door, body("order", "ada", "stranger"))
    await door.pool.execute("UPDATE notifications SET expires_at = now()")
    async with opened(door.pool, "node") as node:
        await plan_all(node)
    assert await states(door.pool) == {
        ("ada", "in_app"): "expired:too_late",
        ("ada", "email"): "expired:too_late",
        ("stranger", "in_app"): "expired:too_late",
        ("stranger", "email"): "skipped:no_address",
    }
    left = await door.pool.fetchval(
        f"SELECT ({WORK}) + (SELECT count(*) FROM ready) + (SELECT count(*) FROM timers) +"
        " (SELECT count(*) FROM inbox_items) + (SELECT count(*) FROM deliveries WHERE settled_at IS NULL)"
    )
    assert left == 0


async def test_a_cancel_takes_away_what_is_not_planned(door: Node) -> None:
    accepted = await send(door, body("order", "ada", "bob"))
    cancelled = await Operations(door.pool).cancel(0, accepted.id)
    assert cancelled is not None
    assert (cancelled.cancelled, cancelled.too_late) == (2, 0)
    async with opened(door.pool, "node") as node:
        await plan_all(node)
    assert await states(door.pool) == {}


async def test_what_is_cancelled_while_a_planner_holds_it_is_written_down_as_cancelled(door: Node) -> None:
    """Work that was held while the cancel ran: nobody took it away, and it must not be sent."""
    accepted = await send(door, body("order", {"all": True}))
    async with opened(door.pool, "node") as node:
        one = planner(node)
        await one.poll()
        await door.pool.execute("UPDATE notifications SET cancelled_at = now() WHERE id = $1", accepted.id)
        await work_off(one)
    assert set((await states(door.pool)).values()) == {"cancelled:by_caller"}
    assert await door.pool.fetchval("SELECT count(*) FROM ready") == 0


async def test_more_work_than_a_planner_holds_is_planned_all_the_same(store: Pool, door: Node) -> None:
    """What finds no room waits in the table; there is room again once something was planned."""
    async with opened(store, "worker") as node:
        node.planner._settings = replace(node.planner._settings, handed=10)
        for first in (0, 20):
            asks = [ask(node, body("mail", f"user{i}")) for i in range(first, first + 20)]
            await node.acceptor.accept_many(0, asks)
        assert node.planner.handed == 10
        await plan_all(node)
        assert await store.fetchval("SELECT count(*) FROM deliveries") == 40
        assert node.planner.room() == 10
