"""Do those who send and those who forbid keep apart, and go on together among themselves?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support import eventually
from ulak.io.postgres import pool
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.gate import FORBIDDING, SENDING, forbid
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted"


async def enter(pool: Pool, side: str, done: asyncio.Event) -> None:
    async with pool.transaction(side):
        done.set()


@pytest.mark.parametrize(("first", "second"), [(SENDING, FORBIDDING), (FORBIDDING, SENDING)])
async def test_one_side_waits_for_the_other(store: Pool, first: str, second: str) -> None:
    done = asyncio.Event()
    async with store.transaction(first):
        other = asyncio.create_task(enter(store, second, done))
        await eventually(lambda: store.fetchval(WAITING), what="the other side to wait")
        assert not done.is_set()
    await other
    assert done.is_set()


@pytest.mark.parametrize("side", [SENDING, FORBIDDING])
async def test_any_number_of_one_side_go_together(store: Pool, side: str) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(store.transaction(side))
        assert await store.fetchval(WAITING) == 0


async def test_a_no_takes_its_side(store: Pool) -> None:
    async with store.transaction() as connection:
        await forbid(connection)
        mode = await connection.fetchval("SELECT mode FROM pg_locks WHERE relation = 'gate'::regclass")
        assert mode == "ShareLock"


async def test_who_forbids_is_not_starved_by_a_stream_of_senders(store: Pool) -> None:
    """A waiting "no" goes before senders that come after it."""
    order: list[str] = []

    async def late(side: str, name: str) -> None:
        async with store.transaction(side):
            order.append(name)

    async with store.transaction(SENDING):
        no = asyncio.create_task(late(FORBIDDING, "no"))
        await eventually(lambda: store.fetchval(WAITING))
        sender = asyncio.create_task(late(SENDING, "sender"))
        await eventually(lambda: store.fetchval(f"SELECT ({WAITING}) = 2"))
    await asyncio.gather(no, sender)
    assert order == ["no", "sender"]


async def test_a_no_that_can_not_be_said_gives_way_to_the_senders(store: Pool) -> None:
    order: list[str] = []

    async def late(side: str, name: str) -> None:
        try:
            async with store.transaction(side):
                order.append(name)
        except EXPECTED as error:
            order.append(trouble(error))

    async with store.transaction(SENDING):
        no = asyncio.create_task(late(FORBIDDING.replace("5s", "300ms"), "no"))
        await eventually(lambda: store.fetchval(WAITING))
        await asyncio.gather(no, late(SENDING, "sender"))
    assert sorted(order) == [Trouble.CLASH, "sender"]


@pytest.mark.parametrize("side", [SENDING, FORBIDDING])
async def test_who_stands_still_in_mid_transaction_lets_go(
    store: Pool, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ABANDONED", pool.ABANDONED.replace("10s", "1s"))
    done = asyncio.Event()

    async def stand_still() -> None:
        async with store.transaction(side) as connection:
            await asyncio.wait_for(enter(store, FORBIDDING if side == SENDING else SENDING, done), 30.0)
            await connection.fetchval("SELECT 1")

    with pytest.raises(EXPECTED) as caught:
        await stand_still()
    assert done.is_set()
    assert trouble(caught.value) is Trouble.AWAY
    assert await store.fetchval("SELECT 1") == 1
