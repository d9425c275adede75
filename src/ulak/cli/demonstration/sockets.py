"""What do the users with an open socket see, and what do they do?

One listener a user: it says hello with the last revision that it has, acks what comes, sees and reads
by habit, and comes back by itself whenever the connection breaks. It writes down every frame; whether
the revisions add up is judged later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ulak.cli.client import Client, Unreachable
from ulak.cli.demonstration.evidence import Frame, SocketLog
from ulak.cli.demonstration.people import Habit, Person

TERMINAL = range(4500, 5000)
"""Close codes after which a client must not come back."""

PACE = 0.25
"""Seconds between two batches of commands: a gateway takes 20 commands a second from one client."""

MOST_IDS = 100
"""Ids that one command may name."""


class Turned(Exception):
    """The gateway told a listener never to come back."""


@dataclass(slots=True)
class Listener:
    """One user's socket over all its connections.

    ``landed`` is told of each new live item: its notification and when it came (monotonic seconds).
    """

    person: Person
    client: Client
    token: str
    dice: random.Random
    landed: Callable[[str, float], None]
    log: SocketLog = field(init=False)
    _since: int | None = None
    _epoch: str | None = None
    _connection: int = 0
    _after: int = 0
    _target: int = 0
    _fresh: bool = False
    _welcomed: bool = False
    _met: set[str] = field(default_factory=set)
    _to_do: dict[str, list[str]] = field(default_factory=lambda: {"seen": [], "read": []})
    _acked: int = 0
    _caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    _socket: aiohttp.ClientWebSocketResponse | None = None

    def __post_init__(self) -> None:
        self.log = SocketLog(self.person.id)

    async def run(self) -> None:
        """Listen until cancelled; raises ``Turned`` when the gateway will not have us."""
        pause = 0.05
        while True:
            self._caught_up.clear()
            try:
                socket = await self.client.socket()
            except Unreachable:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
                continue
            pause = 0.05
            self._socket = socket
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await self._converse(socket)
            await socket.close()
            if socket.close_code in TERMINAL:
                raise Turned(f"the socket of {self.person.id} was closed with {socket.close_code}")

    async def caught_up(self) -> None:
        """Wait until the present connection has all that there was when it began."""
        await self._caught_up.wait()

    async def again(self) -> None:
        """Drop the connection, so that the next one has to resume."""
        self._after = self._connection
        self._caught_up.clear()
        if self._socket is not None:
            await self._socket.close()

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._connection += 1
        self._acked, self._welcomed = 0, False
        hello: dict[str, Any] = {"op": "hello", "token": self.token}
        if self._since is not None:
            hello |= {"since": self._since, "epoch": self._epoch}
        await socket.send_str(json.dumps(hello))
        talking = asyncio.create_task(self._talk(socket))
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    at = time.monotonic()
                    said = json.loads(message.data)
                    for frame in said if isinstance(said, list) else [said]:
                        self._take(frame, at)
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Ack what has come, and do what the user does, in batches."""
        while True:
            await asyncio.sleep(PACE)
            if self._welcomed and (said := list(self._commands())):
                await socket.send_str(json.dumps(said))

    def _commands(self) -> Iterator[dict[str, Any]]:
        if self._caught_up.is_set() and self._since is not None and self._since > self._acked:
            self._acked = self._since
            yield {"op": "ack", "revision": self._since}
        for op, ids in self._to_do.items():
            if ids:
                yield {"op": op, "ids": ids[:MOST_IDS]}
                self.log.acted |= dict.fromkeys(ids[:MOST_IDS], op)
                del ids[:MOST_IDS]

    def _take(self, frame: Mapping[str, Any], at: float) -> None:
        """Note one frame."""
        match frame.get("op"):
            case "welcome":
                self._welcomed, self._fresh = True, bool(frame["full"])
                if self._fresh:
                    self._since = 0
                self._epoch, self._target = frame["epoch"], int(frame["revision"])
                self._look()
            case "items" | "changed":
                self._items(frame, at)
            case "error":
                self.log.complaints.append(f"a command was answered with the error {frame.get('code')}")
            case _:
                pass  # count, pong, notice, drain, ok: nothing to hold against anybody

    def _items(self, frame: Mapping[str, Any], at: float) -> None:
        live, items = self._caught_up.is_set(), frame["items"]
        self.log.frames.append(
            Frame(
                connection=self._connection,
                prev=int(frame["prev"]),
                revision=int(frame["revision"]),
                items=tuple((item["id"], int(item["revision"])) for item in items),
                live=live,
                fresh=self._fresh,
            )
        )
        self._fresh = False
        self._since = int(frame["revision"])
        for item in items:
            if item["id"] in self._met or frame["op"] == "changed":
                continue
            self._met.add(item["id"])
            if live:
                self.landed(item["notification"], at)
            act = _act(self.person.habit, self.dice)
            if act:
                self._to_do[act].append(item["id"])
        self._look()

    def _look(self) -> None:
        if self._connection > self._after and (self._since or 0) >= self._target:
            self._caught_up.set()


def _act(habit: Habit, dice: random.Random) -> str | None:
    """What a user of this habit does with an item: sees it, reads it, or nothing."""
    if habit is Habit.SEES:
        return "seen"
    if habit is Habit.READS:
        return "read"
    return dice.choice((None, "seen", "read")) if habit is Habit.MIXED else None
