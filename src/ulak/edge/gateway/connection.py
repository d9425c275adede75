"""How is one socket read and written, so that neither a slow nor a fast client can take more than its share?

What the session wants said goes into an outbox that one task empties, several objects a frame. Above
``high`` bytes the session is held: it stays behind and goes on from its revision when all has left. A
client that commands without reading the answers is not read either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ulak.core.session import Session
from ulak.core.session_actions import Acked, Action, Fetch, Send
from ulak.core.session_commands import Close
from ulak.edge.gateway.hub import Hub, Owner

Message = MutableMapping[str, Any]
SendMessage = Callable[[Message], Awaitable[None]]

FRAME = 65_536
"""Objects are joined into one frame up to about this many characters."""


class Connection:
    """One socket's outbox and what the hub needs to know of it."""

    def __init__(
        self, session: Session, hub: Hub, send: SendMessage, monotonic: Callable[[], float], high: int
    ) -> None:
        self.session = session
        self.owner: Owner = (-1, "")
        self._hub = hub
        self._send = send
        self._monotonic = monotonic
        self._high = high
        self._outbox: deque[str] = deque()
        self._size = 0
        self._close: Close | None = None
        self._stir = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()
        self.closing = asyncio.Event()

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what can be carried out at once."""
        for action in actions:
            if isinstance(action, Send):
                self._say(action.text)
            elif isinstance(action, Close):
                self._close = action
                self.closing.set()
                self._stir.set()
            elif isinstance(action, Fetch):
                self._hub.want(self, action.since)
            elif isinstance(action, Acked):
                self._hub.ack(self, action)
            else:
                raise TypeError(f"{type(action).__name__} comes only from a frame")

    async def calm(self) -> None:
        """Wait until the client has read most of what was said."""
        await self._calm.wait()

    async def write(self) -> None:
        """Empty the outbox until the close is written, which is last."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            while self._outbox:
                await self._send({"type": "websocket.send", "text": self._next()})
            self._calm.set()
            if self._close is not None:
                await self._send({"type": "websocket.close", "code": self._close.code, "reason": self._close.reason})
                return
            self.act(self.session.release())

    def _say(self, text: str) -> None:
        self._outbox.append(text)
        self._size += len(text)
        self._stir.set()
        if self._size > self._high:
            self._calm.clear()
            self.session.hold(self._monotonic())

    def _next(self) -> str:
        """The next frame: one object, or an array of as many as fit."""
        texts = [self._outbox.popleft()]
        size = len(texts[0])
        while self._outbox and size + len(self._outbox[0]) <= FRAME:
            texts.append(self._outbox.popleft())
            size += len(texts[-1])
        self._size -= size
        return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"


async def finish(task: asyncio.Task[None], seconds: float) -> None:
    """Give a task this long to end by itself, then cancel it; how it ended is for the caller to look at."""
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait({task})
