"""Is a request durable when it is answered, answered once whatever happens at once, and judged by itself alone?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.flow.harness import ask, body, open_node, plan_all, prepare, put_users
from tests.support import eventually
from ulak.core.work import unpack
from ulak.flow.accept import Accepted, Acceptor, AcceptRequest, Conflict, Rejected, Result, acceptor
from ulak.flow.accept.acceptor import Settings
from ulak.io.postgres import accepting
from ulak.io.postgres.accepting import Accepting
from ulak.io.postgres.errors import Unavailable
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.topics import Topics
from ulak.node import Node

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

STORED = "SELECT count(*) FROM notifications"
WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'notifications'::regclass AND NOT granted"


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node that takes requests and plans nothing by itself."""
    await prepare(store)
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


async def together(node: Node, *asks: tuple[AcceptRequest | dict[str, Any], str | None]) -> list[Any]:
    """Accept as one group: all wait before the first flusher looks; exceptions are results."""
    single = Acceptor(node.pool, node.boot, node.new_id, settings=Settings(flushers=1))
    requests = [ask(node, a, key) if isinstance(a, dict) else a for a, key in asks]
    tasks = [asyncio.create_task(single.accept(0, request)) for request in requests]
    await asyncio.sleep(0)
    single.start()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await single.stop()
    return results


def unstorable(node: Node, key: str | None = None) -> AcceptRequest:
    """A request that PostgreSQL refuses, such as no door lets through."""
    good = ask(node, body("mail", "ada"), key)
    return AcceptRequest(msgspec.structs.replace(good.request, data='{"x":"\0"}'), good.catalog)


# --------------------------------------------------------------------------------------------- keys


async def test_the_same_key_and_body_is_answered_the_same(node: Node) -> None:
    wanted = body("mail", "ada", {"topic": ""}, "bob")
    first = await node.acceptor.accept(0, ask(node, wanted, "k"))
    again = await node.acceptor.accept(0, ask(node, dict(reversed(wanted.items())), "k"))
    assert isinstance(first, Accepted)
    assert first.problems is not None
    assert "$.to[1]" in first.problems
    assert again == Accepted(first.id, 2, first.problems, replayed=True)
    assert await node.pool.fetchval(STORED) == 1


async def test_the_same_key_with_another_body_is_refused(node: Node) -> None:
    await node.acceptor.accept(0, ask(node, body("mail", "ada"), "k"))
    assert await node.acceptor.accept(0, ask(node, body("mail", "bob"), "k")) == Conflict()
    assert await node.pool.fetchval(STORED) == 1


async def test_keys_belong_to_a_tenant_and_no_key_repeats_nothing(node: Node) -> None:
    request = ask(node, body("mail", "ada"), "k")
    results = [await node.acceptor.accept(tenant, request) for tenant in (0, 1)]
    results += [await node.acceptor.accept(0, ask(node, body("mail", "ada"))) for _ in range(2)]
    assert all(isinstance(r, Accepted) and not r.replayed for r in results)
    assert await node.pool.fetchval(STORED) == 4


async def test_a_key_used_at_once_on_two_nodes_makes_one_notification(node: Node) -> None:
    other = await open_node(node.pool, "other")
    other.acceptor.start()
    asks = [(n, ask(node, body("mail", "ada"), f"k{i % 5}")) for i in range(25) for n in (node, other)]
    results = await asyncio.gather(*(n.acceptor.accept(0, request) for n, request in asks))
    by_key: dict[str | None, list[Result]] = {}
    for (_, request), result in zip(asks, results, strict=True):
        by_key.setdefault(request.request.idempotency_key, []).append(result)
    for answers in by_key.values():
        assert len({a.id for a in answers if isinstance(a, Accepted)}) == 1
        assert [a.replayed for a in answers if isinstance(a, Accepted)].count(False) == 1
        assert len(answers) == 10
    assert await node.pool.fetchval(STORED) == 5
    assert await node.pool.fetchval("SELECT count(*) FROM plan_work") == 5
    await other.acceptor.stop()


async def test_a_key_in_flight_elsewhere_is_waited_for_and_replayed(node: Node) -> None:
    """The other one's transaction is open: a second answer before its end would be a guess."""
    async with node.pool.transaction() as connection:
        request = ask(node, body("mail", "ada"), "k")
        row = node.acceptor._row(0, request, mine=False)
        await accepting.store(connection, [row], 0, 1.0)
        second = asyncio.create_task(node.acceptor.accept(0, request))
        await eventually(
            lambda: node.pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
            what="the second to wait for the first",
        )
        assert not second.done()
    assert await second == Accepted(row.id, 1, None, replayed=True)


