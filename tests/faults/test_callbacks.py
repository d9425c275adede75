"""Is every callback that was answered with 200 applied once, wherever a worker is killed?"""

from __future__ import annotations

import json
import random
import signal
from uuid import UUID

import pytest

from tests.faults.stage import USERS, Make, Process, settled
from tests.flow.harness import body, send
from tests.flow.test_callbacks import event
from tests.support import eventually
from ulak.io.postgres.callbacks import Callbacks, counts
from ulak.io.postgres.pool import Pool
from ulak.node import Node

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.slow, pytest.mark.timeout(240)]


async def sent(door: Node, worker: Process) -> list[UUID]:
    """Ten messages that a vendor took."""
    worker.start()
    await send(door, body("mail", *USERS))
    await eventually(lambda: settled(door.pool, len(USERS)), within=60, every=0.1, what="the messages to be sent")
    worker.kill()
    return [row["id"] for row in await door.pool.fetch("SELECT id FROM deliveries ORDER BY id")]


async def keep(door: Node, deliveries: list[UUID], times: int = 3) -> None:
    """Each message is delivered, then bounces; each event comes several times."""
    for turn in range(times):
        for n, delivery in enumerate(deliveries):
            both = [event("delivered", delivery, f"d{n}"), event("bounce", delivery, f"b{n}", type="bounce")]
            chance = random.Random(turn * 100 + n)
            chance.shuffle(both)
            await Callbacks(door.pool).keep(0, "sendgrid", "mail", "{}", json.dumps(both).encode())


async def done(pool: Pool) -> bool:
    return await counts(pool) == (0, 0)


async def judge(pool: Pool) -> None:
    kinds = await pool.fetch("SELECT kind, count(*) AS n FROM receipts WHERE source = 'provider' GROUP BY kind")
    assert {row["kind"]: row["n"] for row in kinds} == {"delivered": 10, "bounced": 10}
    assert await pool.fetchval("SELECT count(*) FROM deliveries WHERE state = 'bounced'") == 10
    assert await pool.fetchval("SELECT count(*) FROM suppressions WHERE scope = 'all' AND reason = 'bounced'") == 10
    assert await pool.fetchval("SELECT sum(n) FROM account_events") == 20


@pytest.mark.parametrize("point", ["callbacks.after_take", "callbacks.before_commit", "callbacks.after_commit"])
async def test_killed_at_any_line_between_store_and_apply(door: Node, make: Make, point: str) -> None:
    worker = make()
    deliveries = await sent(door, worker)
    await keep(door, deliveries)
    worker.start(ULAK_FAILPOINTS=f"{point}:1")
    await eventually(lambda: worker.dead, within=30, what="the failpoint")
    assert worker.code == -signal.SIGKILL
    applied = await door.pool.fetchval("SELECT count(*) FROM receipts WHERE source = 'provider'")
    assert (applied > 0) == (point == "callbacks.after_commit")
    worker.start()
    await eventually(lambda: done(door.pool), within=60, every=0.1, what="every callback to be applied")
    await judge(door.pool)
