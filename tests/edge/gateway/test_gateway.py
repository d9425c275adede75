"""Does a real client over a real socket and a real database get what the protocol promises?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.edge.gateway.harness import KEY, Device, Node, dlv, running
from tests.support import eventually
from ulak.core import token
from ulak.core.session_commands import Limits
from ulak.edge.gateway import Room
from ulak.edge.gateway.connection import Connection
from ulak.edge.gateway.model import Member
from ulak.edge.gateway.socket import Socket
from ulak.io.postgres.inbox import InboxStore
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


async def test_what_was_there_and_what_comes(database: Pool) -> None:
    async with running(database) as node:
        (first,) = await node.add("ann")
        async with Device(node, "ann") as ann, Device(node, "bob") as bob:
            await ann.reaches(1)
            (second,) = await node.add("ann")
            await ann.reaches(2)
            assert ann.shown == [dlv(first), dlv(second)]
            assert ann.holds[dlv(second)]["title"] == "item 2"
            await ann.until(lambda d: d.count == (2, 2))
            await bob.until(lambda d: d.count == (0, 0))
            assert bob.holds == {}
            welcome = ann.told("welcome")[0]
            assert (welcome["user"], welcome["revision"], welcome["full"]) == ("ann", 1, True)


async def test_tenants_do_not_see_each_other(database: Pool) -> None:
    async with running(database) as node:
        await node.add("ann", tenant=7)
        async with Device(node, "ann") as ours, Device(node, "ann", tenant=7) as theirs:
            await theirs.reaches(1)
            await ours.until(lambda d: d.count == (0, 0))
            assert ours.holds == {}
            assert (await ours.answer({"op": "read", "ids": theirs.shown}))["op"] == "ok"
            assert (await node.store.page(7, "ann", 0, 9)).unread == 1


async def test_what_one_device_does_the_others_learn(database: Pool) -> None:
    async with running(database) as node:
        (item,) = await node.add("ann", watched=True)
        async with Device(node, "ann") as phone, Device(node, "ann") as laptop:
            await phone.reaches(1)
            await laptop.reaches(1)
            assert await phone.answer({"op": "seen", "ids": [dlv(item)]}) == {"op": "ok"}
            await laptop.until(lambda d: d.count == (1, 0))
            (changed,) = laptop.told("changed")
            assert changed["items"][0]["seen_at"]
            assert "title" not in changed["items"][0]
            assert await laptop.answer({"op": "read", "up_to": 1}) == {"op": "ok"}
            await phone.until(lambda d: d.count == (0, 0))
            assert phone.holds[dlv(item)]["read_at"]
            assert await phone.answer({"op": "archive", "ids": [dlv(item)]}) == {"op": "ok"}
            await laptop.until(lambda d: d.holds[dlv(item)]["archived_at"])
        assert await database.fetchval("SELECT mask FROM markers") == 7


async def test_a_resume_tells_what_was_missed_and_nothing_twice(database: Pool) -> None:
    async with running(database) as node:
        first, second = await node.add("ann", 2)
        ann = Device(node, "ann")
        await ann.connect()
        await ann.reaches(2)
        await ann.disconnect(abruptly=True)
        async with Device(node, "ann") as other:
            await other.reaches(2)
            await other.answer({"op": "read", "ids": [dlv(first)]})
        (third,) = await node.add("ann")
        ann.frames.clear()
        await ann.connect()
        await ann.reaches(4)
        assert ann.told("welcome")[0]["full"] is False
        told = [item["id"] for frame in ann.told("items") for item in frame["items"]]
        assert told == [dlv(first), dlv(third)]
        assert ann.shown == [dlv(first), dlv(second), dlv(third)]
        await ann.disconnect()


async def test_an_ack_delivers(database: Pool) -> None:
    async with running(database) as node:
        await node.add("ann", 2, watched=True)
        async with Device(node, "ann") as ann:
            await ann.reaches(2)
            assert await ann.answer({"op": "ack", "revision": 1}) == {"op": "ok"}
            assert await database.fetchval("SELECT count(*) FROM markers") == 0, "nobody looked"
            await ann.say({"op": "active"})
            assert await ann.answer({"op": "ack", "revision": 2}) == {"op": "ok"}
            assert await ann.answer({"op": "ack", "revision": 3}) == {"op": "error", "code": "not_sent"}
        rows = await database.fetch(
            """SELECT d.state, m.mask FROM inbox_items i JOIN deliveries d ON d.id = i.id
               LEFT JOIN markers m ON m.notification = i.notification ORDER BY i.born"""
        )
        assert [tuple(row.values()) for row in rows] == [("delivered", None), ("delivered", 1)]


async def test_a_lost_hint_is_found_by_the_truth_check(database: Pool) -> None:
    async with running(database) as node, Device(node, "ann") as ann:
        await ann.until(lambda d: d.count == (0, 0))
        node.mute = True
        await node.add("ann", 3)
        assert await ann.answer({"op": "ping"}) == {"op": "pong"}
        assert ann.revision == 0
        await node.hub.compare()
        await ann.reaches(3)


async def test_an_epoch_that_changes_sends_clients_back_to_a_full_sync(database: Pool) -> None:
    async with running(database) as node:
        await node.add("ann", 3)
        ann = Device(node, "ann")
        await ann.connect()
        await ann.reaches(3)
        await database.execute("UPDATE installation SET epoch = epoch + 1")
        await database.execute("UPDATE inboxes SET revision = 1")
        await database.execute("DELETE FROM inbox_items WHERE revision > 1")
        await node.hub.compare()
        assert (await ann.closed())[0] == 4002
        await ann.connect()
        await ann.until(lambda d: len(d.told("count")) == 2)
        assert ann.told("welcome")[-1]["full"] is True
        assert (ann.revision, len(ann.holds)) == (1, 1)
        await ann.disconnect()


# ---------------------------------------------------------------------------------------- the handshake


async def test_the_handshake_wants_the_subprotocol_and_an_allowed_origin(database: Pool) -> None:
    async with running(database, origins=frozenset({"https://good.example"})) as node:
        for origin in ("https://evil.example", "null", "https://good.example.evil.example", "https://sub.good.example"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(node.url, origin=origin, subprotocols=["ulak.v1"])  # type: ignore[arg-type,list-item]
            assert refused.value.response.status_code == 403
        with pytest.raises(InvalidStatus) as refused:
            await connect(node.url)
        assert refused.value.response.status_code == 400
        assert json.loads(refused.value.response.body or b"")["code"] == "subprotocol_missing"
        async with connect(node.url, origin="https://good.example", subprotocols=["ulak.v1"]):  # type: ignore[arg-type,list-item]
            pass
        assert await eventually(lambda: node.gateway.connections == 0)


async def test_no_more_sockets_than_there_is_room_for(database: Pool) -> None:
    async with running(database, room=Room(sockets=1)) as node, Device(node, "ann"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(node.url, subprotocols=["ulak.v1"])  # type: ignore[list-item]
        assert refused.value.response.status_code == 503
        assert 5 < int(refused.value.response.headers["retry-after"]) <= 11


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"op": "hello", "token": "nonsense"}, 4500),
        ({"op": "hello", "token": token.mint(KEY, "ann", 60, 1_000_000_000)}, 4006),
        ({"op": "ping"}, 4502),
        ("[", 4501),
        (b"binary", 4501),
        ('"' + "x" * 20_000 + '"', 4504),
    ],
)
async def test_a_bad_beginning_closes_with_its_code(hello: Any, code: int, database: Pool) -> None:
    async with running(database) as node:
        ann = Device(node, "ann")
        await ann.connect(hello=False)
        assert ann.socket is not None
        await ann.socket.send(json.dumps(hello) if isinstance(hello, dict) else hello)
        assert (await ann.closed())[0] == code
        assert await eventually(lambda: node.gateway.connections == 0)
        assert len(node.hub) == 0


async def test_silence_and_the_end_of_a_token_close_in_time(database: Pool) -> None:
    async with running(database) as node:
        silent = Device(node, "ann")
        await silent.connect(hello=False)
        brief, renewed = Device(node, "ann", ttl=60), Device(node, "ann", ttl=60)
        await brief.connect()
        await renewed.connect()
        await brief.until(lambda d: d.epoch)
        await renewed.until(lambda d: d.epoch)
        stranger = token.mint(KEY, "bob", 600, node.clock.unix())
        assert await renewed.answer({"op": "refresh", "token": stranger}) == {"op": "error", "code": "bad_token"}
        assert await renewed.answer({"op": "refresh", "token": "x"}) == {"op": "error", "code": "bad_token"}
        fresh = token.mint(KEY, "ann", 600, node.clock.unix())
        assert (await renewed.answer({"op": "refresh", "token": fresh}))["op"] == "ok"
        node.clock.ahead = 5.0
        assert (await silent.closed())[0] == 4004
        node.clock.ahead = 61.0
        assert (await brief.closed())[0] == 4006
        assert await renewed.answer({"op": "ping"}) == {"op": "pong"}
        await renewed.disconnect()


# ------------------------------------------------------------------------------------------ bad weather


class Failing(InboxStore):
    """A store whose database goes away and comes back."""

    away = False
    refused = 0

    async def pages(self, *args: Any) -> Any:
        if self.away:
            self.refused += 1
            raise ConnectionRefusedError
        return await super().pages(*args)

    async def acked(self, *args: Any) -> Any:
        if self.away:
            self.refused += 1
            raise ConnectionRefusedError
        return await super().acked(*args)

    async def change(self, *args: Any) -> Any:
        if self.away:
            raise ConnectionRefusedError
        return await super().change(*args)


async def test_while_the_database_is_away_sockets_live_and_afterwards_nothing_is_missing(database: Pool) -> None:
    store = Failing(database)
    async with running(database, store=store) as node:
        (item,) = await node.add("ann")
        async with Device(node, "ann") as ann:
            await ann.reaches(1)
            store.away = True
            assert await ann.answer({"op": "seen", "ids": [dlv(item)]}) == {"op": "error", "code": "unavailable"}
            await ann.say({"op": "ack", "revision": 1, "id": 99})
            await node.add("ann", 2)
            async with Device(node, "bob") as bob:
                await eventually(lambda: store.refused >= 6, what="both reads and the ack were tried again")
                assert ann.revision == 1
                assert bob.frames == []
                store.away = False
                await ann.reaches(3)
                await bob.until(lambda d: d.told("welcome"))
            await ann.until(lambda d: {"op": "ok", "id": 99} in d.frames)
        assert await database.fetchval("SELECT count(*) FROM receipts") == 1


def is_at(member: Member, revision: int) -> bool:
    return member.session.sent == revision


async def test_a_reader_that_is_slow_gets_everything_in_the_end(database: Pool) -> None:
    async with running(database) as node:
        ann = Device(node, "ann")
        await ann.connect()
        await ann.until(lambda d: d.count)
        assert ann.socket is not None
        ann.socket.transport.pause_reading()
        total = 0
        (member,) = node.hub.members()
        while member.session.sent == total and total < 20_000:  # until the buffers on the way are full
            await node.add("ann", 50, body="x" * 4_000)
            total += 50
            with contextlib.suppress(AssertionError):
                await eventually(partial(is_at, member, total), within=1.0, what="it was all sent")
        assert member.session.sent < total, "it was never held"
        await node.add("ann", 50)
        assert isinstance(member, Connection)
        assert member.transport.get_write_buffer_size() <= 131_072
        ann.socket.transport.resume_reading()
        await ann.reaches(total + 50)
        assert len(ann.holds) == total + 50
        await ann.disconnect()


async def test_a_reader_that_never_reads_is_let_go(database: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(database, limits=Limits(slow_seconds=30.0)) as node:
        ann = Device(node, "ann")
        await ann.connect()
        await ann.until(lambda d: d.count)
        assert ann.socket is not None
        ann.socket.transport.pause_reading()
        (member,) = node.hub.members()
        monkeypatch.setattr(Socket, "close_seconds", 0.1)
        for _ in range(200):
            await node.add("ann", 50, body="x" * 4_000)
            if member.session.held:
                break
        node.clock.ahead = 31.0
        assert await eventually(lambda: node.gateway.connections == 0)
        ann.socket.transport.abort()
        await ann.closed()


async def test_a_drain_sends_everybody_away_with_a_time_to_come_back(database: Pool) -> None:
    async with running(database) as node:
        devices = [Device(node, f"user{n}") for n in range(10)]
        for device in devices:
            await device.connect()
        silent = Device(node, "ann")
        await silent.connect(hello=False)
        for device in devices:
            await device.until(lambda d: d.count)
        await node.gateway.drain(1.0)
        waits = []
        for device in [*devices, silent]:
            assert (await device.closed())[0] == 4000
            waits.append(device.told("drain")[0]["retry_after"])
        assert len(set(waits)) == len(waits)
        assert all(0 <= wait <= 10 for wait in waits)
        with pytest.raises(InvalidStatus) as refused:
            await connect(node.url, subprotocols=["ulak.v1"])  # type: ignore[list-item]
        assert refused.value.response.status_code == 503


# ------------------------------------------------------------------------------------- everything at once


async def live(node: Node, device: Device, chance: random.Random, added: list[str]) -> None:
    """A device that acks, marks, drops and comes back."""
    await device.connect()
    for _ in range(15):
        await asyncio.sleep(chance.random() * 0.02)
        what = chance.choice(["ack", "seen", "read", "archive", "up_to", "drop", "vanish", "add", "add"])
        if what == "add":
            added += [dlv(item) for item in await node.add(device.user, chance.randrange(1, 4))]
        elif what in ("drop", "vanish"):
            await device.disconnect(abruptly=what == "vanish")
            await device.connect()
        elif what == "ack":
            await device.say({"op": "ack", "revision": device.revision})
        elif what == "up_to":
            await device.say({"op": "seen", "up_to": device.revision})
        elif device.holds:
            await device.say({"op": what, "ids": chance.sample(sorted(device.holds), min(3, len(device.holds)))})


@pytest.mark.parametrize("seed", [1, 2])
async def test_devices_that_come_and_go_end_with_what_the_inbox_holds(seed: int, database: Pool) -> None:
    async with running(database) as node:
        users = ["ann", "bob"]
        added: dict[str, list[str]] = {user: [] for user in users}
        devices = [Device(node, user) for user in users for _ in range(3)]
        await asyncio.gather(
            *(live(node, d, random.Random(seed * 50 + n), added[d.user]) for n, d in enumerate(devices))
        )
        for device in devices:
            await eventually(partial(agrees, node, device), what=f"{device.user} agrees with the inbox")
            assert sorted(device.holds) == sorted(added[device.user])
            assert {frame["code"] for frame in device.told("error")} <= {"not_ready"}
            await device.disconnect()


async def agrees(node: Node, device: Device) -> bool:
    page = await node.store.page(0, device.user, 0, 1_000)
    held = {key: (v["revision"], bool(v["seen_at"]), bool(v["read_at"])) for key, v in device.holds.items()}
    true = {dlv(i.id): (i.revision, bool(i.seen_at), bool(i.read_at)) for i in page.items}
    return held == true and device.count == (page.unread, page.unseen)
