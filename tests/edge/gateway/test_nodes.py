"""Do several gateways on one database and one Valkey act as one, and does nothing depend on Valkey?

Three whole gateways with real sockets in this process, joined as ``doors`` joins them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from tests.edge.gateway.harness import Device, Node, running
from tests.support import eventually
from ulak.core.connections import Answers, Question, boot_of
from ulak.core.inbox import News
from ulak.edge.gateway import Pace, Rights
from ulak.edge.gateway.listening import Listening
from ulak.edge.gateway.presence import Presence
from ulak.io.embedded.valkey import RunningValkey
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.topics import Topics
from ulak.io.valkey.bus import ValkeyBus, _end
from ulak.io.valkey.link import Pace as BusPace

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.slow]

STEADY = BusPace(beat=0.1, deaf=10.0, pause=0.05, lease=30, gather=0.001)
"""A machine that stands still for seconds makes no node deaf, and so none compares what the news are to bring."""
BRIEF = BusPace(beat=0.1, deaf=1.0, pause=0.05, lease=2, gather=0.001)
"""The dead are missed soon."""


@dataclass
class Joined:
    """One gateway on the bus."""

    node: Node
    bus: ValkeyBus
    boot: int

    async def add(self, user: str, n: int = 1, *, tenant: int = 0) -> None:
        """Commit items on this node, and tell the others as ``node.hint`` does."""
        before = len(self.node.hints)
        await self.node.add(user, n, tenant=tenant)
        self.bus.news(self.node.hints[before:])

    async def presence(self, user: str = "ann") -> Answers:
        return await self.bus.ask(Question(0, user, limit=50), 30.0)


@asynccontextmanager
async def joined(
    pool: Pool, url: str, count: int, *, pace: Pace | None = None, bus_pace: BusPace = STEADY
) -> AsyncIterator[list[Joined]]:
    """Gateways that know of one another."""
    boots = range(1, count + 1)
    async with AsyncExitStack() as stack:
        found: list[Joined] = []
        for boot in boots:
            may = Listening(Topics(pool)).may
            node = await stack.enter_async_context(running(pool, boot=boot, pace=pace))
            node.gateway.rights = Rights(node.gateway.rights.verify, may_subscribe=may)
            presence = Presence(node.hub, node.store)
            bus = ValkeyBus(url, boot, presence, bus_pace)
            node.hub.watch(bus)
            bus.nodes(boots)
            bus.start()
            stack.push_async_callback(bus.stop)
            looking = asyncio.create_task(presence.run())
            stack.callback(looking.cancel)
            found.append(Joined(node, bus, boot))
        await eventually(lambda: all(one.bus.up for one in found))
        await eventually(lambda: not any(one.node.hub._overdue for one in found))  # the comparison at the beginning
        yield found


def _published(nodes: Sequence[Joined]) -> int:
    return sum(int(one.bus.gauges()["bus_published"]) for one in nodes)


async def test_devices_on_several_nodes_are_in_step(store: Pool, valkey_server: RunningValkey) -> None:
    async with (
        joined(store, valkey_server.url, 3) as (one, two, three),
        Device(one.node, "ann") as phone,
        Device(two.node, "ann") as laptop,
        Device(three.node, "bob") as bob,
    ):
        for device in (phone, laptop, bob):
            await device.until(lambda d: d.told("welcome"))
        await eventually(lambda: _held(one, 1) and _held(two, 1) and _held(three, 1))
        # The comparison that is due when the bus comes up could tell of an item before the news do.
        await eventually(lambda: not two.node.hub._overdue)
        await two.node.hub.compare()
        reads = two.node.hub.reads
        for n in range(5):
            await one.add("ann")
            await laptop.until(lambda d, n=n: d.revision == n + 1)
            await phone.reaches(n + 1)
        assert two.node.hub.live == 5
        assert two.node.hub.reads == reads  # the news carried the items
        await laptop.answer({"op": "seen", "up_to": 5})
        assert bob.revision == 0
        assert int(three.bus.gauges()["bus_published"]) == 0


async def test_news_of_a_user_of_one_node_cross_nothing(store: Pool, valkey_server: RunningValkey) -> None:
    async with joined(store, valkey_server.url, 2) as nodes:
        one, _ = nodes
        async with Device(one.node, "ann") as device:
            await device.until(lambda d: d.told("welcome"))
            await one.add("ann")
            await device.reaches(1)
            await eventually(lambda: one.bus.gauges()["bus_lookups"] == 1)
            assert _published(nodes) == 0


async def test_what_is_committed_while_a_user_is_arriving_is_not_missed(
    store: Pool, valkey_server: RunningValkey
) -> None:
    """Between the first read and the entry in Valkey, other nodes do not know of him. No comparison is due."""
    slow = replace(STEADY, gather=0.5)
    async with joined(store, valkey_server.url, 2, bus_pace=slow) as (one, two), Device(two.node, "ann") as device:
        await device.until(lambda d: d.told("welcome"))
        await one.add("ann")
        assert device.revision == 0
        await device.until(lambda d: d.revision == 1)


async def test_a_flush_and_a_death_of_valkey_lose_nothing(store: Pool, valkey_server: RunningValkey) -> None:
    pace = Pace(compare=1e9, alarmed=0.1, sweep=0.05, pause=0.01)
    async with joined(store, valkey_server.url, 2, pace=pace) as (one, two), Device(two.node, "ann") as device:
        await device.until(lambda d: d.told("welcome"))
        os.kill(valkey_server.pid, signal.SIGKILL)
        for _ in range(3):
            await one.add("ann")
        await device.until(lambda d: d.revision == 3)  # by comparison
        await eventually(valkey_server.step)
        await eventually(lambda: one.bus.up and two.bus.up and _held(two, 1))
        await one.add("ann")
        await device.until(lambda d: d.revision == 4)


async def test_news_that_the_bus_drops_are_harmless(
    store: Pool, valkey_server: RunningValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with joined(store, valkey_server.url, 2) as (one, two), Device(two.node, "ann") as device:
        await device.until(lambda d: d.told("welcome"))
        await eventually(lambda: _held(two, 1))
        heard = two.bus._here.hint
        lost: list[News] = []
        monkeypatch.setattr(two.bus._here, "hint", lost.extend)
        await one.add("ann")
        await eventually(lambda: lost)
        monkeypatch.setattr(two.bus._here, "hint", heard)
        await one.add("ann")
        await device.until(lambda d: d.revision == 2)  # the gap was seen, and read
        assert len(device.holds) == 2


async def test_presence_is_that_of_all_nodes_and_ends_at_the_missed_ping(
    store: Pool, valkey_server: RunningValkey
) -> None:
    async with joined(store, valkey_server.url, 3) as (one, two, three), AsyncExitStack() as stack:
        phone = await stack.enter_async_context(Device(one.node, "ann"))
        laptop = await stack.enter_async_context(Device(two.node, "ann"))
        for device in (phone, laptop):
            await device.until(lambda d: d.told("welcome"))
        await laptop.answer({"op": "active"})
        await eventually(lambda: _held(one, 1) and _held(two, 1))
        here = await three.presence()
        assert (here.total, here.complete) == (2, True)
        assert sorted(boot_of(d.id) or 0 for d in here.found) == [1, 2]
        assert [d.active for d in sorted(here.found, key=lambda d: d.id)] == [False, True]
        await laptop.disconnect(abruptly=True)
        await eventually(lambda: _total(three, 1))
        assert phone.socket is not None
        phone.socket.transport.pause_reading()  # it hangs: the TCP connection stands, and no pong comes
        one.node.clock.ahead += 26
        await eventually(lambda: len(one.node.hub) == 1)
        one.node.clock.ahead += 9
        await eventually(lambda: _total(three, 0))
        phone.socket.transport.resume_reading()


async def test_the_presence_of_a_dead_node_ends(store: Pool, valkey_server: RunningValkey) -> None:
    nodes = joined(store, valkey_server.url, 2, bus_pace=BRIEF)
    async with nodes as (one, two), Device(two.node, "ann") as device:
        await device.until(lambda d: d.told("welcome"))
        await eventually(lambda: _total(one, 1))
        await _end(two.bus._tasks)  # as if it had been killed
        one.bus.nodes([1])  # its heartbeat in the database has stopped, too
        await eventually(lambda: _total(one, 0))
        assert (await one.presence()).complete


async def test_an_end_by_call_reaches_the_node_that_holds_the_connection(
    store: Pool, valkey_server: RunningValkey
) -> None:
    async with joined(store, valkey_server.url, 2) as (one, two), AsyncExitStack() as stack:
        first = await stack.enter_async_context(Device(two.node, "ann"))
        second = await stack.enter_async_context(Device(two.node, "ann"))
        stranger = await stack.enter_async_context(Device(two.node, "ann", tenant=7))
        ids = [(await d.until(lambda d: d.told("welcome")))[0]["connection"] for d in (first, second, stranger)]
        foreign = await one.bus.ask(Question(0, connection=ids[2], close=True), 30.0)
        assert (foreign.total, foreign.complete) == (0, True)  # another tenant's: as if it were not there
        ended = await one.bus.ask(Question(0, connection=ids[0], close=True), 30.0)
        assert (ended.total, ended.complete) == (1, True)
        assert (await first.closed())[0] == 4507
        await eventually(lambda: _held(two, 2))
        assert (await one.bus.ask(Question(0, "ann", close=True), 30.0)).total == 1
        assert (await second.closed())[0] == 4507
        assert stranger.close is None


async def test_topics_and_broadcast_reach_listeners_on_every_node(store: Pool, valkey_server: RunningValkey) -> None:
    await Topics(store).subscribe(0, "goals", "ann")
    async with joined(store, valkey_server.url, 3) as (one, two, three), AsyncExitStack() as stack:
        ann = await stack.enter_async_context(Device(two.node, "ann"))
        bob = await stack.enter_async_context(Device(three.node, "bob"))
        stranger = await stack.enter_async_context(Device(three.node, "eve", tenant=7))
        for device in (ann, bob, stranger):
            await device.until(lambda d: d.told("welcome"))
        assert await ann.answer({"op": "subscribe", "topics": ["goals"]}) == {"op": "ok"}
        refusal = {"op": "error", "code": "forbidden"}
        assert await bob.answer({"op": "subscribe", "topics": ["goals"]}) == refusal  # no subscriber of it
        assert await stranger.answer({"op": "subscribe", "topics": ["goals"]}) == refusal
        await eventually(lambda: _held(two, 2))
        before = int(one.bus.gauges()["bus_published"])
        assert one.bus.publish(0, "goals", '{"op":"message","topic":"goals","data":{"home":1}}')
        await ann.until(lambda d: d.told("message"))
        assert int(one.bus.gauges()["bus_published"]) == before + 1
        assert one.bus.publish(0, None, '{"op":"notice","data":{}}')
        for device in (ann, bob):
            await device.until(lambda d: d.told("notice"))
        assert await stranger.answer({"op": "active"}) == {"op": "ok"}
        assert stranger.told("notice") == []


def _held(one: Joined, count: int) -> bool:
    """Whether so many places of this node are entered in Valkey."""
    directory = one.bus._directory
    return len(directory) == count and not directory.changed


async def _total(one: Joined, count: int) -> bool:
    return (await one.presence()).total == count
