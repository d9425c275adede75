"""Does a listener note every frame, ack, act by habit, and come back where it left off?"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from tests.support import eventually
from ulak.cli.client import Client
from ulak.cli.demonstration import sockets
from ulak.cli.demonstration.people import Habit, Person
from ulak.cli.demonstration.sockets import Listener, Turned

pytestmark = pytest.mark.anyio


class Gateway:
    """A gateway that says what a test wants it to say and remembers what it heard."""

    def __init__(self) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.heard: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.revision = 0
        self.refuse: int | None = None
        self.early = False
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("ulak.v1",))
        await socket.prepare(request)
        hello = json.loads((await socket.receive()).data)
        self.hellos.append(hello)
        if self.refuse:
            await socket.close(code=self.refuse)
            return socket
        self.sockets.append(socket)
        if not self.open.is_set():
            hearing, opening = asyncio.create_task(socket.receive()), asyncio.create_task(self.open.wait())
            await asyncio.wait({hearing, opening}, return_when=asyncio.FIRST_COMPLETED)
            self.early = hearing.done()
            hearing.cancel()
        since = hello.get("since")
        welcome = {"op": "welcome", "revision": self.revision, "epoch": "e1", "full": since is None}
        await socket.send_json(welcome)
        if (since or 0) < self.revision:
            await self.say(since or 0, self.revision)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.heard += json.loads(message.data)
        return socket

    async def say(self, prev: int, revision: int, op: str = "items") -> None:
        """Tell one item for each revision in between, in one frame."""
        items = [{"id": f"dlv_{n}", "revision": n, "notification": f"ntf_{n}"} for n in range(prev + 1, revision + 1)]
        self.revision = revision
        frame = {"op": op, "items": items, "prev": prev, "revision": revision, "more": False}
        await self.sockets[-1].send_json([frame, {"op": "count", "unread": 1}])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway on loopback."""
    gateway = Gateway()
    app = web.Application()
    app.router.add_get("/v1/socket", gateway.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield gateway
    await runner.cleanup()


def listener(client: Client, habit: Habit, landed: list[str]) -> Listener:
    person = Person("ada", None, "en", habit)
    return Listener(person, client, "token", random.Random(1), lambda number, _at: landed.append(number))


async def test_it_notes_acks_and_acts_and_resumes_from_its_revision(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PACE", 0.01)
    landed: list[str] = []
    async with Client(gateway.url, "key") as client:
        ada = listener(client, Habit.READS, landed)
        running = asyncio.create_task(ada.run())
        await ada.caught_up()
        await gateway.say(0, 2)
        await eventually(lambda: {"op": "read", "ids": ["dlv_1", "dlv_2"]} in gateway.heard)
        await eventually(lambda: {"op": "ack", "revision": 2} in gateway.heard)
        await gateway.say(2, 4, "changed")
        await eventually(lambda: len(ada.log.frames) == 2)
        gateway.revision = 6
        await ada.again()
        await ada.caught_up()
        running.cancel()
    assert gateway.hellos == [
        {"op": "hello", "token": "token"},
        {"op": "hello", "token": "token", "since": 4, "epoch": "e1"},
    ]
    assert [(frame.connection, frame.prev, frame.revision, frame.live, frame.fresh) for frame in ada.log.frames] == [
        (1, 0, 2, True, True),
        (1, 2, 4, True, False),
        (2, 4, 6, False, False),
    ]
    assert landed == ["ntf_1", "ntf_2"]  # neither a change nor what a resume brought
    assert ada.log.acted == {"dlv_1": "read", "dlv_2": "read"}


async def test_it_comes_back_after_a_broken_connection(gateway: Gateway) -> None:
    async with Client(gateway.url, "key") as client:
        ada = listener(client, Habit.ACKS, [])
        running = asyncio.create_task(ada.run())
        await ada.caught_up()
        await gateway.sockets[0].close(code=4000)
        await eventually(lambda: len(gateway.hellos) == 2)
        running.cancel()


async def test_it_says_nothing_before_it_is_welcome(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PACE", 0.2)  # the connection breaks before ada can say what she has seen
    async with Client(gateway.url, "key") as client:
        ada = listener(client, Habit.SEES, [])
        running = asyncio.create_task(ada.run())
        await ada.caught_up()
        gateway.open.clear()
        await gateway.say(0, 1)
        await eventually(lambda: len(ada.log.frames) == 1)
        await gateway.sockets[0].close(code=4000)
        await eventually(lambda: len(gateway.hellos) == 2)
        await asyncio.sleep(0.5)  # two and a half turns in which it could speak
        gateway.open.set()
        await eventually(lambda: {"op": "seen", "ids": ["dlv_1"]} in gateway.heard)
        assert not gateway.early
        running.cancel()


async def test_it_stays_away_when_it_is_told_to(gateway: Gateway) -> None:
    gateway.refuse = 4500
    async with Client(gateway.url, "key") as client:
        with pytest.raises(Turned, match="ada was closed with 4500"):
            await listener(client, Habit.ACKS, []).run()


async def test_a_refused_command_is_a_complaint(gateway: Gateway) -> None:
    async with Client(gateway.url, "key") as client:
        ada = listener(client, Habit.ACKS, [])
        running = asyncio.create_task(ada.run())
        await ada.caught_up()
        await gateway.sockets[0].send_json({"op": "error", "code": "not_sent"})
        await eventually(lambda: ada.log.complaints)
        running.cancel()
    assert "not_sent" in ada.log.complaints[0]
