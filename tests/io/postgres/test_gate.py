"""Do those who send and those who forbid keep apart, and go on together among themselves?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support import eventually
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
