"""Does every delivery end, and is no duplicate without an unknown, when workers are killed, paused or poisoned?"""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.faults.stage import FILES, LEASE, USERS, Make, Process, ends, left, settled, unknown
from tests.flow.harness import body, prepare, send, states
from tests.support import eventually
from ulak.io.postgres.pool import Pool
from ulak.node import Node

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.slow, pytest.mark.timeout(240)]


async def wait_for(door: Node, deliveries: int, within: float = 90.0) -> None:
    await eventually(lambda: settled(door.pool, deliveries), within=within, every=0.1, what="every delivery to end")


async def judge(door: Node, process: Process, deliveries: int) -> None:
    """Nothing lost, nothing left, and no more duplicates than deliveries that own up to an unknown."""
    sent = process.sent()
    assert len(sent) == deliveries
    assert len(process.calls()) == len(set(process.calls())), "no attempt reaches the vendor twice"
    duplicates = sum(n - 1 for n in sent.values())
    assert sum(n > 1 for n in sent.values()) <= await unknown(door.pool)
    calls = await door.pool.fetchval("SELECT count(*) FROM outcomes WHERE kind = 'unknown'")
    assert duplicates <= calls
    assert await ends(door.pool) == {"accepted": deliveries}
    await eventually(lambda: no_rest(door.pool), what="the queues to be empty")


async def no_rest(pool: Pool) -> bool:
    return await left(pool) == 0


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_worker_that_is_killed_again_and_again_loses_nothing(door: Node, make: Make, seed: int) -> None:
    chance = random.Random(seed)
    worker = make(FAULT_PAUSE="0.05")
    accepted = 0
    for _ in range(5):
        worker.start()
        for _ in range(6):
            await send(door, body("mail", *USERS))
            accepted += len(USERS)
        before = len(worker.calls())

        def sends(before: int = before) -> bool:
            return len(worker.calls()) > before

        await eventually(sends, within=30, what="the worker to send")
        await asyncio.sleep(chance.uniform(0.0, 0.5))  # when the kill comes is the seed's choice, not a wait
        worker.kill()
    worker.start()
    await wait_for(door, accepted)
    assert await unknown(door.pool) > 0, "some call must have been cut off, or this test proves nothing"
    await judge(door, worker, accepted)


async def test_a_kill_between_two_accounts_loses_and_doubles_nothing(door: Node, make: Make) -> None:
    """The first account refuses everything; the node dies again and again while the second takes over."""
    spare = '[accounts.spare]\nchannel = "email"\nprovider = "noop"\npriority = 2\n'
    spare += 'timeout = "1s"\nreconcile_after = "1s"\n\n'
    await prepare(
        door.pool, {**FILES, "ulak.toml": FILES["ulak.toml"].replace("[types.order]", f"{spare}[types.order]")}
    )
    await door.catalogs.refresh()
    worker = make(FAULT_REFUSES="mail")
    points = ["attempt.after_begin:3", "attempt.after_reply:5", "attempt.after_finish:2", "attempt.after_reply:9"]
    for point in points:
        worker.start(ULAK_FAILPOINTS=point)
        for _ in range(3):
            await send(door, body("mail", *USERS))
        await eventually(lambda: worker.dead, within=30, what=f"the worker to die at {point}")
        worker.kill()
    worker.start()
    await wait_for(door, len(points) * 3 * len(USERS))
    await judge(door, worker, len(points) * 3 * len(USERS))
    accounts = await door.pool.fetch("SELECT DISTINCT account, kind FROM attempts JOIN outcomes USING (delivery, n)")
    seen = {(row["account"], row["kind"]) for row in accounts}
    assert {("mail", "next_provider"), ("spare", "accepted")} <= seen
    assert ("mail", "accepted") not in seen


async def test_without_the_reaper_a_killed_workers_calls_would_stay_open(
    door: Node, make: Make, tmp_path: Path
) -> None:
    """The mutation: the same kill with the defence switched off."""
    hold = tmp_path / "hold"
    hold.touch()
    worker = make(FAULT_HOLD=str(hold), FAULT_NO_REAP="1")
    worker.start()
    await send(door, body("mail", *USERS))
    await eventually(worker.calls, within=30)
    worker.kill()
    hold.unlink()
    worker.start()
    await eventually(lambda: only_leased(door.pool), within=30, every=0.1, what="all but the lost calls to end")
    lost = await door.pool.fetchval("SELECT count(*) FROM deliveries WHERE settled_at IS NULL")
    assert lost > 0
    worker.kill()
    del worker.environment["FAULT_NO_REAP"]
    worker.start()
    await wait_for(door, len(USERS))
    await judge(door, worker, len(USERS))


