"""Who is connected to this node, and how does each learn what changed in his inbox?

News come from a commit here, from another node, or from the truth check. A session that stands just before
them is sent the item that they carry, put into a frame once for all its user's devices; any other asks for what
it lacks (``batches``). News may be lost, doubled, early or late without harm: the truth check compares the newest
revisions of all connected users every 25 s, every second while the bus is down.

Messages of topics and notices to all are ephemeral: whoever reads slowly misses them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from ulak.core.inbox import News
from ulak.core.revocation import Revocation, ends
from ulak.core.session_actions import Acked, Action
from ulak.core.session_texts import live_texts
from ulak.core.websocket import Encoded
from ulak.edge.gateway.batches import Batches
from ulak.edge.gateway.model import Member, Owner, Pace, Pair, Places, Store
from ulak.edge.gateway.sweep import Wheel
from ulak.io.postgres.errors import EXPECTED

log = logging.getLogger(__name__)

_LATE = 3.0
"""Seconds after which a sweep knows that this process has slept, and gives everybody's pongs a chance to be read."""


class Hub:
    """The registry of one process."""

    def __init__(
        self, store: Store, monotonic: Callable[[], float], unix: Callable[[], float], pace: Pace | None = None
    ) -> None:
        self._bus_up = True
        self._overdue = False
        self._store = store
        self._monotonic = monotonic
        self._unix = unix
        self._pace = pace or Pace()
        # A tuple for each user: most have one device, and a set of one takes 216 bytes.
        self._members: dict[Owner, tuple[Member, ...]] = {}
        self._topics: dict[Owner, set[Member]] = {}
        self._places: Places | None = None
        self._waiters: dict[Owner, dict[asyncio.Future[None], int]] = {}
        self._batches = Batches(store, self._pace, self._here, self._safely)
        self._wheel: Wheel[Member] = Wheel()
        self._count = 0
        self.live = 0

    def __len__(self) -> int:
        return self._count

    @property
    def reads(self) -> int:
        """Pages that were read for members."""
        return self._batches.reads

    # ------------------------------------------------------------------------------------ who is here

    def members(self) -> list[Member]:
        """Everybody who is connected."""
        return [member for members in self._members.values() for member in members]

    def members_of(self, owner: Owner) -> Sequence[Member]:
        """A user's connections to this node."""
        return self._members.get(owner, ())

    def find(self, connection: str) -> Member | None:
        """The connection of this id; looks at everybody."""
        return next((m for each in self._members.values() for m in each if m.session.connection == connection), None)

    def watch(self, places: Places) -> None:
        """Tell this one which users and topics have somebody here."""
        self._places = places

    def enter(self, member: Member) -> None:
        """From here on its user's news reach it. Call before the first read, so that none falls between."""
        before = self._members.get(member.owner, ())
        if member in before:
            return
        self._about(member.owner, comes=True)
        self._members[member.owner] = (*before, member)
        self._count += 1

    def leave(self, member: Member) -> None:
        """It is gone, or its presence is; acks that it gave still count."""
        self._wheel.take(member)
        self._batches.forget(member)
        before = self._members.get(member.owner, ())
        if member not in before:
            return
        self._count -= 1
        self.unsubscribe(member, tuple(member.topics or ()))
        left = tuple(other for other in before if other is not member)
        if left:
            self._members[member.owner] = left
            return
        del self._members[member.owner]
        self._about(member.owner, comes=False)

    def _about(self, owner: Owner, *, comes: bool) -> None:
        """Tell that the first who wants a user's news comes, or the last has gone: a connection or a long poll."""
        if self._places is None or owner in self._members or owner in self._waiters:
            return
        (self._places.hold if comes else self._places.drop)("u", *owner)

    def look(self, member: Member, at: float) -> None:
        """Let the member see the time at this moment (monotonic seconds) at the latest, to a second."""
        self._wheel.put(member, at)

    def subscribe(self, member: Member, topics: Iterable[str]) -> None:
        """The member, who has entered, listens to these topics from now on."""
        for topic in topics:
            place = (member.owner[0], topic)
            listeners = self._topics.setdefault(place, set())
            if not listeners and self._places is not None:
                self._places.hold("t", *place)
            listeners.add(member)
            if member.topics is None:
                member.topics = set()
            member.topics.add(topic)

    def unsubscribe(self, member: Member, topics: Iterable[str]) -> None:
        """It no longer does."""
        for topic in topics:
            place = (member.owner[0], topic)
            listeners = self._topics.get(place)
            if listeners is None or member not in listeners:
                continue
            listeners.discard(member)
            if member.topics is not None:
                member.topics.discard(topic)
            if not listeners:
                del self._topics[place]
                if self._places is not None:
                    self._places.drop("t", *place)

    # ------------------------------------------------------------------------------------ never blocking

    def hint(self, news: Iterable[News]) -> None:
        """Something is said to have happened to these inboxes."""
        for each in news:
            owner = (each.tenant, each.user)
            frame: Encoded | None = None
            for member in self._members.get(owner, ()):
                try:
                    if member.session.live(each):
                        if frame is None:
                            frame = Encoded(*live_texts(each))
                        self.live += 1
                        member.tell(frame)
                    else:
                        member.act(member.session.hinted(each.revision))
                except Exception as error:  # noqa: BLE001  # told there
                    self._broke(member, error)
            if owner in self._waiters:
                self._wake(owner, each.revision)

    def publish(self, tenant: int, topic: str, text: str) -> int:
        """Send a message to this node's listeners of the topic; how many there are."""
        listeners = tuple(self._topics.get((tenant, topic), ()))
        return self._ephemeral(listeners, text)

    def broadcast(self, tenant: int, text: str) -> int:
        """Send a notice to all of the tenant who are connected to this node; how many there are."""
        return self._ephemeral([m for owner, each in self._members.items() if owner[0] == tenant for m in each], text)

    def revoke(self, entries: Iterable[Revocation]) -> None:
        """Close the connections whose tokens were taken back."""
        for entry in entries:
            for member in self._members.get((entry.tenant, entry.user), ()):
                if ends(entry, member.claims):
                    self._safely(member, partial(member.session.end, "revoked"))

    def bus(self, up: bool) -> None:  # noqa: FBT001  # the one thing that it says
        """News of other nodes arrive from now on, or no longer: some may have been lost meanwhile."""
        self._bus_up = up
        self._overdue = True

    def want(self, member: Member, since: int) -> None:
        """Hand the member a page from this revision, soon."""
        self._batches.want(member, since)

    def ack(self, member: Member, acked: Acked) -> None:
        """Write this ack, soon."""
        self._batches.ack(member, acked)

    async def wait(self, tenant: int, user: str, since: int, seconds: float) -> None:
        """Return when the inbox is said to have gone beyond ``since``, or after ``seconds`` (for a long poll)."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._about((tenant, user), comes=True)
        waiters = self._waiters.setdefault((tenant, user), {})
        waiters[waiter] = since
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    if not await self._store.moved([(tenant, user, since)]):  # it may have moved just before
                        await waiter
        finally:
            del waiters[waiter]
            if not waiters and self._waiters.get((tenant, user)) is waiters:
                del self._waiters[(tenant, user)]
                self._about((tenant, user), comes=False)

    def _wake(self, owner: Owner, revision: int) -> None:
        for waiter, since in self._waiters[owner].items():
            if revision > since and not waiter.done():
                waiter.set_result(None)

    def _ephemeral(self, members: Collection[Member], text: str) -> int:
        frame = Encoded(text)
        for member in members:
            try:
                member.ephemeral(frame)
            except Exception as error:  # noqa: BLE001  # told there
                self._broke(member, error)
        return len(members)

    def _safely(self, member: Member, says: Callable[[], Iterable[Action]]) -> None:
        """Let the member carry out what its session says."""
        try:
            member.act(says())
        except Exception as error:  # noqa: BLE001  # told there
            self._broke(member, error)

    def _broke(self, member: Member, error: Exception) -> None:
        """A fault of ours concerns this member alone: it is sent away, and the others never notice."""
        log.error("a connection ends by a fault of ours", exc_info=error)
        try:
            member.close("internal")
        except Exception:
            log.exception("nor can it be closed")
        self.leave(member)

    def _here(self, member: Member) -> bool:
        return member in self._members.get(member.owner, ())

    # ------------------------------------------------------------------------------------ its own work

    async def run(self) -> None:
        """Read, write, compare and sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._batches.run())
            tasks.create_task(self._compare_forever())
            tasks.create_task(self._sweep_forever())

    async def flush(self) -> None:
        """Write the acks that are left, once; for a stop. Raises what the store raises."""
        await self._batches.flush()

    async def compare(self) -> None:
        """Find out what news did not tell. Raises what the store raises."""
        epoch = await self._store.epoch()
        for member in self.members():
            if member.session.open and member.session.epoch != epoch:
                self._safely(member, member.session.recheck)
        known = self._known()
        for start in range(0, len(known), 1_000):
            moved = await self._store.moved(known[start : start + 1_000])
            self.hint(News(*pair) for pair in moved)
            for tenant, user, revision in moved:
                for member in self._members.get((tenant, user), ()):
                    if revision < member.session.sent:
                        self._safely(member, member.session.recheck)

    def sweep(self) -> None:
        """Let those see the time whom it concerns now."""
        now, unix = self._monotonic(), self._unix()
        for member in self._wheel.due(now):
            try:
                self._wheel.put(member, member.tick(now, unix))
            except Exception as error:  # noqa: BLE001  # told there
                self._broke(member, error)

    def _known(self) -> list[Pair]:
        lowest: dict[Owner, int] = {}
        for owner, members in self._members.items():
            told = [member.session.sent for member in members if member.session.open]
            if told:
                lowest[owner] = min(told)
        for owner, waiters in self._waiters.items():
            for since in waiters.values():
                lowest[owner] = min(since, lowest.get(owner, since))
        return [(tenant, user, revision) for (tenant, user), revision in lowest.items()]

    async def _compare_forever(self) -> None:
        last = self._monotonic()
        while True:
            await asyncio.sleep(self._pace.alarmed)
            if self._bus_up and not self._overdue and self._monotonic() - last < self._pace.compare:
                continue
            last, self._overdue = self._monotonic(), False
            try:
                await self.compare()
            except EXPECTED as error:
                self._overdue = True
                log.warning("revisions can not be compared: %s", type(error).__name__)

    async def _sweep_forever(self) -> None:
        last = self._monotonic()
        while True:
            await asyncio.sleep(self._pace.sweep)
            late, last = self._monotonic() - last > self._pace.sweep + _LATE, self._monotonic()
            if not late:
                self.sweep()


__all__ = ["Hub", "Member", "Owner", "Pace", "Pair", "Places", "Store"]
