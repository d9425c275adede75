"""How do the nodes of an installation reach one another over Valkey?

Each node listens to one channel of its own and to one of everybody's. News go only to nodes that hold the
user, topic messages only to those with a listener; one flush looks up all holders in one command and sends
each node one message. Without artificial delay: while a flush is under way, the next one gathers.

Three tasks, each with a client of its own:

* *say* sends what waits, and asks;
* *keep* writes which users and topics are here, renews the lease, and sends this node's beat to itself;
* *listen* hears. A node that does not hear its own beat is deaf, even if its connection stands.

After Valkey restarted or was flushed, *keep* enters all places again; only then the hub is told that news
arrive, and compares all revisions: what was said in between is found there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from ulak.core.connections import Answers, Question, boot_of, merge
from ulak.core.inbox import News
from ulak.io.bus import Here, Kind, Place
from ulak.io.valkey import wire
from ulak.io.valkey.asking import Asked, Asking
from ulak.io.valkey.directory import Directory
from ulak.io.valkey.link import ERRORS, EVERYBODY, Pace, channel, open_client
from ulak.io.valkey.outgoing import Outgoing, Parcel
from ulak.io.valkey.wire import Answer, Ask, Beat, Message, Said, Tell

log = logging.getLogger(__name__)

_TOLD = ("published", "heard", "ignored")
_AGAIN, _TURNS = 0.1, 10


class ValkeyBus:
    """The bus of one node, known to the others by its boot number."""

    def __init__(self, url: str, boot: int, here: Here, pace: Pace | None = None) -> None:
        self._url = url
        self._boot = boot
        self._here = here
        self._pace = pace or Pace()
        self._directory = Directory(boot, self._pace)
        self._outgoing = Outgoing()
        self._asking = Asking()
        self._others: frozenset[int] | None = None  # not known yet
        self._to_say = asyncio.Event()
        self._to_keep = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._up: bool | None = None
        self._why = ""  # what keeps the places from being written
        self._beat_at = 0.0
        self._counts = dict.fromkeys(_TOLD, 0)

    @property
    def up(self) -> bool:
        """Whether news of the other nodes arrive."""
        return bool(self._up)

    def gauges(self) -> dict[str, float]:
        """Messages published, heard and not understood; pieces dropped; answers too late; look-ups; places held."""
        return {
            "bus_up": float(self.up),
            **{f"bus_{name}": count for name, count in self._counts.items()},
            "bus_dropped_news": self._outgoing.dropped_news,
            "bus_dropped_messages": self._outgoing.dropped_said,
            "bus_late_answers": self._asking.late,
            "bus_lookups": self._directory.lookups,
            "bus_places": len(self._directory),
        }

    def start(self) -> None:
        """Start saying, keeping and listening."""
        self._ending = False
        self._tasks = [asyncio.create_task(run()) for run in (self._say, self._keep, self._listen)]

    async def stop(self) -> None:
        """Stop all three, and let the others know if Valkey can be reached."""
        # Cancelling is not enough: what the client does loses it now and then, and the beat after that may, too.
        self._ending = True
        self._to_say.set()
        self._to_keep.set()
        await _end(self._tasks)
        try:
            async with open_client(self._url, self._pace.pause) as client:
                await self._directory.leave(client)
        except ERRORS as error:
            log.info("the lease on the bus was left to expire: %s", type(error).__name__)

    # ------------------------------------------------------------------------------------ what the node says

    def nodes(self, alive: Sequence[int]) -> None:
        """Learn which nodes live."""
        self._others = frozenset(alive) - {self._boot}

    @property
    def _alone(self) -> bool:
        """Whether no other node lives, as far as is known."""
        return self._others is not None and not self._others

    def hold(self, kind: Kind, tenant: int, name: str) -> None:
        """The first connection of this user, or listener of this topic, has come."""
        self._directory.hold(kind, tenant, name)
        self._to_keep.set()

    def drop(self, kind: Kind, tenant: int, name: str) -> None:
        """The last one has gone."""
        self._directory.drop(kind, tenant, name)
        self._to_keep.set()

    def news(self, news: Sequence[News]) -> None:
        """Tell the other nodes that hold these users. Never waits; may be lost."""
        self._outgoing.news(news)
        self._to_say.set()

    def publish(self, tenant: int, topic: str | None, text: str) -> bool:
        """Hand an ephemeral message to all who listen; False when it reaches this node only."""
        self._here.deliver(tenant, topic, text)
        taken = self._outgoing.said(Said(tenant, topic, text))
        self._to_say.set()
        return (taken and self.up) or self._alone

    async def ask(self, question: Question, seconds: float) -> Answers:
        """Ask every node that may know, this one included, and wait at most this long."""
        own = self._here.answer(question)
        if question.connection is not None and boot_of(question.connection) == self._boot:
            return merge([own], question.limit, complete=True)
        if not self.up:  # answers could not arrive
            return merge([own], question.limit, complete=self._alone)
        asked = self._asking.begin(question)
        try:
            self._outgoing.ask(asked)
            self._to_say.set()
            await asked.wait(seconds)
        finally:
            self._asking.end(asked)
        return merge(
            [own, *asked.replies.values()], question.limit, complete=asked.complete and self._others is not None
        )

    # ------------------------------------------------------------------------------------ say

    async def _say(self) -> None:
        async with open_client(self._url, self._pace.deaf) as client:
            while not self._ending:
                await self._to_say.wait()
                parcel = self._outgoing.take()
                if not self._outgoing:
                    self._to_say.clear()
                try:
                    await self._send(client, parcel)
                except ERRORS:  # told by the listener, once
                    self._outgoing.failed(parcel)
                    self._to_say.set()
                    await asyncio.sleep(self._pace.pause)

    async def _send(self, client: Redis, parcel: Parcel) -> None:
        places = parcel.places()
        holders: Mapping[Place, Sequence[int]] = {}
        unsure: Sequence[int] = ()
        if places or parcel.asked:
            alive = sorted(self._others or ()) if parcel.asked else ()
            holders, unsure = await self._directory.find(client, places, alive)
        post: list[tuple[str, Message]] = []
        asked = [(one, self._targets(one.question, holders, unsure)) for one in parcel.asked]
        for one, boots in asked:
            ask = Ask(self._boot, one.number, one.question)
            post += [(EVERYBODY, ask)] if boots is None else [(channel(boot), ask) for boot in boots]
        post += [(channel(to), answer) for to, answer in parcel.answers]
        post += [(channel(boot), letter) for boot, letter in parcel.letters(self._boot, holders)]
        post += [(EVERYBODY, letter) for letter in parcel.for_everybody(self._boot)]
        self._expect(asked, await self._publish(client, post))

    async def _publish(self, client: Redis, post: Sequence[tuple[str, Message]]) -> list[int]:
        """Send all; returns how many heard each."""
        if not post:
            return []
        self._counts["published"] += len(post)
        async with client.pipeline(transaction=False) as pipe:
            for to, message in post:
                pipe.publish(to, wire.encode(message))
            found: list[int] = await pipe.execute()
        return found

    def _targets(
        self, question: Question, holders: Mapping[Place, Sequence[int]], unsure: Sequence[int]
    ) -> Sequence[int] | None:
        """Which nodes may know; None: any."""
        if question.connection is not None:
            boot = boot_of(question.connection)
            return [] if boot is None else [boot]
        if question.user is not None:
            return sorted({*holders[("u", question.tenant, question.user)], *unsure})
        return None

    def _expect(self, asked: Sequence[tuple[Asked, Sequence[int] | None]], heard: Sequence[int]) -> None:
        """Say who is to answer. ``heard`` begins with the questions, in their order.

        Who listens must answer; so must a node that lives by its heartbeat, though it may be deaf.
        """
        counts, alive = iter(heard), self._others or frozenset()
        for one, boots in asked:
            if boots is None:
                listening = next(counts) - 1  # this node listens, too
                one.expect(alive, at_least=listening)
            else:
                reached = {boot for boot in boots if next(counts) > 0}
                one.expect(reached | (alive & set(boots)))

    # ------------------------------------------------------------------------------------ keep

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        next_beat = loop.time()
        async with open_client(self._url, self._pace.deaf) as client:
            while not self._ending:
                try:
                    if self._directory.changed:
                        self._here.held(await self._directory.flush(client))
                    if loop.time() >= next_beat:
                        next_beat = loop.time() + self._pace.beat
                        await self._renew(client)
                except ERRORS as error:  # told by the listener, who hears no beat
                    self._why = type(error).__name__
                    await asyncio.sleep(self._pace.pause)
                await self._stirred(next_beat - loop.time())

    async def _renew(self, client: Redis) -> None:
        if await self._directory.renew(client) and self.up:
            log.info("the bus had lost this node's places; they are entered again")
            self._here.bus(up=True)  # what was said meanwhile may have been lost
        await client.publish(channel(self._boot), wire.encode(Beat(self._boot)))

    async def _stirred(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._to_keep.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._pace.gather)
        self._to_keep.clear()

    # ------------------------------------------------------------------------------------ listen

    async def _listen(self) -> None:
        while not self._ending:
            try:
                await self._hear()
            except ERRORS as error:
                self._tell(up=False, why=self._why or type(error).__name__)
            await asyncio.sleep(self._pace.pause)

    async def _hear(self) -> None:
        async with open_client(self._url, self._pace.deaf) as client, client.pubsub() as ears:
            await ears.subscribe(channel(self._boot), EVERYBODY)
            self._beat_at = asyncio.get_running_loop().time()
            while not self._ending:
                data = await self._next(ears)
                if data is not None:
                    self._counts["heard"] += 1
                    self._understand(wire.decode(data))

    async def _next(self, ears: PubSub) -> bytes | None:
        """The next message; raises ``TimeoutError`` when the own beat has not been heard for long."""
        async with asyncio.timeout_at(self._beat_at + self._pace.deaf):
            message = await ears.get_message(ignore_subscribe_messages=True, timeout=None)
        return None if message is None else bytes(message["data"])

    def _understand(self, message: Message | None) -> None:
        try:
            self._take(message)
        except Exception:  # the next message may be a better one
            log.exception("what another node said could not be taken in")

    def _take(self, message: Message | None) -> None:
        if message is None:
            self._counts["ignored"] += 1
        elif isinstance(message, Beat):
            self._hear_beat(message.by)
        elif message.by == self._boot:
            return  # what this node said to everybody
        elif isinstance(message, Tell):
            self._here.hint(message.news)
            for said in message.said:
                self._here.deliver(said.tenant, said.topic, said.text)
        elif isinstance(message, Ask):
            reply = self._here.answer(message.question)
            self._outgoing.answer(message.by, Answer(self._boot, message.number, reply))
            self._to_say.set()
        else:
            self._asking.take(message.number, message.by, message.reply)

    def _hear_beat(self, by: int) -> None:
        if by == self._boot:
            self._beat_at = asyncio.get_running_loop().time()
            self._tell(up=True)

    def _tell(self, *, up: bool, why: str = "") -> None:
        if up == self._up:
            return
        self._up = up
        if up:
            self._why = ""
            log.info("news of other nodes arrive")
        else:
            log.warning("news of other nodes don't arrive (%s); revisions are compared each second instead", why)
        self._here.bus(up)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: ``wait_for`` inside the client loses a cancel now and then (Python 3.11).

    Not again before the loop had some turns: where the machine stood still, that would cut off how the client cleans
    up, and leave its connection open.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        for _ in range(_TURNS):
            if left:
                _, left = await asyncio.wait(left, timeout=_AGAIN)
