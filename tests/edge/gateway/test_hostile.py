"""Does a node outlive whatever strangers send, keep nothing of it, and let nobody else notice?"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
from collections.abc import Collection, Sequence
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.edge.gateway.harness import Device, Node, running
from tests.edge.gateway.raw import CLOSE, PING, PONG, TEXT, Port, Raw, frame, head, port
from tests.io.test_tokens import Node as Believer
from tests.support import eventually
from ulak.core.connections import Question
from ulak.core.inbox import News
from ulak.core.session_commands import COMMANDS, Limits
from ulak.core.token import Claims, TokenError
from ulak.edge.gateway import Rights
from ulak.edge.gateway.listening import Listening, Membership
from ulak.edge.gateway.presence import Presence
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

USER = "an-unmistakable-user"
FIELDS = [*{field for row in COMMANDS.values() for field in row.fields}, "id", "x"]
VALUES = ["null", "true", "-1", "0", "9007199254740991", "9007199254740992", "-0.0", "1e308", '""', '"é"', '"\u2028"']
VALUES += [
    "[]",
    "{}",
    "[[]]",
    '["a"]',
    '["\\n"]',
    '{"a":{}}',
    json.dumps("x" * 65),
    json.dumps([f"t{n}" for n in range(50)]),
]
VALUES += [
    json.dumps(["dlv_" + "0" * 32]),
    json.dumps(["dlv_" + "0" * 32 + "\n"]),
    json.dumps(USER),
    '"bad"',
    '{"a":"b"}',
]
POISON = ["NaN", "1e999", "9" * 5_000, '"\\ud800"', '"\\u0000"', "[" * 7_000, "{" * 9, '"', "\\", '{"a":1,"a":2}']


class Members:
    """A table of topics that refuses what PostgreSQL would."""

    async def subscribed(self, asked: Collection[Membership]) -> set[Membership]:
        assert all("\0" not in topic and topic.encode() for _, _, topic in asked)
        return {one for one in asked if one[2] == "a"}


def rights() -> Rights:
    async def verify(text: str) -> Claims:
        await asyncio.sleep(0)
        if text == "bad":
            raise TokenError("token_invalid")
        return Claims(0, text, 1e12, 0.0, None)

    return Rights(verify, verify, lambda _claims, _device: "ticket", Listening(Members()).may)


def command(chance: random.Random) -> str:
    def value() -> str:
        return chance.choice(VALUES if chance.random() < 0.99 else POISON)

    fields = chance.sample(FIELDS, chance.randrange(4))
    op = chance.choice([*COMMANDS, "nonsense"])
    return "{" + ",".join([f'"op":"{op}"', *(f'"{name}":{value()}' for name in fields)]) + "}"


def sent(chance: random.Random) -> bytes:
    """One thing that a client says."""
    some = ",".join(command(chance) for _ in range(chance.choice([1, 3, 32, 33])))
    text = (command(chance) if chance.random() < 0.7 else f"[{some}]").encode()[:16_384]
    kind = chance.random()
    if kind < 0.75:
        return frame(TEXT, text)
    if kind < 0.85:
        cut = chance.randrange(len(text))
        return frame(TEXT, text[:cut], fin=False) + frame(PING, b"between") + frame(0, text[cut:])
    if kind < 0.92:
        return frame(chance.choice([PING, PONG]), chance.randbytes(chance.randrange(126)))
    if kind < 0.95:
        return frame(CLOSE, chance.choice([b"", b"\x03\xe8", b"\x01", b"\x00\x00", b"\x03\xed", b"\x03\xe8\xff"]))
    spoilt = bytearray(frame(TEXT, text))
    spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


async def attack(node: Port, chance: random.Random) -> None:
    raw = await Raw.shaken(node)
    with suppress(OSError, RuntimeError):  # the node may have cut it
        if chance.random() < 0.9:
            raw.say({"op": "hello", "token": USER})
        for _ in range(chance.randrange(1, 30)):
            raw.send(sent(chance))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        if chance.random() < 0.3:
            raw.writer.write_eof()
        elif chance.random() < 0.5:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await raw.reader.read()
    raw.writer.transport.abort()


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_is_said_ends_at_most_its_own_socket(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ulak")
    chance = random.Random(seed)
    async with port(rights=rights()) as node, await Raw.welcomed(node, "witness") as witness:
        for turn in range(60):
            await asyncio.gather(*(attack(node, chance) for _ in range(4)))
            if turn % 10 == 0:
                witness.say({"op": "ping", "id": turn})
                assert await witness.heard() == {"op": "pong", "id": turn}
        await eventually(lambda: node.gateway.gauges()["sockets"] == 1)
        assert [member.owner for member in node.hub.members()] == [(0, "witness")]
        assert node.hub._topics == {}
        assert sum(map(len, node.hub._wheel._slots.values())) == 1
        assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
        assert USER not in caplog.text


async def churn(node: Port, chance: random.Random) -> None:
    """One connection, gone before long in one of many ways."""
    raw = await Raw.connect(node)
    way = chance.randrange(6)
    if way == 0:
        raw.send(head()[: chance.randrange(1, 200)])
    elif way == 1:
        raw.send(head(Sec_WebSocket_Protocol="nothing"))
        await raw.ended()
    else:
        raw.send(head(User_Agent=os.urandom(8).hex()))
        await raw.reader.readuntil(b"\r\n\r\n")
    if way >= 3:
        raw.say({"op": "hello", "token": os.urandom(8).hex(), "device": "d", "meta": {"a": "b"}})
        await raw.frame()
        raw.say({"op": "subscribe", "topics": ["a"]}, {"op": "active"}, {"op": "ack", "revision": 0})
    if way == 4:
        raw.send(frame(CLOSE, b"\x03\xe8"))
        await raw.ended()
    elif way == 5:
        raw.send(frame(TEXT, b"nonsense"))
        await raw.closed()
    raw.writer.transport.abort()


async def test_of_thousands_that_came_and_went_nothing_is_left() -> None:
    chance = random.Random(1)
    async with port(rights=rights()) as node:

        async def crowd(n: int) -> int:
            for _ in range(n // 20):
                await asyncio.gather(*(churn(node, chance) for _ in range(20)))
            await eventually(lambda: node.gateway.gauges()["sockets"] == 0)
            await eventually(lambda: not node.server.server_state.connections)
            gc.collect()
            return len(gc.get_objects())

        before = await crowd(400)
        after = await crowd(2_000)
        assert len(node.hub) == 0
        assert (node.hub._members, node.hub._topics, node.hub._wheel._slots) == ({}, {}, {})
        assert after - before < 200, "objects that were left by 2,000 connections"


@pytest.mark.pg
async def test_the_same_names_in_two_tenants_never_meet(store: Pool) -> None:
    async def may(claims: Claims, topics: Sequence[str]) -> bool:
        return True

    async with running(store) as node:
        node.gateway.rights = Rights(node.gateway.rights.verify, may_subscribe=may)
        async with Device(node, "ann") as ours, Device(node, "ann", tenant=7) as theirs:
            for device in (ours, theirs):
                await device.until(lambda d: d.count == (0, 0))
                assert await device.answer({"op": "subscribe", "topics": ["room"]}) == {"op": "ok"}
            await node.add("ann", tenant=7)
            node.hub.publish(7, "room", '{"op":"message","topic":"room","data":7}')
            node.hub.broadcast(7, '{"op":"notice","data":7}')
            await theirs.until(lambda d: d.revision == 1 and d.told("message") and d.told("notice"))
            presence = Presence(node.hub, node.store)
            connection = theirs.told("welcome")[0]["connection"]
            for foreign in (Question(0, connection=connection), Question(0, "ann", connection)):
                assert presence.answer(foreign).total == 0
            assert presence.answer(Question(0, connection=connection, close=True)).total == 0
            assert presence.answer(Question(0, limit=9)).total == 1
            assert presence.answer(Question(0, "ann", close=True)).total == 1
            assert await ours.closed() == (4507, "disconnected")
            assert await theirs.answer({"op": "ping"}) == {"op": "pong"}
            assert (ours.revision, ours.told("message"), ours.told("notice")) == (0, [], [])


def confused(node: Node, chance: random.Random, top: int) -> list[News]:
    """What was truly said, doubled, early, late, lost, and with what was never true."""
    said = [news for news in node.hints for _ in range(chance.randrange(3))]
    said += [News(0, "ann", chance.choice([-1, 0, 1, top + 7, 2**62])) for _ in range(5)]
    said += [News(0, "ann", top + 1, '{"id":"x"}', 1, 1, "9-other"), News(0, "ann", top + 1, '{"id":"x"}', -1, -1)]
    said += [News(0, "ann", top + 1), News(7, "ann", 1, "{}", 1, 1), News(0, "nobody", 1, "{}", 1, 1)]
    chance.shuffle(said)
    return said


@pytest.mark.pg
@pytest.mark.parametrize("seed", range(3))
async def test_news_in_any_order_leave_every_device_with_the_inbox(seed: int, store: Pool) -> None:
    chance = random.Random(seed)
    async with running(store, limits=Limits(chunk=300)) as node, Device(node, "ann") as one, Device(node, "ann") as two:
        await one.until(lambda d: d.count == (0, 0))
        node.mute = True
        top = 0
        for _ in range(12):
            node.hints.clear()
            for _ in range(chance.randrange(1, 4)):
                top += 1
                await node.add("ann")
            for news in confused(node, chance, top):
                node.hub.hint([news])
                if chance.random() < 0.4:
                    await asyncio.sleep(0)
        await node.hub.compare()
        for device in (one, two):
            await device.reaches(top)
            await device.until(lambda d: d.count == (top, top))
            assert device.close is None
            assert len(device.shown) == len(device.holds) == top


class Runaway:
    """A client that comes again and again, by token and by ticket, and renews in between."""

    def __init__(self, node: Node, tokens: Sequence[str], chance: random.Random) -> None:
        self.node = node
        self.tokens = tokens
        self.tickets: list[str] = []
        self.chance = chance
        self.refused = 0
        self.tired = False

    async def run(self) -> None:
        while not self.tired:
            ways = [("token", each) for each in self.tokens] + [("ticket", each) for each in self.tickets[-2:]]
            await self.come(*self.chance.choice(ways))

    async def come(self, way: str, secret: str) -> None:
        device = Device(self.node, "ann")
        await device.connect(hello=False)
        try:
            await device.say({"op": "hello", way: secret}, {"op": "ping", "id": 1})
            await device.until(lambda d: d.close or d.told("welcome"))
            self.refused += device.close is not None
            self.tickets += [each["ticket"] for each in device.told("welcome")]
            if device.close is None and self.chance.random() < 0.7:
                with suppress(ConnectionClosed):
                    await device.say({"op": "refresh", "token": self.chance.choice(self.tokens), "id": 2})
                    await device.until(lambda d: d.close or d.told("ok", "error"))
        finally:
            await device.disconnect(abruptly=True)


@pytest.mark.pg
async def test_nobody_slips_through_while_a_token_is_taken_back(store: Pool) -> None:
    chance = random.Random(3)
    here, there = Believer(store).tokens, Believer(store).tokens
    rights = Rights(here.verify, here.redeem, here.ticket)
    async with running(store, rights=rights, per_user=0) as node:
        here.listen(node.hub.revoke)
        issued = [await there.issue(0, "ann", 600) for _ in range(4)]
        await here.poll()
        clients = [Runaway(node, [each.text for each in issued], chance) for _ in range(8)]
        work = [asyncio.create_task(client.run()) for client in clients]

        def slipped() -> list[Claims]:
            return [member.claims for member in node.hub.members() if here.revoked(member.claims)]

        async def watch(seconds: float) -> None:
            end = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < end:
                assert slipped() == []
                await asyncio.sleep(0)

        try:
            for taken in (issued[0].token_id, issued[1].token_id, None):
                await watch(0.3)
                await there.revoke(0, "ann", taken)
                await here.poll()
                assert slipped() == []
            assert not node.hub.members(), "all until now were taken back"
            before = sum(client.refused for client in clients)
            await watch(0.3)
            assert not node.hub.members()
            assert sum(client.refused for client in clients) > before
            assert [task for task in work if task.done()] == []
        finally:
            for client in clients:
                client.tired = True
            await asyncio.gather(*work)