async def only_leased(pool: Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM timers) + (SELECT count(*) FROM plan_work) = 0"
            " AND (SELECT count(*) FROM leases WHERE expires_at > now()) = 0"
        )
    )


@pytest.mark.parametrize(
    ("kind", "end", "calls"), [("mail", "accepted", 2), ("offer", "unresolved:no_answer", 1)], ids=["resend", "stop"]
)
async def test_killed_between_the_vendors_answer_and_the_commit(
    door: Node, make: Make, kind: str, end: str, calls: int
) -> None:
    worker = make()
    worker.start(ULAK_FAILPOINTS="attempt.after_reply:1")
    await send(door, body(kind, USERS[0]))
    await eventually(lambda: worker.dead, within=30, what="the failpoint")
    assert worker.code == -signal.SIGKILL
    assert await states(door.pool) == {(USERS[0], "email"): "pending"}
    assert len(worker.calls()) == 1
    worker.start()
    await wait_for(door, 1)
    assert await states(door.pool) == {(USERS[0], "email"): end}
    assert len(worker.calls()) == calls
    kinds = await door.pool.fetch("SELECT kind FROM outcomes ORDER BY n")
    assert [row["kind"] for row in kinds] == ["unknown", "accepted"][:calls]


@pytest.mark.parametrize("point", ["plan.before_commit", "plan.after_commit", "attempt.after_begin"])
async def test_killed_at_any_other_line(door: Node, make: Make, point: str) -> None:
    worker = make()
    worker.start(ULAK_FAILPOINTS=f"{point}:1")
    await send(door, body("order", *USERS))
    await eventually(lambda: worker.dead, within=30, what="the failpoint")
    worker.start()
    await wait_for(door, 2 * len(USERS))
    sent = worker.sent()
    assert len(sent) == len(USERS)
    assert set(sent.values()) == {1}, "nothing had been sent, so nothing is sent twice"
    assert await door.pool.fetchval("SELECT count(*) FROM inbox_items") == len(USERS)
    assert (await unknown(door.pool) > 0) == (point == "attempt.after_begin")


async def test_a_worker_that_slept_past_its_lease_is_refused(door: Node, make: Make, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    sleeper, other = make("sleeper", FAULT_HOLD=str(hold)), make("other")
    sleeper.start()
    await send(door, body("mail", USERS[0]))
    await eventually(sleeper.calls, within=30, what="the call to be under way")
    sleeper.signal(signal.SIGSTOP)
    other.start()
    await wait_for(door, 1)
    assert len(other.calls()) == 2
    hold.unlink()
    sleeper.signal(signal.SIGCONT)
    await eventually(lambda: "was refused" in sleeper.errors.read_text(), within=LEASE + 20, what="the late outcome")
    kinds = await door.pool.fetch("SELECT n, kind FROM outcomes ORDER BY n")
    assert [tuple(row.values()) for row in kinds] == [(1, "unknown"), (2, "accepted")]
    await judge(door, other, 1)


async def test_a_message_that_kills_its_worker_ends_as_dead_and_the_others_arrive(door: Node, make: Make) -> None:
    worker = make(FAULT_POISON=f"{USERS[3]}@example.com")
    worker.start()
    await send(door, body("mail", *USERS))
    restarts = 0

    async def ended() -> bool:
        nonlocal restarts
        if worker.dead:
            restarts += 1
            worker.start()
        return await settled(door.pool, len(USERS))

    await eventually(ended, within=150, every=0.1, what="every delivery to end")
    found = await states(door.pool)
    assert found.pop((USERS[3], "email")) == "dead:crashed"
    assert set(found.values()) == {"accepted"}
    poisoned = await door.pool.fetchval(
        "SELECT count(*) FROM attempts a JOIN deliveries d ON d.id = a.delivery WHERE d.user_id = $1", USERS[3]
    )
    assert poisoned == restarts <= 4, "once among others, then three times alone"
    assert await door.pool.fetchval("SELECT count(*) FROM dead") == 1
