"""Does a question reach whoever may know, does its answer reach only who asked, and is it told when one is missing?"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.io.valkey.conftest import BRIEF, QUICK, Node, client, nodes, standing_still
from tests.support import eventually
from ulak.core.connections import Question, Reply, connection_id
from ulak.io.bus import LocalBus
from ulak.io.embedded.valkey import RunningValkey
from ulak.io.valkey.link import channel
from ulak.io.valkey.wire import Answer, encode

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ALL = Question(0, limit=100)
ANN = Question(0, "ann", limit=100)


async def test_all_nodes_are_asked_for_a_tenant(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, 3) as found:
        for node in found:
            node.hub.connections = [(0, "ann", f"con_{node.boot}"), (1, "eve", f"con_e{node.boot}")]
        answers = await found[0].bus.ask(ALL, 30.0)
        assert sorted(one.id for one in answers.found) == ["con_1", "con_2", "con_3"]
        assert (answers.total, answers.complete) == (3, True)
        few = await found[1].bus.ask(Question(0, limit=2), 30.0)
        assert (few.total, len(few.found), few.complete) == (3, 2, True)


async def test_only_holders_are_asked_for_a_user(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, 3) as (one, two, three):
        await two.hold("ann")
        two.hub.connections = [(0, "ann", "con_2")]
        answers = await one.bus.ask(ANN, 30.0)
        assert [d.id for d in answers.found] == ["con_2"]
        assert answers.complete
        assert three.hub.asked == []
        nobody = await one.bus.ask(Question(0, "carl", limit=9), 30.0)
        assert (nobody.total, nobody.complete) == (0, True)


async def test_one_node_is_asked_for_a_connection(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, 3) as (one, two, three):
        name = connection_id(2, bytes(8))
        two.hub.connections = [(0, "ann", name)]
        answers = await one.bus.ask(Question(0, connection=name, close=True), 30.0)
        assert (answers.total, answers.complete) == (1, True)
        assert three.hub.asked == []
        assert two.hub.connections == []
        own = await two.bus.ask(Question(0, connection=name, close=True), 30.0)
        assert (own.total, own.complete) == (0, True)
        stranger = await one.bus.ask(Question(0, connection=connection_id(77, bytes(8))), 30.0)
        assert (stranger.total, stranger.complete) == (0, True)  # no node of that number lives or listens


async def test_a_node_that_does_not_answer_makes_it_incomplete(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two):
        two.hub.connections = [(0, "ann", "con_2")]
        one.bus.nodes([1, 2, 9])  # 9 lives by its heartbeat, and does not listen
        answers = await one.bus.ask(ALL, 3.0)
        assert (answers.total, answers.complete) == (1, False)
        # It may hold ann: without a lease, what it holds is not entered.
        assert not (await one.bus.ask(ANN, 0.3)).complete
        assert not (await one.bus.ask(Question(0, connection=connection_id(9, bytes(8))), 0.3)).complete
        one.bus.nodes([1, 2])
        assert (await one.bus.ask(ALL, 30.0)).complete


async def test_right_after_a_flush_nobody_is_left_out(valkey_server: RunningValkey) -> None:
    """The directory is empty then, and an empty directory must not look like an absent user."""
    slow = replace(QUICK, beat=20.0, deaf=60.0)
    async with nodes(valkey_server.url, 1, 2, pace=slow) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann")
        two.hub.connections = [(0, "ann", "con_2")]
        await valkey.flushall()
        answers = await one.bus.ask(ANN, 30.0)
        assert (answers.total, answers.complete) == (1, True)


async def test_a_bus_that_is_down_answers_at_once_and_says_so(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, pace=BRIEF) as (one, _two):
        one.hub.connections = [(0, "ann", "con_1")]
        with standing_still(valkey_server):
            in_flight = asyncio.create_task(one.bus.ask(ALL, 60.0))
            answers = await in_flight
            assert (answers.total, answers.complete) == (1, False)
            await eventually(lambda: not one.bus.up)
            assert not (await one.bus.ask(ALL, 60.0)).complete
        await eventually(lambda: one.bus.up)


async def test_who_does_not_know_the_others_yet_claims_nothing(valkey_server: RunningValkey) -> None:
    node = Node(valkey_server.url, 1)
    assert not (await node.bus.ask(ALL, 0.1)).complete
    assert not node.bus.publish(0, None, "{}")
    node.bus.nodes([1])
    assert (await node.bus.ask(ALL, 0.1)).complete  # alone, it needs no Valkey
    assert node.bus.publish(0, None, "{}")
    async with nodes(valkey_server.url, 2) as (two,):
        two.bus._others = None
        assert not (await two.bus.ask(ALL, 30.0)).complete


async def test_answers_never_cross_callers_in_a_storm_of_cancels(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two):
        users = [f"u{n}" for n in range(40)]
        await two.hold(*users)
        two.hub.connections = [(0, user, f"con_{user}") for user in users]

        async def ask(user: str) -> None:
            for _ in range(15):
                answers = await one.bus.ask(Question(0, user, limit=9), 60.0)
                assert [(d.user, d.id) for d in answers.found] == [(user, f"con_{user}")]

        async def cancelled(user: str) -> None:
            for turn in range(15):
                task = asyncio.create_task(one.bus.ask(Question(0, user, limit=9), 60.0))
                for _ in range(turn % 7):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(ask(user) for user in users), *(cancelled(user) for user in users))
        await eventually(lambda: not len(one.bus._asking))
        await eventually(lambda: one.bus.gauges()["bus_late_answers"] > 0)


async def test_an_answer_that_nobody_asked_for_is_dropped(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1) as (one,), client(valkey_server.url) as valkey:
        await valkey.publish(channel(1), encode(Answer(9, 12345, Reply(7))))
        await eventually(lambda: one.bus.gauges()["bus_late_answers"] == 1)


async def test_a_node_alone_needs_no_valkey() -> None:
    hub = Node("unix:///nowhere", 1).hub
    hub.connections = [(0, "ann", "con_1")]
    bus = LocalBus(hub)
    answers = await bus.ask(ALL, 1.0)
    assert (answers.total, answers.complete) == (1, True)
    assert bus.publish(0, "goals", "1:0")
    assert hub.said == [(0, "goals", "1:0")]
    assert bus.up
