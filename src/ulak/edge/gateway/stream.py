"""How is one inbox streamed over HTTP to a client that can't have a socket?

Server-sent events (WHATWG HTML, 9.2) that carry the very objects of ``ulak.v1`` as ``data``. An event that moves the
client's revision has ``id: <epoch>:<revision>``, a comment shows every few seconds that somebody is there, and the last
event is ``close``, with code and reason. Above ``high`` bytes the session is held, as on a socket: it stays behind and
goes on from its revision when all has left. The transport is given the same bound, so that as much again and one page
of an inbox (64 kB) can be unsent: together 128 kB.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

from ulak.core.connections import Described
from ulak.core.session import Session
from ulak.core.session_actions import Acked, Action, Fetch, Send
from ulak.core.session_commands import Close
from ulak.core.session_texts import frame
from ulak.core.token import Claims
from ulak.core.websocket import Encoded
from ulak.edge.gateway.house import House

Message = MutableMapping[str, Any]
SendMessage = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class _Moving(msgspec.Struct):
    """What an object that moves the client's revision says of it."""

    revision: int


_moving = msgspec.json.Decoder(_Moving)


@dataclass(frozen=True, slots=True)
class Flow:
    """How a stream is written: ``high`` in bytes, times in seconds.

    ``beat`` stays below 25 s, after which clients believe that nobody is there; ``retry`` is for clients that don't
    draw their own pauses.
    """

    high: int = 32_768
    beat: float = 15.0
    retry: float = 3.0
    close_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked for the stream, as far as the request tells; ``hang_up`` ends his connection at once.

    ``bound`` says from how many unsent bytes on a write is to wait.
    """

    connected_at: float
    address: str | None
    user_agent: str | None
    hang_up: Callable[[], None]
    bound: Callable[[int], None]


class Stream:
    """One stream: a member of the hub."""

    def __init__(self, house: House, claims: Claims, caller: Caller, flow: Flow) -> None:
        self.session = Session(house.new_connection(), house.monotonic(), house.settings.limits)
        self.claims = claims
        self.owner = (claims.tenant, claims.user)
        self.topics: set[str] | None = None
        self.slot = 0
        self._house = house
        self._caller = caller
        self._flow = flow
        self._outbox: list[bytes] = []
        self._size = 0
        self._after_welcome = ""
        self._close: Close | None = None
        self._gone = False
        self._stir = asyncio.Event()

    # ------------------------------------------------------------------------------------ for the hub; never blocks

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what the session says."""
        for action in actions:
            if isinstance(action, Send):
                self._say(action.text)
            elif isinstance(action, Close):
                self._end(action)
            elif isinstance(action, Fetch):
                self._house.hub.want(self, action.since)
            elif isinstance(action, Acked):
                self._house.hub.ack(self, action)
            else:
                raise TypeError(f"{type(action).__name__} comes only from a frame")

    def tell(self, frame: Encoded) -> None:
        """Send what the session has counted as sent."""
        for text in frame.texts:
            self._say(text)

    def ephemeral(self, frame: Encoded) -> None:
        """Send a message or notice, unless the client reads slowly."""
        if self.session.held or not self.session.open:
            self._house.counters.dropped += 1
        else:
            self.tell(frame)

    def close(self, name: str) -> None:
        """End by this name of a close code."""
        self.act(self.session.end(name))

    def tick(self, now: float, unix: float) -> float:
        """Do what is due; returns when to look again."""
        self.act(self.session.tick(now, unix))
        return inf if self.session.closed else self.session.due(now, unix)

    def describe(self) -> Described:
        """What operators are told of it; who reads a stream is never heard of, so ``seen`` is when it began."""
        caller, expires = self._caller, self.session.expires_at
        return Described(
            id=self.session.connection,
            user=self.owner[1],
            transport="sse",
            connected_at=caller.connected_at,
            seen=caller.connected_at,
            user_agent=caller.user_agent,
            address=caller.address,
            topics=tuple(sorted(self.topics or ())),
            expires_at=expires,
        )

    # ------------------------------------------------------------------------------------ for the door

    def begin(self, hello: str, topics: Sequence[str], *, allowed: bool) -> None:
        """Let the session begin as after a ``hello`` that was believed; the wish for topics is answered behind it."""
        house, session = self._house, self.session
        if session.closed:  # it was ended before it began
            return
        session.receive(hello, house.monotonic())
        if topics and allowed:
            house.hub.subscribe(self, topics)
            self._after_welcome = frame("ok", {"id": "topics"}).text
        elif topics:
            self._after_welcome = frame("error", {"id": "topics", "code": "forbidden"}).text
        self.act(session.authenticated(self.claims.user, self.claims.expires_at))
        self._look()

    async def run(self, receive: Receive, send: SendMessage) -> None:
        """Write until all is said or the client is gone."""
        watcher = asyncio.create_task(self._watch(receive))
        self._caller.bound(self._flow.high)
        try:
            await send(_part(f"retry: {self._flow.retry * 1000:.0f}\n\n".encode()))
            while not self._gone:
                if not await self._stirred():
                    await send(_part(b":\n\n"))
                    continue
                await self._empty(send)
                if self._close is not None:
                    told = json.dumps({"code": self._close.code, "reason": self._close.reason})
                    await send(_part(f"event: close\ndata: {told}\n\n".encode(), more=False))
                    return
                self.act(self.session.release())
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._stir.set()

    async def _stirred(self) -> bool:
        """Wait for something to say; False if there was nothing for a beat."""
        try:
            async with asyncio.timeout(self._flow.beat):
                await self._stir.wait()
        except TimeoutError:
            return False
        self._stir.clear()
        return True

    async def _empty(self, send: SendMessage) -> None:
        """Send what is there; returns when it has left, because a part without bytes waits for room and writes none."""
        while self._outbox and not self._gone:
            events, self._outbox = self._outbox, []
            body = b"".join(events)
            await send(_part(body))
            await send(_part(b""))
            self._size -= len(body)

    def _say(self, text: str) -> None:
        self._house.counters.frames += 1
        self._put(self._event(text))
        if self._after_welcome and self.session.open:  # that was the welcome
            text, self._after_welcome = self._after_welcome, ""
            self._put(self._event(text))

    def _put(self, event: bytes) -> None:
        self._outbox.append(event)
        self._size += len(event)
        self._stir.set()
        if self._size > self._flow.high and not self.session.held:
            self.session.hold(self._house.monotonic())
            self._look()

    def _look(self) -> None:
        house = self._house
        if self.session.closed:
            return
        house.hub.look(self, self.session.due(house.monotonic(), house.unix()))

    def _event(self, text: str) -> bytes:
        data = text.replace("\r", "").replace("\n", "\ndata: ")  # between tokens of JSON a line break means nothing
        if not text.startswith(('{"op":"items"', '{"op":"changed"')):
            return f"data: {data}\n\n".encode()
        return f"id: {self.session.epoch}:{_moving.decode(text).revision}\ndata: {data}\n\n".encode()

    def _end(self, close: Close) -> None:
        self._close = close
        self._house.counters.closed(close.reason.partition(":")[0])
        self._house.hub.leave(self)
        self._stir.set()
        asyncio.get_running_loop().call_later(self._flow.close_seconds, self._give_up)

    def _give_up(self) -> None:
        """The client had time to read the end, and did not."""
        if not self._gone:
            self._caller.hang_up()


def _part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