async def test_twins_in_one_group_are_one_request(node: Node) -> None:
    ada, bob = body("mail", "ada"), body("mail", "bob")
    first, twin, other, free = await together(node, (ada, "k"), (ada, "k"), (bob, "k"), (bob, None))
    assert (first.replayed, twin.replayed, free.replayed) == (False, True, False)
    assert first.id == twin.id != free.id
    assert other == Conflict()
    assert await node.pool.fetchval(STORED) == 2


# --------------------------------------------------------------------------------------------- faults


async def test_what_postgresql_refuses_hurts_its_own_caller_alone(node: Node) -> None:
    asks: list[tuple[AcceptRequest | dict[str, Any], str | None]] = [
        (body("mail", f"user{i}"), f"k{i}") for i in range(20)
    ]
    asks[7] = (unstorable(node, "bad"), "bad")
    asks[13] = (unstorable(node), None)
    results = await together(node, *asks)
    assert {i for i, r in enumerate(results) if isinstance(r, Rejected)} == {7, 13}
    assert sum(isinstance(r, Accepted) for r in results) == 18
    assert await node.pool.fetchval(STORED) == 18
    assert await node.pool.fetchval("SELECT count(*) FROM idempotency") == 18


async def test_twins_of_a_refused_request_are_refused_too(node: Node) -> None:
    results = await together(node, (unstorable(node, "k"), "k"), (unstorable(node, "k"), "k"))
    assert [type(r) for r in results] == [Rejected, Rejected]


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
async def test_a_clash_of_a_group_is_taken_apart_and_tried_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    sizes: list[int] = []
    real = accepting.store

    async def clash(connection: Any, group: Sequence[Accepting], boot: int, lease: float) -> list[Row]:
        sizes.append(len(group))
        if len(group) > 2:
            raise error("another group holds what this one wants")
        return await real(connection, group, boot, lease)

    monkeypatch.setattr(acceptor, "store", clash)
    results = await together(node, *((body("mail", f"user{i}"), None) for i in range(8)))
    assert all(isinstance(r, Accepted) for r in results)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert await node.pool.fetchval(STORED) == 8


async def test_a_bug_of_ours_is_told_and_the_next_group_is_served(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> list[Row]:
        raise KeyError("ours")

    with monkeypatch.context() as patch, caplog.at_level(logging.CRITICAL):
        patch.setattr(acceptor, "store", broken)
        with pytest.raises(KeyError):
            await node.acceptor.accept(0, ask(node, body("mail", "ada")))
    assert isinstance(await node.acceptor.accept(0, ask(node, body("mail", "ada"))), Accepted)


async def test_a_connection_that_dies_under_a_group_stores_nothing(node: Node) -> None:
    async with node.pool.transaction("LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE"):
        caller = asyncio.create_task(node.acceptor.accept(0, ask(node, body("mail", "ada"), "k")))
        await eventually(lambda: node.pool.fetchval(WAITING), what="the acceptor to wait for the lock")
        await node.pool.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'notifications'::regclass AND NOT granted"
        )
        with pytest.raises(Unavailable) as refused:
            await caller
    assert refused.value.retry_after > 0
    assert await node.pool.fetchval(STORED) == 0
    assert isinstance(await node.acceptor.accept(0, ask(node, body("mail", "ada"), "k")), Accepted)


async def test_without_a_database_nobody_is_told_yes(node: Node, database_url: str) -> None:
    away = await Pool.open(database_url, size=1)
    lost = Acceptor(away, node.boot, node.new_id)
    lost.start()
    away.terminate()
    with pytest.raises(Unavailable):
        await lost.accept(0, ask(node, body("mail", "ada")))
    await lost.stop()


async def test_a_line_that_is_too_long_is_refused_at_its_door(node: Node) -> None:
    short = Acceptor(node.pool, node.boot, node.new_id, settings=Settings(waiting=2))
    requests = [ask(node, body("mail", "ada"))] * 3
    with pytest.raises(Unavailable):
        await short.accept_many(0, requests)
    short.start()
    assert len(await short.accept_many(0, requests[:2])) == 2
    await short.stop()


