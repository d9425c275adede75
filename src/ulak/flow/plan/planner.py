"""Who plans which work when, and what is told to whom after the commit?"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.inbox import News
from ulak.core.loaded import Catalogs
from ulak.core.model import LANES, Account
from ulak.core.work import CHUNK, PlanWork, cost
from ulak.flow.plan.batch import Looks, always, plan_batch
from ulak.io.postgres import planning
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import PINS, Pool

log = logging.getLogger(__name__)

_TWICE = 2

Hint = Callable[[Sequence[News]], None]
"""Told what a commit did to inboxes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds and sizes of the plan stage; ``handed`` bounds what waits in this process (``core.work.cost``)."""

    planners: int = 3
    batch: int = 500
    handed: int = 8_000
    poll: float = 0.2
    pause: float = 0.5
    lease: float = 30.0
    together: int = 500
    few: int = 16
    crashes: int = 5
    pages: int = 20


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who hears of a commit (``hint`` of inboxes, ``wake`` of (lane, bulkhead)), and who is asked before.

    ``full`` says that a line takes no more, ``usable`` that an account can send now.
    """

    hint: Hint
    wake: Callable[[set[tuple[int, str]]], None]
    full: Callable[[int, str], bool]
    failpoints: Failpoints = field(default_factory=NoFailpoints)
    usable: Callable[[Account], bool] = always


