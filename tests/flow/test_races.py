"""Is a "no" final at its answer, whichever account has the delivery by then?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from tests.flow.harness import open_node, prepare, put_users
from tests.flow.station import Options, station
from tests.flow.test_failover import FILES, REFUSED, A, B, C, Stage, ready
from tests.support import eventually
from ulak.core.breaker import Limits
from ulak.core.choice import Change
from ulak.core.model import Account
from ulak.core.outcome import accepted
from ulak.flow.attempt import Breakers, Keeper, Settings
from ulak.io.postgres import timing
from ulak.io.postgres.consents import By, Consents
from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.operate import Operations
from ulak.io.postgres.pool import Pool
from ulak.node import Node

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

PEOPLE = 36


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node with three accounts of which only the acceptor runs."""
    await prepare(store, FILES)
    await put_users(store, *(f"user{i}" for i in range(PEOPLE)))
    node = await open_node(store)
    node.acceptor.start()
    node.breakers.match([A, B, C])
    yield node
    await node.acceptor.stop()


async def calls(node: Node, user: str) -> int:
    found: int = await node.pool.fetchval(
        "SELECT count(*) FROM attempts a JOIN deliveries d ON d.tenant = a.tenant AND d.id = a.delivery"
        " WHERE d.user_id = $1",
        user,
    )
    return found


async def by_link(node: Node, user: str) -> None:
    by = By("link", None, None)
    await Consents(node.pool).change(0, user, Change(refuse=(("orders", "email"),)), by)


async def by_cancel(node: Node, user: str) -> None:
    row = await node.pool.fetchval("SELECT notification FROM deliveries WHERE user_id = $1", user)
    assert isinstance(row, UUID)
    await Operations(node.pool).cancel(0, row)


async def by_bounce(node: Node, user: str) -> None:
    async with node.pool.transaction(FORBIDDING) as connection:
        await connection.execute(
            "INSERT INTO suppressions (tenant, channel, address, scope, reason)"
            " VALUES (0, 'email', $1, 'all', 'bounced')",
            f"{user}@example.com",
        )


WAYS: tuple[Callable[[Node, str], Awaitable[None]], ...] = (by_link, by_cancel, by_bounce)


async def test_no_account_begins_a_call_after_a_no_was_answered(node: Node) -> None:
    """The first account refuses all, its breaker opens, rows move on and are diverted, while people say no."""
    users = [f"user{i}" for i in range(PEOPLE)]
    for user in users:
        await ready(node, "mail", user)
    stage = Stage(node, {})
    stage.breakers = Breakers(stage.clock, node._accounts, Limits(least=3))
    stage.breakers.match([A, B, C])
    keeper = Keeper(node.pool, Settings(), list, stage.breakers)
    counted: dict[str, int] = {}
    over = asyncio.Event()

    async def work(account: Account) -> None:
        options = Options(account=account, permits=stage.breakers, lineup=stage.breakers, clock=stage.clock)
        async with station(node, lambda _: REFUSED if account is A else accepted(), options) as one:
            while not over.is_set():
                await one.work()
                await keeper.divert()
                async with node.pool.transaction() as connection:
                    await timing.move_due(connection, account.bulkhead, 5)
                await asyncio.sleep(0)

    async def refuse() -> None:
        # From the other end of the line, so that they meet the calls in the middle.
        for at, user in enumerate(reversed(users)):
            await WAYS[at % len(WAYS)](node, user)
            counted[user] = await calls(node, user)

    workers = [asyncio.create_task(work(account)) for account in (A, B)]

    async def begun() -> bool:
        return bool(await node.pool.fetchval("SELECT EXISTS (SELECT FROM attempts WHERE account = 'b')"))

    await eventually(begun, what="the second account to begin")
    await refuse()
    over.set()
    await asyncio.gather(*workers)
    stage.clock.now += 60
    await stage.work(rounds=3)
    assert {user: await calls(node, user) for user in users} == counted
    assert await node.pool.fetchval("SELECT count(*) FROM ready") == 0