# --------------------------------------------------------------------------------------------- stop


async def test_stop_answers_those_who_wait_and_those_who_are_being_stored(node: Node) -> None:
    """Cancelling a flusher would leave the callers of its group without an answer."""
    one = Acceptor(node.pool, node.boot, node.new_id, settings=Settings(flushers=1, group=2))
    one.start()
    async with node.pool.transaction("LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE"):
        callers = [asyncio.create_task(one.accept(0, ask(node, body("mail", f"user{i}")))) for i in range(5)]
        await eventually(lambda: node.pool.fetchval(WAITING))
        stopping = asyncio.create_task(one.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="stopping"):
            await one.accept(0, ask(node, body("mail", "late")))
    await stopping
    results = await asyncio.wait_for(asyncio.gather(*callers), 30)
    assert all(isinstance(r, Accepted) for r in results)
    assert await node.pool.fetchval(STORED) == 5


async def test_a_caller_who_leaves_disturbs_nobody(node: Node) -> None:
    single = Acceptor(node.pool, node.boot, node.new_id)
    tasks = [asyncio.create_task(single.accept(0, ask(node, body("mail", "ada")))) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    single.start()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(r) for r in results] == [Accepted, asyncio.CancelledError, Accepted]
    await single.stop()


# --------------------------------------------------------------------------------------------- work


async def test_a_thousand_recipients_become_chunks(node: Node) -> None:
    await node.acceptor.accept(0, ask(node, body("mail", *(f"user{i}" for i in range(1_000)))))
    rows = await node.pool.fetch(
        "SELECT recipients, takes, boot, ready_at > now() AS leased FROM plan_work ORDER BY id"
    )
    assert [len(unpack(row["recipients"])) for row in rows] == [500, 500]
    assert all((row["takes"], row["boot"], row["leased"]) == (1, node.boot, True) for row in rows)
    assert node.planner.handed == 2
    assert await node.pool.fetchval("SELECT recipients FROM notifications") == 1_000


async def test_a_node_without_workers_leaves_work_to_others(node: Node) -> None:
    door = await open_node(node.pool, "door", roles="api")
    door.acceptor.start()
    await door.acceptor.accept(0, ask(node, body("mail", "ada")))
    await door.acceptor.stop()
    row = await node.pool.fetchrow("SELECT boot, takes, ready_at <= now() AS due FROM plan_work")
    assert row is not None
    assert tuple(row.values()) == (0, 0, True)


async def test_an_audience_is_who_belonged_when_it_was_accepted(node: Node) -> None:
    topics = Topics(node.pool)
    await put_users(node.pool, "early", "leaving", "left")
    for user in ("early", "leaving", "left"):
        await topics.subscribe(0, "news", user)
    await topics.unsubscribe(0, "news", "left")
    to_topic = await node.acceptor.accept(0, ask(node, body("mail", {"topic": "news"})))
    to_all = await node.acceptor.accept(0, ask(node, body("mail", {"all": True})))
    await put_users(node.pool, "late")
    await topics.subscribe(0, "news", "late")
    await topics.unsubscribe(0, "news", "leaving")
    await plan_all(node)
    rows = await node.pool.fetch("SELECT notification, user_id FROM deliveries")
    reached: dict[Any, set[str]] = {}
    for row in rows:
        reached.setdefault(row["notification"], set()).add(row["user_id"])
    assert isinstance(to_topic, Accepted)
    assert isinstance(to_all, Accepted)
    assert reached == {to_topic.id: {"early", "leaving"}, to_all.id: {"early", "leaving", "left"}}


async def test_what_is_for_later_is_planned_when_it_is_due(node: Node) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    await node.acceptor.accept(0, ask(node, body("mail", "ada", send_at=at.isoformat())))
    assert node.planner.handed == 0
    await plan_all(node)
    assert await node.pool.fetchval("SELECT count(*) FROM deliveries") == 0
    life = await node.pool.fetchval("SELECT extract(epoch FROM expires_at - send_at)::float8 FROM notifications")
    assert life == node.catalogs.current[0].catalog.types["mail"].expires, "its life begins when it is due"
    await node.pool.execute("UPDATE plan_work SET ready_at = now()")
    await plan_all(node)
    assert await node.pool.fetchval("SELECT count(*) FROM deliveries") == 1
