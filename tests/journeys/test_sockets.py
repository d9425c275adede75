"""Does a crowd on three nodes see everything exactly once, whatever dies, drains, is flushed or reads slowly?

Three real nodes on one PostgreSQL and one Valkey, 2,000 users with a socket each, notifications flowing all the time.
Judged from outside: every notification that was accepted is seen by its user once, and revisions have no holes.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from bench.storm_crowd import Crowd, until
from bench.storm_fleet import Guest
from bench.storm_judge import Verdict
from bench.storm_nodes import Node, Nodes
from bench.storm_sender import Sender
from tests.support import eventually
from ulak.io.embedded import valkey

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.pg,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="clients need many addresses of their own on loopback"),
]

USERS = 2_000
RATE = 150.0
"""Notifications a second, all the time."""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ulak-sockets-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def bus(folder: Path) -> Iterator[valkey.RunningValkey]:
    with valkey.start(folder / "bus") as running:
        yield running


@pytest.fixture
async def nodes(database_url: str, bus: valkey.RunningValkey, folder: Path) -> AsyncIterator[Nodes]:
    made = Nodes(database_url, bus.url, folder)
    try:
        await made.begin(3)
        yield made
    finally:
        await made.end()


@asynccontextmanager
async def traffic(crowd: Crowd, users: list[str] | None = None) -> AsyncIterator[Sender]:
    """Notifications to random users all the time; a node that is away is the sender's business."""
    sender = Sender(crowd.nodes.urls(), crowd.nodes.key, users or list(crowd.users), RATE, batch=5)
    running = asyncio.create_task(sender.run())
    try:
        await flowing(sender, 100)
        yield sender
    finally:
        sender.stop()
        await running


async def flowing(sender: Sender, number: int) -> None:
    """Wait until so many more notifications were accepted."""
    wanted = sender.number + number
    await until(lambda: sender.number >= wanted, 60, lambda: f"{sender.number} of {wanted} accepted")


@asynccontextmanager
async def crowd_on(nodes: Nodes, number: int = USERS) -> AsyncIterator[Crowd]:
    crowd = await Crowd.gather(nodes, number)
    try:
        await crowd.come(spread=2.0)
        yield crowd
    finally:
        await crowd.fleet.close()


def clean(verdict: Verdict) -> None:
    assert verdict.passed, verdict.words()
    assert verdict.accepted > 500


def elsewhere(crowd: Crowd, gone: Node) -> None:
    """Who dials from now on is sent to the other nodes, as a load balancer does."""
    others = crowd.nodes.urls(but=[gone])
    crowd.fleet.pick = lambda _: random.choice(others)


async def test_the_death_of_a_node_loses_nothing(nodes: Nodes) -> None:
    async with crowd_on(nodes) as crowd:
        victim = nodes.all[0]
        orphans = crowd.on(victim.url)
        assert len(orphans) > USERS // 6
        async with traffic(crowd) as sender:
            elsewhere(crowd, victim)
            await victim.kill()
            await until(lambda: all(1006 in guest.closes for guest in orphans), 40, lambda: "not all noticed")
            await crowd.all_in(60)
            await flowing(sender, 200)
            await nodes.start(victim)
            await flowing(sender, 300)
        clean(await crowd.verdict(sender.accepted))


async def test_a_node_that_drains_sends_everybody_elsewhere_without_loss(nodes: Nodes) -> None:
    async with crowd_on(nodes) as crowd:
        leaving = nodes.all[0]
        guests = crowd.on(leaving.url)
        async with traffic(crowd) as sender:
            elsewhere(crowd, leaving)
            began = time.monotonic()
            await leaving.stop(grace=60.0)
            assert time.monotonic() - began < 50
            await crowd.all_in(60)
            await flowing(sender, 400)
        assert {code for guest in guests for code in guest.closes} == {4000}
        clean(await crowd.verdict(sender.accepted))


async def test_without_valkey_and_with_an_empty_one_nothing_is_missed(nodes: Nodes, bus: valkey.RunningValkey) -> None:
    async with crowd_on(nodes) as crowd, traffic(crowd) as sender:
        async with Redis.from_url(bus.url) as client:
            await client.flushall()
        await flowing(sender, 300)
        await _die(bus)
        await flowing(sender, 300)
        # No bus: what other nodes plan is found by comparing, once a second.
        before = sender.so_far()
        await until(lambda: crowd.missing(before) == 0, 60, lambda: f"{crowd.missing(before)} without a bus")
        await until(bus.step, 60, lambda: "Valkey does not start")
        await flowing(sender, 300)
        sender.stop()
        clean(await crowd.verdict(sender.accepted))


async def _die(bus: valkey.RunningValkey) -> None:
    """SIGKILL; it is our child, so it is only started again by ``step``."""
    os.kill(bus.pid, signal.SIGKILL)
    await until(lambda: bus.poll() is not None, 40, lambda: "Valkey lives")


async def test_a_storm_of_all_at_once_comes_back_whole(nodes: Nodes) -> None:
    async with crowd_on(nodes) as crowd, traffic(crowd) as sender:
        for _ in range(3):
            await crowd.again(within=60)
            await flowing(sender, 100)
        sender.stop()
        clean(await crowd.verdict(sender.accepted))


async def test_who_reads_slowly_is_told_all_and_disturbs_nobody(nodes: Nodes) -> None:
    async with crowd_on(nodes) as crowd:
        slow = crowd.fleet.guests[:6]
        hanging, pausing = slow[:3], slow[3:]
        slow_users = {guest.user for guest in slow}
        for guest in slow:
            assert guest.wire is not None
            guest.wire.pause()
        async with traffic(crowd) as sender:
            heavy = Sender(nodes.urls(), nodes.key, list(slow_users), 1_500.0, batch=50, text="x" * 12_000)
            flood = asyncio.create_task(heavy.run())
            await until(lambda: heavy.number >= 900, 60, lambda: f"{heavy.number} heavy ones accepted")
            heavy.stop()
            await flood
            for guest in pausing:
                assert guest.wire is not None
                guest.wire.resume()
            before = {user: numbers for user, numbers in sender.so_far().items() if user not in slow_users}
            await until(lambda: crowd.missing(before) == 0, 60, lambda: "others wait for the slow ones")
            # Who reads nothing for 30 s is let go, long before the kernel would do it (60 s). The node says so itself,
            # as we don't read its close frame either.
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {nodes.key}"}) as session:
                await eventually(lambda: gone(session, hanging), within=50, every=0.5, what="slow sockets stay open")
            assert not any(set(guest.closes) for guest in pausing)
            for guest in hanging:
                assert guest.wire is not None
                guest.wire.resume()
            await crowd.all_in(60)
            assert all(set(guest.closes) <= {4001, 1006} for guest in hanging)
        accepted = {user: [*sender.accepted.get(user, ()), *heavy.accepted.get(user, ())] for user in crowd.users}
        clean(await crowd.verdict(accepted))


async def gone(session: aiohttp.ClientSession, guests: list[Guest]) -> bool:
    """Whether no node holds a socket of any of these."""
    for guest in guests:
        async with session.get(f"{guest.node}/v1/connections", params={"user": guest.user}) as answer:
            said = await answer.json()
        if said["items"] or not said["complete"]:
            return False
    return True
