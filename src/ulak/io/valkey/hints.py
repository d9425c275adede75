"""How does a node tell the others that inboxes have changed?

One channel per node; a publisher sends one message to each node that lives. Lossy by contract: a node
that hears nothing finds the change by comparing top revisions with the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

Tops = Sequence[tuple[int, str, int]]
"""(tenant, user, top revision) of inboxes that changed."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, str, int]]).decode
_WAITING = 100_000


def _channel(boot: int) -> str:
    return f"ulak:node:{boot}"


class ValkeyHints:
    """Hints of one node: what it publishes, and what it hears on its own channel."""

    def __init__(self, url: str, boot: int, heard: Callable[[Tops], None]) -> None:
        self._url = url
        self._boot = boot
        self._heard = heard
        self._others: Sequence[int] = ()
        self._out: list[tuple[int, str, int]] = []
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.up = False

    def start(self) -> None:
        """Start publishing and listening."""
        self._tasks = [asyncio.create_task(self._publish()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        """Stop both."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def nodes(self, alive: Sequence[int]) -> None:
        """Learn which nodes live."""
        self._others = [boot for boot in alive if boot != self._boot]

    def hint(self, tops: Tops) -> None:
        """Tell the others; never waits, and drops what nobody takes."""
        if self._others and len(self._out) < _WAITING:
            self._out.extend(tops)
            self._ready.set()

    async def _publish(self) -> None:
        client = Redis.from_url(self._url)
        while True:
            await self._ready.wait()
            self._ready.clear()
            out, self._out = self._out, []
            message = _encode(out)
            try:
                async with client.pipeline(transaction=False) as pipe:
                    for boot in self._others:
                        pipe.publish(_channel(boot), message)
                    await pipe.execute()
            except (RedisError, OSError) as error:
                log.warning("hints could not be sent: %s", type(error).__name__)

    async def _listen(self) -> None:
        while True:
            try:
                async with Redis.from_url(self._url) as client, client.pubsub() as channel:
                    await channel.subscribe(_channel(self._boot))
                    self.up = True
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self._heard(_decode(message["data"]))
            except (RedisError, OSError, msgspec.MsgspecError) as error:
                log.warning("hints can't be heard: %s", type(error).__name__)
            self.up = False
            await asyncio.sleep(1.0)
