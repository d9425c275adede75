"""How do thousands of users with an open socket behave, in one process: resume, acknowledge, come back with jitter?

Each guest is what the browser client is to a user: it says hello with its ticket (else its token), its revision and
its epoch, acknowledges what came, honours ``drain`` and close codes, and comes back after a random delay that grows
(full jitter). It writes down every frame; ``storm_judge`` says whether they add up.

A small WebSocket client of its own: libraries take ten times the memory and CPU, which 10,000 guests of one machine
can't spare.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ulak.cli.demonstration.evidence import Frame, SocketLog

FIRST, LONGEST = 0.5, 30.0
"""Seconds: the bounds of the random delay before coming back."""

ACK_EVERY, ACK_ITEMS = 1.0, 20
TERMINAL = 4500

_decode = msgspec.json.Decoder().decode


class Guest:
    """One user and his one socket, over all its connections."""

    __slots__ = (
        "_acked", "_attempt", "_fleet", "_fresh", "_live", "_target", "address", "closes", "connection", "epoch",
        "items", "log", "node", "since", "ticket", "token", "unread", "up_at", "user", "wire",
    )  # fmt: skip

    def __init__(self, fleet: Fleet, user: str, token: str, address: str) -> None:
        self._fleet = fleet
        self.user, self.token, self.address = user, token, address
        self.log = SocketLog(user)
        self.items: dict[str, str] = {}
        self.closes: list[int] = []
        self.wire: Wire | None = None
        self.node = ""
        self.ticket: str | None = None
        self.since: int | None = None
        self.epoch = ""
        self.connection = 0
        self.unread = 0
        self.up_at = 0.0
        self._acked = self._attempt = self._target = 0
        self._fresh = self._live = False

    @property
    def open(self) -> bool:
        """Welcomed, and told all that there was when the connection began."""
        return self._live

    def come(self, delay: float = 0.0) -> None:
        """Open the socket, after so many seconds."""
        asyncio.get_running_loop().call_later(delay, self._fleet.dial, self)

    def hello(self) -> str:
        """What is said first: as the browser client does, a ticket instead of the token where there is one."""
        words: dict[str, Any] = {"op": "hello"}
        words |= {"ticket": self.ticket} if self.ticket else {"token": self.token}
        if self.since is not None:
            words |= {"since": self.since, "epoch": self.epoch}
        self.connection += 1
        self._acked = self.since or 0
        return msgspec.json.encode(words).decode()

    def lost(self, code: int) -> None:
        """The connection ended; 1006 where no close frame came."""
        self.closes.append(code)
        self._gone()
        if code == 4500 and self.ticket:
            self.ticket = None  # as the browser client: the token may still be good
            self.failed()
        elif code >= TERMINAL:
            self.log.complaints.append(f"was closed with {code}")
        elif code == 4006:
            self.ticket = None
            self.come()
        elif code != 4000:  # after a drain the frame before has named the delay
            self.failed()

    def failed(self) -> None:
        """Come back later, each time later: full jitter."""
        self._gone()
        if not self._fleet.closing:
            self.come(random.random() * min(LONGEST, FIRST * 2**self._attempt))
            self._attempt += 1

    def _gone(self) -> None:
        self.wire = None
        if self._live:
            self._live = False
            self._fleet.up -= 1

    def take(self, said: Mapping[str, Any]) -> None:
        """Note one object."""
        match said.get("op"):
            case "items" | "changed":
                self._items(said)
            case "welcome":
                self._welcome(said)
            case "drain":
                self.come(float(said["retry_after"]))
            case "count":
                self.unread = said["unread"]
            case "error":
                self.log.complaints.append(f"a command was answered with the error {said.get('code')}")
            case _:
                pass  # ok, pong, messages: nothing to hold against anybody

    def _welcome(self, said: Mapping[str, Any]) -> None:
        self._attempt, self._fresh = 0, bool(said["full"])
        if self._fresh:
            self.since = 0
        self.epoch, self._target = said["epoch"], said["revision"]
        self.ticket = said.get("ticket") or self.ticket
        self._look()

    def _items(self, said: Mapping[str, Any]) -> None:
        items = said["items"]
        seen = tuple((item["id"], item["revision"]) for item in items)
        self.log.frames.append(
            Frame(self.connection, said["prev"], said["revision"], seen, live=self._live, fresh=self._fresh)
        )
        self._fresh = False
        self.since = said["revision"]
        if said["op"] == "items":
            for item in items:
                self.items[item["id"]] = item.get("notification", "")
        self._fleet.heard += len(items)
        self._look()
        if (self.since or 0) - self._acked >= ACK_ITEMS:
            self.ack()

    def _look(self) -> None:
        if not self._live and (self.since or 0) >= self._target:
            self._live, self.up_at = True, time.monotonic()
            self._fleet.up += 1

    def ack(self) -> None:
        """Say what has arrived, where that is news."""
        if self._live and self.wire is not None and self.since and self.since > self._acked:
            self._acked = self.since
            self.wire.say(f'{{"op":"ack","revision":{self.since}}}')


class Wire(asyncio.Protocol):
    """One connection: the client's side of RFC 6455, as far as our server uses it."""

    __slots__ = ("_buffer", "_code", "_guest", "_head", "_transport", "_upgraded")

    def __init__(self, guest: Guest, head: bytes) -> None:
        self._guest, self._head = guest, head
        self._buffer = b""
        self._code = 1006
        self._upgraded = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        at = 0
        if not self._upgraded:
            end = data.find(b"\r\n\r\n")
            if end < 0 or not data.startswith(b"HTTP/1.1 101"):
                self._buffer = data if end < 0 else b""
                if end >= 0:
                    self._transport.abort()
                return
            at, self._upgraded = end + 4, True
            self.say(self._guest.hello())
        while (frame := frame_at(data, at)) is not None:
            opcode, start, at = frame
            self._frame(opcode, data[start:at])
        self._buffer = data[at:]

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == 1:
            said = _decode(payload)
            for each in said if isinstance(said, list) else (said,):
                self._guest.take(each)
        elif opcode == 9:
            self._transport.write(masked(10, payload))
        elif opcode == 8:
            self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self._transport.write(masked(8, payload[:2]))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._guest.wire is self:
            self._guest.lost(self._code)

    def say(self, text: str) -> None:
        """Send one command."""
        self._transport.write(masked(1, text.encode()))

    def abort(self) -> None:
        """Cut the connection, as a lost network does."""
        self._transport.abort()

    def pause(self) -> None:
        """Read nothing any more, and have the kernel take little for us."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._transport.resume_reading()


class Fleet:
    """All guests of this process. ``up`` of them hold what there was when they came; ``heard`` items came so far.

    ``pick`` chooses the node for a guest each time that it dials.
    """

    def __init__(self, pick: Callable[[Guest], str]) -> None:
        self.pick = pick
        self.guests: list[Guest] = []
        self.up = self.heard = self.dials = 0
        self.closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._acking: asyncio.Task[None] | None = None

    def add(self, tokens: Mapping[str, str]) -> Sequence[Guest]:
        """New guests; they come when told to. Each has one of many addresses of its own on loopback."""
        new: list[Guest] = []
        for user, token in tokens.items():
            number = len(self.guests) + len(new)
            new.append(Guest(self, user, token, f"127.0.{1 + number // 250 % 250}.{1 + number % 250}"))
        self.guests += new
        if self._acking is None:
            self._acking = asyncio.create_task(self._ack_forever())
        return new

    def dial(self, guest: Guest) -> None:
        """Open a guest's socket now."""
        if self.closing or guest.wire is not None:
            return
        task = asyncio.create_task(self._dial(guest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, guest: Guest) -> None:
        self.dials += 1
        guest.node = self.pick(guest)
        where = urlsplit(guest.node)
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET /v1/socket HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ulak.v1\r\n\r\n"
        )
        wire = guest.wire = Wire(guest, head.encode())
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(10):
                await loop.create_connection(
                    lambda: wire, where.hostname or "", where.port or 0, local_addr=(guest.address, 0)
                )
        except (OSError, TimeoutError):
            guest.failed()

    async def _ack_forever(self) -> None:
        while True:
            await asyncio.sleep(ACK_EVERY)
            for guest in self.guests:
                guest.ack()

    async def close(self) -> None:
        """End every connection."""
        self.closing = True
        if self._acking is not None:
            self._acking.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        for guest in self.guests:
            wire, guest.wire = guest.wire, None
            if wire is not None and wire._transport is not None:
                wire.abort()
        await asyncio.sleep(0)


def frame_at(data: bytes, at: int) -> tuple[int, int, int] | None:
    """The whole frame at this place: its opcode, where its payload begins and where it ends."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size == 126:
        size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    elif size == 127:
        size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
    return (data[at] & 15, start, start + size) if len(data) >= start + size else None


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame."""
    size, key = len(payload), os.urandom(4)
    head = bytes([0x80 | opcode, 0x80 | size]) if size < 126 else bytes([0x80 | opcode, 254, size >> 8, size & 255])
    mask = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