class Planner:
    """The plan stage of one node."""

    def __init__(
        self,
        pool: Pool,
        boot: int,
        catalogs: Catalogs,
        new_id: Callable[[], UUID],
        listeners: Listeners,
        settings: Settings | None = None,
    ) -> None:
        self._pool = pool
        self._boot = boot
        self._catalogs = catalogs
        self._new_id = new_id
        self._listeners = listeners
        self._settings = settings or Settings()
        self._failpoints = listeners.failpoints
        self._handed: deque[PlanWork] = deque()
        self._suspects: deque[PlanWork] = deque()
        self._alone = asyncio.Lock()
        self._load = 0
        self._arrived = asyncio.Event()
        self._hungry = asyncio.Event()
        self._stopping = False
        self._planners: list[asyncio.Task[None]] = []
        self._poller: asyncio.Task[None] | None = None

    @property
    def handed(self) -> int:
        """Pieces of work that wait in this process."""
        return len(self._handed) + len(self._suspects)

    def room(self) -> int:
        """How much more work may be handed over, by its cost."""
        return self._settings.handed - self._load

    def hand_over(self, works: Sequence[PlanWork]) -> None:
        """Take work that the acceptor has just committed under this node's lease."""
        for work in works:
            (self._suspects if work.takes > 1 else self._handed).append(work)
            self._load += cost(work.recipients, work.data)
        self._arrived.set()

    def start(self) -> None:
        """Start the planners and the poll of the table."""
        self._planners = [asyncio.create_task(self._plan_forever()) for _ in range(self._settings.planners)]
        self._poller = asyncio.create_task(self._poll_forever())

    async def stop(self) -> None:
        """Plan what was handed over, then end."""
        self._stopping = True
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        self._arrived.set()
        await asyncio.gather(*self._planners)

    # ------------------------------------------------------------------------------------- loops

    async def _plan_forever(self) -> None:
        while not self._stopping or self.handed:
            while self.handed:
                await self.run(self._next())
            if not self._stopping:
                self._arrived.clear()
                await self._arrived.wait()

    async def _poll_forever(self) -> None:
        """The truth: whatever is due in the table is found here, whoever accepted it."""
        while True:
            self._hungry.clear()
            found = await self.poll()
            if not found:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for the next poll: its time, or, where work was left in the table, room for more of it."""
        try:
            async with asyncio.timeout(self._settings.poll):
                await self._hungry.wait()
        except TimeoutError:
            pass

    async def poll(self) -> int:
        """Take due work of every lane, the most urgent first; returns how many pieces were handed over."""
        taken = 0
        try:
            for lane in LANES.values():
                most = self.room()
                if most <= 0:
                    break
                room = (min(self._settings.batch, most), most)
                async with self._pool.transaction(PINS) as connection:
                    found = await planning.take(connection, lane, room, self._boot, self._settings.lease)
                self.hand_over(found)
                taken += len(found)
        except EXPECTED as error:
            log.warning("polling plan work failed: %s", type(error).__name__)
        return taken

    def _next(self) -> list[PlanWork]:
        """Take handed work of up to one transaction's size; an audience alone; suspects last.

        What was taken once before is planned a few at a time: most of it only waited while the node died.
        What was taken more often is planned alone.
        """
        if self._handed:
            works = _together(self._handed, self._settings.together)
        elif self._suspects:
            works = _together(self._suspects, self._settings.few if self._suspects[0].takes == _TWICE else 1)
        else:
            return []
        self._load -= sum(cost(work.recipients, work.data) for work in works)
        if self._load < self._settings.handed // 4:
            self._hungry.set()
        return works

    # ------------------------------------------------------------------------------------- one batch

    async def run(self, works: Sequence[PlanWork], *, again: bool = False) -> None:
        """Plan a batch; on an error each piece of it alone; what fails alone twice waits for its lease to end.

        While the database is away nothing is given up: the work is ours, and tried again after a pause.

        ``again`` says that these were tried a moment ago.
        """
        if not works:
            return
        try:
            if works[0].takes > _TWICE:
                await self._plan_alone(works[0])
            elif works[0].audience.startswith("walk_"):
                await self._walk(works[0], again=again)
            else:
                await self._plan(works, again=again)
        except Exception as error:  # noqa: BLE001  # logged, and the work stays in the table under its lease
            await self._apart(works, error, again=again)

    async def _apart(self, works: Sequence[PlanWork], error: Exception, *, again: bool) -> None:
        meaning = trouble(error)
        if meaning is Trouble.AWAY and not self._stopping:
            log.warning("planning of %d pieces has to wait: %s", len(works), type(error).__name__)
            await asyncio.sleep(self._settings.pause)
            self.hand_over(works)
            return
        if (len(works) > 1 and meaning is not Trouble.AWAY) or (not again and meaning in (Trouble.DATA, Trouble.CLASH)):
            # Perhaps another planner has reached a user of these by another part of the same audience.
            for work in works:
                await self.run([work], again=True)
            return
        exc = error if meaning is Trouble.BUG else None
        log.error("planning of %d pieces failed: %s", len(works), type(error).__name__, exc_info=exc)

    async def _plan_alone(self, work: PlanWork) -> None:
        """One suspect of this node at a time: when the node dies now, it is known of whom."""
        async with self._alone:
            async with self._pool.transaction() as connection:
                crashes = await planning.suspect(connection, work, self._boot)
            if crashes > self._settings.crashes:
                await self._park([work], "crashed")
            elif crashes and work.audience.startswith("walk_"):
                await self._walk(work, again=True)
            elif crashes:
                await self._plan([work], again=True)

    async def _park(self, works: Sequence[PlanWork], reason: str) -> None:
        async with self._pool.transaction() as connection:
            await planning.park(connection, works, self._boot, reason)
        log.error("plan work of %s put aside: %s", works[0].notification, reason)

    async def _walk(self, work: PlanWork, *, again: bool) -> None:
        """Plan a small audience at once; cut a large one into ranges, which every node shares."""
        pages = self._settings.pages
        async with self._pool.connection() as connection:
            ends = await planning.bounds(connection, work, CHUNK, pages)
        if not ends:
            await self._plan([msgspec.structs.replace(work, audience=work.audience.removeprefix("walk_"))], again=again)
            return
        async with self._pool.transaction() as connection:
            await planning.cut(connection, work, self._boot, ends, more=len(ends) == pages)
        # The ranges lie in the table for every node; this one looks at once.
        while await self.poll():
            pass

    async def _plan(self, works: Sequence[PlanWork], *, again: bool) -> None:
        catalogs = {(w.tenant, w.catalog): await self._catalogs.get(w.tenant, w.catalog) for w in works}
        async with self._pool.transaction(SENDING, PINS) as connection:
            ours = await planning.finish_work(connection, works, self._boot)
            looks = Looks(ours, self._new_id, self._listeners.full, again, self._listeners.usable)
            writes = await plan_batch(connection, [w for w in works if w.id in ours], catalogs, looks)
            news = await planning.write(connection, writes) if writes else []
            self._failpoints.hit("plan.before_commit")
        self._failpoints.hit("plan.after_commit")
        if news:
            self._listeners.hint(news)
        woken = {(w.planned.lane, w.planned.bulkhead) for w in writes if not w.planned.settled and not w.waits}
        if woken:
            self._listeners.wake(woken)


def _together(queue: deque[PlanWork], most: int) -> list[PlanWork]:
    """Take lists from the head that fit into one transaction and are under the same suspicion; an audience alone."""
    works = [queue.popleft()]
    recipients = _size(works[0])
    while queue and len(works) < most and works[0].audience == "list":
        recipients += _size(queue[0])
        if queue[0].audience != "list" or recipients > CHUNK or queue[0].takes != works[0].takes:
            break
        works.append(queue.popleft())
    return works


def _size(work: PlanWork) -> int:
    """About how many recipients a piece has: a bound on the work of one transaction, not a count."""
    return cost(work.recipients, "")
