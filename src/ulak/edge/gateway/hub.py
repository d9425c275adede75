"""Who is connected to this node, and how does each learn what changed in his inbox?

News come from a commit here, from another node, or from the truth check. A session that stands just before
them is sent the item that they carry; any other asks for what it lacks: the asks of the moment become one
batched read, and each session is handed its page. News may be lost, doubled, early or late without harm: the
truth check compares the newest revisions of all connected users every 25 s, every second while the bus is down.

Acks go the other way: they are collected while the last batch is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ulak.core.inbox import News, Op, Page
from ulak.core.session import Session
from ulak.core.session_actions import Acked, Action, Send
from ulak.core.session_texts import live_texts
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.inbox import Ack

log = logging.getLogger(__name__)

Owner = tuple[int, str]
Pair = tuple[int, str, int]


class Store(Protocol):
    """The inboxes (``ulak.io.postgres.inbox.InboxStore``)."""

    async def epoch(self) -> str:
        """Changes whenever revisions may have gone back."""
        ...

    async def pages(self, asked: Sequence[Pair], limit: int) -> list[Page]:
        """What changed in many inboxes, each after a revision."""
        ...

    async def moved(self, known: Sequence[Pair]) -> list[Pair]:
        """Those whose newest revision is another one, with it."""
        ...

    async def acked(self, acks: Sequence[Ack]) -> int:
        """Write what arrived."""
        ...

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID] = (), up_to: int | None = None) -> int:
        """Mark items."""
        ...


class Member(Protocol):
    """One connection, as the hub sees it."""

    session: Session
    owner: Owner

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what the session says; must not block."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how often (seconds)."""

    page: int = 100
    batch: int = 200
    readers: int = 2
    compare: float = 25.0
    alarmed: float = 1.0
    sweep: float = 1.0
    pause: float = 0.1
    longest_pause: float = 2.0


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
        self._members: dict[Owner, set[Member]] = {}
        self._waiters: dict[Owner, dict[asyncio.Future[None], int]] = {}
        self._wanted: dict[Member, int] = {}
        self._acks: list[tuple[Member, Acked]] = []
        self._asked = asyncio.Event()
        self._told = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(members) for members in self._members.values())

    def members(self) -> list[Member]:
        """Everybody who is connected."""
        return [member for members in self._members.values() for member in members]

    def enter(self, member: Member) -> None:
        """From here on its user's hints reach it. Call before the first read, so that none falls between."""
        self._members.setdefault(member.owner, set()).add(member)

    def leave(self, member: Member) -> None:
        """It is gone; acks that it gave still count."""
        self._wanted.pop(member, None)
        members = self._members.get(member.owner, set())
        members.discard(member)
        if not members:
            self._members.pop(member.owner, None)

    # ------------------------------------------------------------------------------------ never blocking

    def hint(self, news: Iterable[News]) -> None:
        """Something is said to have happened to these inboxes."""
        for each in news:
            owner = (each.tenant, each.user)
            sends: list[Action] = []
            for member in tuple(self._members.get(owner, ())):
                if member.session.live(each):
                    sends = sends or [Send(text) for text in live_texts(each)]
                    member.act(sends)
                else:
                    member.act(member.session.hinted(each.revision))
            for waiter, since in self._waiters.get(owner, {}).items():
                if each.revision > since and not waiter.done():
                    waiter.set_result(None)

    def bus(self, up: bool) -> None:  # noqa: FBT001  # the one thing that it says
        """Hints of other nodes arrive from now on, or no longer: some may have been lost meanwhile."""
        self._bus_up = up
        self._overdue = True

    def want(self, member: Member, since: int) -> None:
        """Hand the member a page from this revision, soon."""
        self._wanted[member] = since
        self._asked.set()

    def ack(self, member: Member, acked: Acked) -> None:
        """Write this ack, soon."""
        self._acks.append((member, acked))
        self._told.set()

    async def wait(self, tenant: int, user: str, since: int, seconds: float) -> None:
        """Return when the inbox is said to have gone beyond ``since``, or after ``seconds`` (for a long poll)."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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

    # ------------------------------------------------------------------------------------ its own work

    async def run(self) -> None:
        """Read, write, compare and sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._pace.readers):
                tasks.create_task(self._forever(self._read_some))
            tasks.create_task(self._forever(self._write_some))
            tasks.create_task(self._compare_forever())
            tasks.create_task(self._sweep_forever())

    async def flush(self) -> None:
        """Write the acks that are left, once; for a stop. Raises what the store raises."""
        acks, self._acks = self._acks, []
        await self._store.acked([_row(member, acked) for member, acked in acks])

    async def compare(self) -> None:
        """Find out what hints did not tell. Raises what the store raises."""
        epoch = await self._store.epoch()
        for member in self.members():
            if member.session.open and member.session.epoch != epoch:
                member.act(member.session.recheck())
        known = self._known()
        for start in range(0, len(known), 1_000):
            moved = await self._store.moved(known[start : start + 1_000])
            self.hint(News(*pair) for pair in moved)
            for tenant, user, revision in moved:
                for member in tuple(self._members.get((tenant, user), ())):
                    if revision < member.session.sent:
                        member.act(member.session.recheck())

    def sweep(self) -> None:
        """Let every session see the time."""
        now, unix = self._monotonic(), self._unix()
        for member in self.members():
            member.act(member.session.tick(now, unix))

    def _known(self) -> list[Pair]:
        lowest: dict[Owner, int] = {}
        for member in self.members():
            if member.session.open:
                lowest[member.owner] = min(member.session.sent, lowest.get(member.owner, member.session.sent))
        for owner, waiters in self._waiters.items():
            for since in waiters.values():
                lowest[owner] = min(since, lowest.get(owner, since))
        return [(tenant, user, revision) for (tenant, user), revision in lowest.items()]

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        pause = self._pace.pause
        while True:
            try:
                await work()
                pause = self._pace.pause
            except EXPECTED as error:
                log.warning("the inbox can not be reached: %s", type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._pace.longest_pause)

    async def _read_some(self) -> None:
        await self._asked.wait()
        if not self._wanted:
            self._asked.clear()
            return
        batch = [self._wanted.popitem() for _ in range(min(self._pace.batch, len(self._wanted)))]
        try:
            await self._read(batch)
        except EXPECTED as error:
            if trouble(error) in (Trouble.AWAY, Trouble.CLASH):
                for member, since in batch:
                    self._want_again(member, since)
                raise
            await self._read_alone(batch, error)

    async def _read(self, batch: Sequence[tuple[Member, int]]) -> None:
        lowest: dict[Owner, int] = {}
        for member, since in batch:
            lowest[member.owner] = min(since, lowest.get(member.owner, since))
        asked = [(tenant, user, since) for (tenant, user), since in lowest.items()]
        pages = dict(zip(lowest, await self._store.pages(asked, self._pace.page), strict=True))
        for member, _ in batch:
            if member in self._members.get(member.owner, ()):
                member.act(member.session.page(pages[member.owner]))

    async def _read_alone(self, batch: Sequence[tuple[Member, int]], error: BaseException) -> None:
        """One of them makes the read fail: only that one is sent away."""
        if len(batch) == 1:
            log.error("an inbox can not be read: %s", type(error).__name__)
            batch[0][0].act(batch[0][0].session.fail())
            return
        for entry in batch:
            try:
                await self._read([entry])
            except EXPECTED as own:
                await self._read_alone([entry], own)

    def _want_again(self, member: Member, since: int) -> None:
        if member in self._members.get(member.owner, ()):
            self.want(member, since)

    async def _write_some(self) -> None:
        await self._told.wait()
        self._told.clear()
        acks, self._acks = self._acks, []
        try:
            await self._store.acked([_row(member, acked) for member, acked in acks])
        except EXPECTED as error:
            if trouble(error) in (Trouble.AWAY, Trouble.CLASH):
                self._acks = acks + self._acks
                self._told.set()
                raise
            log.exception("%d acks can not be written", len(acks))
            return
        for member, acked in acks:
            member.act(member.session.answered(acked.command))

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
        while True:
            await asyncio.sleep(self._pace.sweep)
            self.sweep()


def _row(member: Member, acked: Acked) -> Ack:
    tenant, user = member.owner
    return Ack(tenant, user, acked.after, acked.upto, acked.active)
