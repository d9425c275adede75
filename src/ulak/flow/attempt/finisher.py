"""How are the results of many calls written in few transactions, and what if they can't be?"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.fate import DISABLES, Told, folded
from ulak.core.outcome import Kind
from ulak.flow.attempt.deaths import Deaths, Place
from ulak.flow.attempt.model import Lease, Settings
from ulak.io.postgres import device_fates, push_counts
from ulak.io.postgres.attempting import Result, finish
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import PINS, Connection, Pool
from ulak.io.postgres.push_counts import Count, What

log = logging.getLogger(__name__)

_COUNTED = {
    Kind.ACCEPTED: What.ACCEPTED,
    Kind.UNKNOWN: What.UNKNOWN,
    Kind.RECIPIENT_PERMANENT: What.REJECTED,
    Kind.PAYLOAD_ERROR: What.REJECTED,
    Kind.POLICY_BLOCK: What.REJECTED,
}
"""What pushes are counted as; what is tried again counts by its end."""


class Finisher:
    """Writes results; one task, so that a lease ends only when all its results are written."""

    def __init__(
        self, pool: Pool, settings: Settings, failpoints: Failpoints | None = None, deaths: Deaths | None = None
    ) -> None:
        self._pool = pool
        self._deaths = deaths or Deaths(time.monotonic)
        self._settings = settings
        self._failpoints = failpoints or NoFailpoints()
        self._queue: deque[tuple[Lease, Result]] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self.fenced = 0
        self.written = 0

    def start(self) -> None:
        """Start writing."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self, patience: float = 5.0) -> None:
        """Write what is there, for at most ``patience`` seconds; the rest is reaped as ``unknown``."""
        try:
            await asyncio.wait_for(self._idle.wait(), patience)
        except TimeoutError:
            log.warning("%d results could not be written before the stop", len(self._queue))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def add(self, lease: Lease, results: Sequence[Result]) -> None:
        """Queue the results of one call."""
        self._queue.extend((lease, result) for result in results)
        self._idle.clear()
        if len(self._queue) >= self._settings.backlog:
            self._room.clear()
        self._arrived.set()

    async def room(self) -> None:
        """Wait until results are written as fast as calls are made."""
        await self._room.wait()

    async def _forever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), self._settings.group))]
                await self._write_until_done(group)
                if len(self._queue) < self._settings.backlog:
                    self._room.set()
            self._idle.set()

    async def _write_until_done(self, group: list[tuple[Lease, Result]]) -> None:
        """Write a group and end the leases of which it holds the last results."""
        for lease, _ in group:
            lease.left -= 1
        ended = {lease.token for lease, _ in group if lease.left == 0}
        await self._settle([result for _, result in group], ended)

    async def _settle(self, results: Sequence[Result], ended: set[int]) -> set[int]:
        """An answer of a provider is worth keeping: try until it is written or its lease is gone.

        What PostgreSQL refuses is found by halving, so that it spoils no other's result. Returns the leases of
        results that can't be written at all: they are not ended, so that the reaper finds those calls.
        """
        wait = 0.05
        while True:
            try:
                await self._write(results, list(ended))
            except EXPECTED as error:
                meaning = trouble(error)
                log.warning("writing %d results failed: %s", len(results), type(error).__name__)
                if meaning not in (Trouble.AWAY, Trouble.CLASH):
                    return await self._apart(results, ended, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 1.0)
            else:
                return set()

    async def _apart(self, results: Sequence[Result], ended: set[int], error: BaseException) -> set[int]:
        if len(results) > 1:
            half = len(results) // 2
            lost = await self._settle(results[:half], set())
            return lost | await self._settle(results[half:], ended - lost)
        plain = _plain(results[0])
        if plain != results[0]:
            return await self._settle([plain], ended)
        log.error("the outcome of attempt %d can't be written", plain.n, exc_info=error)
        return {plain.token}

    async def _write(self, results: Sequence[Result], ended: Sequence[int]) -> None:
        first = (FORBIDDING, PINS) if any(map(_forbids, results)) else (PINS,)
        async with self._pool.transaction(*first) as connection:
            written = await finish(connection, results, ended)
            restored = await self._devices(connection, [r for r in results if (r.delivery, r.n) in written])
        for place, devices in restored:
            self._deaths.restored(place, devices)
        self._failpoints.hit("attempt.after_finish")
        self.written += len(written)
        late = [r for r in results if (r.delivery, r.n) not in written]
        self.fenced += len(late)
        for result in late:
            log.warning("outcome of attempt %d came after its lease had ended and was refused", result.n)

    async def _devices(self, connection: Connection, results: Sequence[Result]) -> list[tuple[Place, int]]:
        """Write what was said of devices; returns how many of which places were taken out of quarantine."""
        told = [(r.tenant, r.device) for r in results if r.device is not None]
        await device_fates.change(connection, folded(each for each in told if self._deaths.believed(each[1])))
        restored = [(place, await device_fates.restore(connection, *place, back)) for place, back in self._deaths.due()]
        await push_counts.add(connection, [_count(*each) for each in told if each[1].kind in _COUNTED])
        return restored


def _forbids(result: Result) -> bool:
    """Whether something can't be sent any more once it is written."""
    return bool(result.suppress) or (result.device is not None and result.device.fate in DISABLES)


def _count(tenant: int, told: Told) -> Count:
    what, device = _COUNTED[told.kind], told.device
    reason = told.reason if what is What.REJECTED else ""
    return Count(tenant, told.account, device.app, device.platform, device.app_version, what, reason)


def _plain(result: Result) -> Result:
    """A result without the vendor's own words, which PostgreSQL may refuse, and all that hangs on them."""
    return msgspec.structs.replace(result, detail=None, vendor_id=None, device=None)
