"""Who brings waiting work back: due timers, rows that nobody announced, leases of nodes that died?

And who takes it from an account that can't send to one that can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ulak.core import failover
from ulak.core.model import LANES, SOLO, Account
from ulak.flow.attempt.breakers import Breakers
from ulak.flow.attempt.model import Settings
from ulak.flow.attempt.worker import Worker
from ulak.io.postgres import timing
from ulak.io.postgres.attempting import ready_lines, reap
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.pool import PINS, Pool

log = logging.getLogger(__name__)

_MOVE = 1_000
_DIVERT = 500
_LANES = [lane + extra for extra in (0, SOLO) for lane in LANES.values()]
_REAP = 50


class Keeper:
    """The periodic part of the attempt stage. The poll is the truth; wake-ups only make it quicker."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        workers: Callable[[], Sequence[Worker]],
        breakers: Breakers | None = None,
    ) -> None:
        self._breakers = breakers
        self._pool = pool
        self._settings = settings
        self._workers = workers
        self._depths: dict[tuple[int, str], int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.unknown = 0
        self.diverted = 0

    def full(self, lane: int, bulkhead: str) -> bool:
        """Whether a lane of a bulkhead is at its depth cap, as counted at the last poll."""
        return self._depths.get((lane, bulkhead), 0) >= self._settings.depth

    def wake(self, places: set[tuple[int, str]]) -> None:
        """Tell the workers of ready rows."""
        for worker in self._workers():
            for lane, bulkhead in places:
                if worker.route.account.bulkhead == bulkhead:
                    worker.wake(lane)

    def start(self) -> None:
        """Start the loops."""
        loops: list[tuple[Callable[[], Awaitable[bool]], float]] = [
            (self.look, self._settings.poll),
            (self.move, self._settings.poll),
            (self.divert, self._settings.poll),
            (self.reap, self._settings.reap_every),
        ]
        self._tasks = [asyncio.create_task(self._forever(step, every)) for step, every in loops]

    async def stop(self) -> None:
        """Stop the loops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forever(self, step: Callable[[], Awaitable[bool]], every: float) -> None:
        """Run a step again and again, at once while it finds work; an error of the database is waited out."""
        while True:
            try:
                more = await step()
            except EXPECTED as error:
                exc = error if trouble(error) is Trouble.BUG else None
                log.warning("%s failed: %s", step.__name__, type(error).__name__, exc_info=exc)
                more = False
            if not more:
                await asyncio.sleep(every)

    async def look(self) -> bool:
        """Find ready rows that nobody announced, and count what waits."""
        lines = [line for worker in self._workers() for line in worker.lines]
        if not lines:
            return False
        async with self._pool.transaction(PINS) as connection:
            found = await ready_lines(connection, lines)
            self._depths = {
                (lane, bulkhead): await timing.depth(connection, lane, bulkhead, self._settings.depth)
                for lane, bulkhead in found
            }
        self.wake(found)
        return False

    async def move(self) -> bool:
        """Move due timers into the ready queue, bulkhead by bulkhead, no further than its depth cap."""
        async with self._pool.transaction(PINS) as connection:
            due = await timing.due_bulkheads(connection)
        moved = 0
        for bulkhead in due:
            waiting = max(self._depths.get((lane, bulkhead), 0) for lane in LANES.values())
            room = min(_MOVE, self._settings.depth - waiting)
            if room <= 0:
                continue
            async with self._pool.transaction(PINS) as connection:
                lanes = await timing.move_due(connection, bulkhead, room)
            moved += len(lanes)
            self.wake({(lane, bulkhead) for lane in lanes})
            for lane in set(lanes):
                key = (lane, bulkhead)
                self._depths[key] = self._depths.get(key, 0) + lanes.count(lane)
        return moved > 0

    async def divert(self) -> bool:
        """Give ready rows of accounts that can't send to others that can; without such a one they wait."""
        if self._breakers is None:
            return False
        moved = 0
        for account in self._breakers.diverted():
            async with self._pool.transaction(PINS) as connection:
                rows = await timing.stranded(connection, account.bulkhead, _LANES, _DIVERT)
                moves = [(row, to) for row in rows if (to := self._instead(account, row)) is not None]
                places = await timing.divert(connection, account.bulkhead, moves) if moves else []
            self.wake(set(places))
            moved += len(places)
            if not rows and any(self._depths.get((lane, account.bulkhead)) for lane in _LANES):
                # Their last call may have been taken: a refusal by this account frees them for the next.
                self._breakers.hurry(account)
        self.diverted += moved
        return moved > 0

    def _instead(self, account: Account, row: timing.Stranded) -> str | None:
        """The bulkhead of the first account that can send and whose line is not full."""
        breakers = self._breakers
        assert breakers is not None  # divert asked
        ordered = failover.order(breakers.accounts(account, row.tenant), row.delivery)
        found = (each.bulkhead for each in ordered if each.name != account.name and breakers.usable(each))
        return next((bulkhead for bulkhead in found if not self.full(row.lane, bulkhead)), None)

    async def reap(self) -> bool:
        """Take over from holders that are gone."""
        async with self._pool.transaction(PINS) as connection:
            leases, unknown = await reap(connection, _REAP, self._settings.crashes)
        self.unknown += unknown
        if leases:
            log.warning("%d leases ended without their holder; %d calls are unknown", leases, unknown)
        return leases == _REAP
