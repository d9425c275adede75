"""How does a node tell the others that inboxes have changed?

One channel per node; a publisher sends one message to each node that lives. Lossy by contract: a node
that hears nothing finds the change by comparing top revisions with the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec import structs
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ulak.core.inbox import News

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[News]).decode
_WAITING = 100_000
_ITEM = 8_192
_BEAT = 1.0
_DEAF = 3.0
_PAUSE = 0.5


def _light(news: News) -> News:
    """Without content that is large: whoever lacks it reads it."""
    if news.item is None or len(news.item) <= _ITEM:
        return news
    return structs.replace(news, item=None)


def _channel(boot: int) -> str:
    return f"ulak:node:{boot}"


class ValkeyHints:
    """Hints of one node: what it publishes, and what it hears on its own channel.

    ``changed`` is told at once whether hints arrive: a node whose own beat does not come back is deaf, even if
    its connection stands. Between two calls hints may have been lost.
    """

    def __init__(
        self,
        url: str,
        boot: int,
        heard: Callable[[Sequence[News]], None],
        changed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._boot = boot
        self._heard = heard
        self._changed = changed
        self._others: Sequence[int] = ()
        self._out: list[News] = []
        self._ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._up: bool | None = None

    @property
    def up(self) -> bool:
        """Whether hints arrive."""
        return bool(self._up)

    def start(self) -> None:
        """Start publishing and listening."""
        self._tasks = [asyncio.create_task(run()) for run in (self._publish, self._listen, self._beat)]

    async def stop(self) -> None:
        """Stop both."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def nodes(self, alive: Sequence[int]) -> None:
        """Learn which nodes live."""
        self._others = [boot for boot in alive if boot != self._boot]

    def hint(self, news: Sequence[News]) -> None:
        """Tell the others; never waits, and drops what nobody takes."""
        if self._others and len(self._out) < _WAITING:
            self._out.extend(_light(each) for each in news)
            self._ready.set()

    def _client(self) -> Redis:
        # Retries of the client's own would hide for seconds that nothing arrives.
        return Redis.from_url(
            self._url, socket_timeout=_DEAF, socket_connect_timeout=_DEAF, retry=Retry(NoBackoff(), 0)
        )

    async def _publish(self) -> None:
        """Tell the others; what could not be told is told again, because a hint may come late or twice."""
        async with self._client() as client:
            while True:
                await self._ready.wait()
                self._ready.clear()
                out, self._out = self._out, []
                try:
                    await self._send(client, _encode(out))
                except (RedisError, OSError):  # told by the listener, once
                    self._out = (out + self._out)[:_WAITING]
                    self._ready.set()
                    await asyncio.sleep(_PAUSE)

    async def _send(self, client: Redis, message: bytes) -> None:
        async with client.pipeline(transaction=False) as pipe:
            for boot in self._others:
                pipe.publish(_channel(boot), message)
            await pipe.execute()

    async def _beat(self) -> None:
        """Say nothing to oneself, to find out whether it is heard."""
        nothing = _encode([])
        async with self._client() as client:
            while True:
                with contextlib.suppress(RedisError, OSError):  # told by the listener, who hears no beat
                    await client.publish(_channel(self._boot), nothing)
                await asyncio.sleep(_BEAT)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError, msgspec.MsgspecError) as error:
                self._tell(up=False, why=type(error).__name__)
            await asyncio.sleep(_PAUSE)

    async def _hear(self) -> None:
        async with self._client() as client, client.pubsub() as channel:
            await channel.subscribe(_channel(self._boot))
            messages = channel.listen()
            while True:
                async with asyncio.timeout(_DEAF):
                    message = await anext(messages)
                if message["type"] == "message":
                    self._tell(up=True)
                    self._heard(_decode(message["data"]))

    def _tell(self, *, up: bool, why: str = "") -> None:
        if up == self._up:
            return
        self._up = up
        if up:
            log.info("hints of other nodes arrive")
        else:
            log.warning("hints of other nodes don't arrive (%s); revisions are compared each second instead", why)
        self._changed(up)
