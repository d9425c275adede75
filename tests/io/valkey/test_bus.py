"""Does news reach the nodes that hold a user and no other, and is everything entered again after Valkey lost it?"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.io.valkey.conftest import BRIEF, QUICK, Node, client, nodes, standing_still
from tests.support import eventually
from ulak.core.connections import Reply
from ulak.core.inbox import News
from ulak.io.embedded.valkey import RunningValkey
from ulak.io.valkey import outgoing
from ulak.io.valkey.bus import _end
from ulak.io.valkey.link import EVERYBODY, Pace, channel
from ulak.io.valkey.wire import Answer, Said

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_news_go_to_the_nodes_that_hold_the_user_and_to_no_other(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, 3) as (one, two, three):
        await two.hold("ann")
        await three.hold("bob")
        one.bus.news([News(0, "ann", 7, '{"id":"dlv_1"}', 1, 1), News(0, "carl", 3), News(1, "ann", 9)])
        await eventually(lambda: two.hub.news)
        assert two.hub.news == [News(0, "ann", 7, '{"id":"dlv_1"}', 1, 1)]
        assert one.published == 1  # one message for one node; nobody holds carl or the other tenant's ann
        one.bus.news([News(0, "bob", 1)])
        await eventually(lambda: three.hub.news == [News(0, "bob", 1)])
        assert one.published == 2
        assert len(two.hub.news) == 1
        assert not one.hub.news


async def test_a_node_that_has_just_started_is_reached_before_its_heartbeat_is_known(
    valkey_server: RunningValkey,
) -> None:
    async with nodes(valkey_server.url, 1) as (one,), nodes(valkey_server.url, 2) as (two,):
        await two.hold("ann", topics=["goals"])
        one.bus.news([News(0, "ann", 1)])
        one.bus.publish(0, "goals", "1:0")
        await eventually(lambda: two.hub.news and two.hub.said)


async def test_what_waits_at_one_moment_is_one_message_a_node(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two):
        await two.hold(*(f"u{n}" for n in range(50)))
        for n in range(50):
            one.bus.news([News(0, f"u{n}", 1)])
        await eventually(lambda: len(two.hub.news) == 50)
        assert one.published == 1
        assert one.bus.gauges()["bus_lookups"] == 1


async def test_who_left_is_told_nothing_more(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann", "bob")
        two.bus.drop("u", 0, "ann")
        await eventually(lambda: _count(valkey, "ulak:u:0:ann", 0))
        one.bus.news([News(0, "ann", 1), News(0, "bob", 1)])
        await eventually(lambda: two.hub.news == [News(0, "bob", 1)])


async def test_a_topic_reaches_its_listeners_and_a_broadcast_everybody(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, 3) as (one, two, three):
        await two.hold(topics=["goals"])
        assert one.bus.publish(0, "goals", "1:0")
        await eventually(lambda: two.hub.said == [(0, "goals", "1:0")])
        assert one.hub.said == [(0, "goals", "1:0")]  # its own listeners are told at once
        assert three.hub.said == []
        assert one.bus.publish(5, None, "hello")
        await eventually(lambda: (5, None, "hello") in two.hub.said and (5, None, "hello") in three.hub.said)
        assert one.hub.said.count((5, None, "hello")) == 1  # not once more by the bus


async def test_a_death_is_told_at_once_and_what_was_not_said_is_said_again(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two):
        await two.hold("ann")
        os.kill(valkey_server.pid, signal.SIGKILL)
        await eventually(lambda: not one.bus.up and not two.bus.up)
        assert not one.bus.publish(0, "goals", "1:0")  # honest: nobody else hears it
        await eventually(valkey_server.step)
        await eventually(lambda: one.bus.up and two.bus.up)
        assert two.hub.ups == [True, False, True]
        one.bus.news([News(0, "ann", 9)])
        await eventually(lambda: News(0, "ann", 9) in two.hub.news)


async def test_news_wait_for_valkey_without_their_content(valkey_server: RunningValkey) -> None:
    brief, patient = nodes(valkey_server.url, 1, pace=BRIEF), nodes(valkey_server.url, 2)
    async with brief as (one,), patient as (two,):
        one.bus.nodes([1, 2])
        await two.hold("ann")
        with standing_still(valkey_server):
            one.bus.news([News(0, "ann", 8, "{}", 1, 1)])
            await eventually(lambda: not one.bus.up and one.bus._outgoing)  # it waits for the next try
        assert two.bus.up  # it has lost nothing, and so it would not compare
        await eventually(lambda: two.hub.news)
        assert [(news.user, news.revision, news.item) for news in two.hub.news] == [("ann", 8, None)]


async def test_after_a_flush_everything_is_entered_again_and_the_hub_compares(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann", topics=["goals"])
        assert two.hub.ups == [True]
        await valkey.flushall()
        # The hub is told only when the places are back: what was said before is found by its comparison.
        await eventually(lambda: two.hub.ups == [True, True])
        assert await valkey.hkeys("ulak:u:0:ann") == [b"2"]
        assert await valkey.hkeys("ulak:t:0:goals") == [b"2"]
        assert two.bus.up
        one.bus.news([News(0, "ann", 4)])
        one.bus.publish(0, "goals", "2:0")
        await eventually(lambda: two.hub.news == [News(0, "ann", 4)] and two.hub.said == [(0, "goals", "2:0")])


async def test_a_bus_that_stands_still_is_not_up(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2, pace=BRIEF) as (one, two):
        with standing_still(valkey_server):
            await eventually(lambda: not one.bus.up and not two.bus.up)
        await eventually(lambda: one.bus.up and two.bus.up)


async def test_a_valkey_that_takes_nothing_is_not_up_and_the_log_says_why(
    valkey_server: RunningValkey, caplog: pytest.LogCaptureFixture
) -> None:
    family = nodes(valkey_server.url, 1, 2, pace=BRIEF)
    async with family as (one, two), client(valkey_server.url) as valkey:
        await valkey.config_set("maxmemory-policy", "noeviction")
        await valkey.config_set("maxmemory", 1)
        await eventually(lambda: not one.bus.up and not two.bus.up)
        assert "OutOfMemoryError" in caplog.text
        await valkey.config_set("maxmemory", 0)
        await eventually(lambda: one.bus.up and two.bus.up)


async def test_entries_of_a_dead_node_do_not_count_and_go_away(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann", "bob")
        dead = Node(valkey_server.url, 3, BRIEF)
        dead.bus.nodes([1, 2, 3])
        dead.bus.start()
        await eventually(lambda: dead.bus.up)
        await dead.hold("ann")
        await _end(dead.bus._tasks)  # it dies without a word
        assert await _count(valkey, "ulak:u:0:ann", 2)
        await eventually(lambda: _gone(valkey, "ulak:lease:3"))
        before = one.published
        one.bus.news([News(0, "ann", 1)])
        await eventually(lambda: two.hub.news == [News(0, "ann", 1)])
        assert one.published == before + 1
        assert await valkey.hkeys("ulak:u:0:ann") == [b"2"]


async def test_a_node_that_stood_still_beyond_its_lease_enters_its_places_again(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann")
        await valkey.delete("ulak:lease:2")
        await valkey.hdel("ulak:u:0:ann", "2")  # somebody looked ann up meanwhile
        await eventually(lambda: _count(valkey, "ulak:u:0:ann", 1))
        one.bus.news([News(0, "ann", 1)])
        await eventually(lambda: two.hub.news == [News(0, "ann", 1)])


async def test_entries_are_renewed_on_the_walk(valkey_server: RunningValkey) -> None:
    pace = Pace(beat=0.02, deaf=10.0, pause=0.05, lease=20, entry=100, walk=0.1)
    async with nodes(valkey_server.url, 1, pace=pace) as (one,), client(valkey_server.url) as valkey:
        await one.hold(*(f"u{n}" for n in range(20)))
        for n in range(20):
            await valkey.delete(f"ulak:u:0:u{n}")  # evicted
        await eventually(lambda: _all_there(valkey, 20))
        assert 0 < await valkey.ttl("ulak:u:0:u7") <= 100


async def test_a_node_that_stops_takes_its_lease_along(valkey_server: RunningValkey) -> None:
    async with client(valkey_server.url) as valkey:
        patient = replace(QUICK, pause=5.0)  # a stop waits no longer for Valkey
        async with nodes(valkey_server.url, 1, pace=patient):
            assert await valkey.get("ulak:lease:1") == b"1"
        assert await valkey.get("ulak:lease:1") is None


async def test_what_a_newer_release_says_is_counted_and_harms_nothing(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann")
        for message in (
            b"",
            b"\x02\x91\x00",
            b"\x01",
            b"\x01\x92\x63\x01",
            b"\x01\x93\x01\x01\xc0",
            b"\x01" + b"\x91" * 5000,
        ):
            await valkey.publish(channel(2), message)
            await valkey.publish(EVERYBODY, message)
        await eventually(lambda: two.bus.gauges()["bus_ignored"] == 12)
        await eventually(lambda: one.bus.gauges()["bus_ignored"] == 6)
        one.bus.news([News(0, "ann", 1)])
        await eventually(lambda: two.hub.news == [News(0, "ann", 1)])


async def test_what_can_not_be_taken_in_stops_nothing(
    valkey_server: RunningValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two):
        await two.hold("ann")
        hint, failed = two.hub.hint, asyncio.Event()

        def fails(news: Sequence[News]) -> None:
            monkeypatch.setattr(two.hub, "hint", hint)
            failed.set()
            raise ValueError("not as expected")

        monkeypatch.setattr(two.hub, "hint", fails)
        one.bus.news([News(0, "ann", 1)])
        await asyncio.wait_for(failed.wait(), 30.0)
        one.bus.news([News(0, "ann", 2)])
        await eventually(lambda: two.hub.news == [News(0, "ann", 2)])


async def test_entries_of_a_wrong_shape_stand_in_nobodys_way(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        await two.hold("ann")
        await valkey.set("ulak:u:0:bob", "forged")
        await valkey.set("ulak:lease:x", "1")
        await valkey.lpush("ulak:lease:77", "forged")
        await valkey.hset("ulak:u:0:ann", mapping={"x": "", "77": "", "-1": ""})
        one.bus.news([News(0, "bob", 1), News(0, "ann", 1)])
        await eventually(lambda: two.hub.news == [News(0, "ann", 1)])
        assert await valkey.hkeys("ulak:u:0:ann") == [b"2"]
        await two.hold("bob")
        one.bus.news([News(0, "bob", 2)])
        await eventually(lambda: two.hub.news[1:] == [News(0, "bob", 2)])
        assert one.bus.up
        assert two.bus.up


async def test_many_places_are_entered_in_bounded_commands(valkey_server: RunningValkey) -> None:
    async with nodes(valkey_server.url, 1, 2) as (one, two), client(valkey_server.url) as valkey:
        for n in range(2_500):
            two.bus.hold("u", 0, f"u{n}")
        await eventually(lambda: len(two.hub.places) == 2_500)
        await valkey.flushall()
        await eventually(lambda: two.hub.ups == [True, True])
        one.bus.news([News(0, f"u{n}", 1) for n in range(2_500)])
        await eventually(lambda: len(two.hub.news) == 2_500)


async def test_places_that_come_and_go_while_valkey_is_away_are_right_afterwards(
    valkey_server: RunningValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulak.io.valkey.directory._MOST_CHANGES", 10)
    family = nodes(valkey_server.url, 1, 2, pace=BRIEF)
    async with family as (one, two), client(valkey_server.url) as valkey:
        await two.hold("old")
        with standing_still(valkey_server):
            await eventually(lambda: not two.bus.up)
            two.bus.drop("u", 0, "old")
            for n in range(25):
                two.bus.hold("u", 0, f"u{n}")
        await eventually(lambda: one.bus.up and two.bus.up)
        await eventually(lambda: _all_there(valkey, 25))
        one.bus.news([News(0, "u24", 1)])
        await eventually(lambda: two.hub.news == [News(0, "u24", 1)])


async def test_a_stop_lets_a_machine_that_stood_still_clean_up_and_ends_who_forgets_a_cancel() -> None:
    cleaned: list[bool] = []

    async def cleans() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            time.sleep(0.3)  # noqa: ASYNC251 - the whole loop stands still
            for _ in range(5):
                await asyncio.sleep(0)
            cleaned.append(True)

    async def forgets() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(cleans()), asyncio.create_task(forgets())]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await _end(tasks)
    assert cleaned


def test_the_queue_is_bounded_in_number_and_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "MOST_NEWS", 10)
    monkeypatch.setattr(outgoing, "MOST_WEIGHT", 100)
    queue = outgoing.Outgoing()
    queue.news([News(0, "u", n, "x" * 40, 1, 1) for n in range(12)])
    parcel = queue.take()
    assert [news.item is not None for news in parcel.news] == [True, True] + [False] * 8
    assert queue.dropped_news == 2
    queue.news([News(0, "u", 13, "x" * 9_000, 1, 1)])
    queue.failed(parcel)
    again = queue.take()
    assert [news.revision for news in again.news] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert all(news.item is None for news in again.news)
    assert not queue


def test_a_campaign_goes_in_parts_and_keeps_no_question_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "AT_ONCE", 10)
    monkeypatch.setattr(outgoing, "MOST_WEIGHT", 250)
    queue = outgoing.Outgoing()
    queue.news([News(0, "u", n, "x" * 10, 1, 1) for n in range(25)])
    assert not queue.said(Said(0, None, "y"))  # there is no room
    queue.answer(3, Answer(1, 1, Reply()))
    first = queue.take()
    assert ([news.revision for news in first.news], len(first.answers)) == (list(range(10)), 1)
    assert queue.said(Said(0, None, "y"))
    assert [len(queue.take().news) for _ in range(2)] == [10, 5]
    assert not queue
    queue.news([News(0, "u", 1, "x" * 250, 1, 1)])  # all the room is there again
    assert queue.take().news[0].item is not None


def test_quick_is_quick() -> None:
    for pace in (QUICK, BRIEF):
        assert pace.beat < pace.deaf < pace.lease


async def _count(valkey: object, key: str, count: int) -> bool:
    return bool(await valkey.hlen(key) == count)  # type: ignore[attr-defined]


async def _gone(valkey: object, key: str) -> bool:
    return not await valkey.exists(key)  # type: ignore[attr-defined]


async def _all_there(valkey: object, count: int) -> bool:
    found = [await valkey.exists(f"ulak:u:0:u{n}") for n in range(count)]  # type: ignore[attr-defined]
    return all(found)


async def test_a_stop_ends_who_forgets_every_cancel_at_his_beat(
    valkey_server: RunningValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the client does when an answer comes together with the cancel; the next one may meet the next beat."""
    async with nodes(valkey_server.url, 1) as (one,):
        forgotten = 0

        async def renew(_: object) -> None:
            nonlocal forgotten
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                forgotten += 1

        monkeypatch.setattr(one.bus, "_renew", renew)
        await asyncio.sleep(one.bus._pace.beat)  # until the keeper is at its next beat
        async with asyncio.timeout(30):
            await one.bus.stop()
        assert forgotten <= 1
