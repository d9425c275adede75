"""How do stored callbacks become what they mean, exactly once, and what if one of them can't?

A loop leases callbacks, reads them by their vendor's ``receipts``, and writes in one transaction what their new
events change: receipts, delivery states, marks, counts, reachability and suppressions. The transaction begins by
deleting the callbacks under their lease, so a crash before its commit leaves them for the next; and it takes the
forbidding side of the gate when it may put an address on the list or stop a later step (docs/decisions/0004).

A callback that was taken before without an end is tried alone, one that the database refuses or that can't be read is
put aside for people: it spoils no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.receipt import Told
from ulak.core.suppression import KEPT
from ulak.flow.receipts.effects import Effects, Heard, effects, hear, marks_of, may_forbid, softened
from ulak.io.postgres import callbacks, consents, gate
from ulak.io.postgres.callbacks import Taken
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.pool import PINS, Connection, Pool
from ulak.providers.contract import Events
from ulak.providers.registry import EVENTS

log = logging.getLogger(__name__)

_LARGE = 32_768
"""Octets from which a callback is read beside the event loop, which is not held up meanwhile."""


@dataclass(frozen=True, slots=True)
class ApplierSettings:
    """Sizes and times (seconds). ``crashes`` is how often a callback may be tried alone without an end."""

    batch: int = 50
    room: int = 1_000_000
    lease: float = 30.0
    poll: float = 1.0
    patience: float = 5.0
    crashes: int = 3


class Applier:
    """The second half of the stage: what vendors say."""

    def __init__(
        self,
        pool: Pool,
        boot: int,
        failpoints: Failpoints | None = None,
        settings: ApplierSettings = ApplierSettings(),
        events: Mapping[str, Events] = EVENTS,
    ) -> None:
        self._pool = pool
        self._boot = boot
        self._failpoints = failpoints or NoFailpoints()
        self._settings = settings
        self._events = events
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.applied = 0
        self.repeated = 0
        self.aside = 0

    def start(self) -> None:
        """Start applying."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Stop; what is under way is rolled back, and left to others when its lease ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Something was stored just now."""
        self._news.set()

    async def _forever(self) -> None:
        while True:
            self._news.clear()
            try:
                more = await self.poll()
            except EXPECTED as error:
                exc = error if trouble(error) is Trouble.BUG else None
                log.warning("applying callbacks failed: %s", type(error).__name__, exc_info=exc)
                more = False
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        with suppress(
            TimeoutError
        ):  # not ``wait_for``: woken and cancelled at once, it forgets the latter (Python 3.11)
            async with asyncio.timeout(self._settings.poll):
                await self._news.wait()

    async def poll(self) -> bool:
        """Apply one batch of what waits; returns whether there was any."""
        wanted = self._settings
        async with self._pool.transaction(PINS) as connection:
            taken = await callbacks.take(connection, (wanted.batch, wanted.room), self._boot, wanted.lease)
        self._failpoints.hit("callbacks.after_take")
        await self._settle([each for each in taken if each.tries == 1])
        for each in taken:
            if each.tries > wanted.crashes + 1:
                await self._aside(each, "crashed")
            elif each.tries > 1:
                await self._settle([each])
        return bool(taken)

    async def _settle(self, taken: Sequence[Taken]) -> None:
        """Apply a batch; of one that the database refuses each alone, so that the culprit spoils no other."""
        told = [(each, read) for each in taken if (read := await self._read(each)) is not None]
        if not told:
            return
        try:
            await self._apply(told)
        except EXPECTED as error:
            if trouble(error) in (Trouble.AWAY, Trouble.CLASH):
                await self._release([each for each, _ in told], error)
            elif len(told) > 1:
                for each, _ in told:
                    await self._settle([each])
            else:
                log.error("a callback can't be applied: %s", type(error).__name__)  # noqa: TRY400  # it quotes the body
                await self._aside(told[0][0], "refused")

    async def _read(self, taken: Taken) -> Told | None:
        vendor = self._events.get(taken.provider)
        try:
            if vendor is not None:
                large = len(taken.body) > _LARGE
                return await asyncio.to_thread(vendor.receipts, taken.body) if large else vendor.receipts(taken.body)
        except Exception as error:  # noqa: BLE001  # it promised not to raise: its bug must not stop the others
            log.error("a callback of %s can't be read: %s", taken.provider, type(error).__name__)  # noqa: TRY400
        await self._aside(taken, "unreadable")
        return None

    async def _apply(self, told: Sequence[tuple[Taken, Told]]) -> None:
        """Write all that these callbacks change, and delete them."""
        heard = [hear(taken, receipt) for taken, each in told for receipt in each.receipts]
        unknown = [taken.id for taken, each in told if each.unknown]
        async with self._pool.transaction(PINS) as connection:
            if unknown:
                await callbacks.put_aside(connection, unknown, self._boot, "unknown_event")
            ours = await callbacks.finish(connection, [taken.id for taken, _ in told], self._boot)
            heard = [each for each in heard if each.callback.id in ours]
            if any(map(may_forbid, heard)) or await callbacks.watched(connection, marks_of(heard)):
                await gate.forbid(connection)
            new = [heard[at] for at in await callbacks.fresh(connection, [each.identity for each in heard])]
            keys = sorted({each.key for each in new if each.key is not None})
            await _write(connection, effects(new, await callbacks.standing(connection, keys)), new)
            self._failpoints.hit("callbacks.before_commit")
        self._failpoints.hit("callbacks.after_commit")
        self.applied += len(new)
        self.repeated += len(heard) - len(new)
        self._tell_unknown(len(unknown))

    def _tell_unknown(self, count: int) -> None:
        self.aside += count
        if count:
            log.warning("%d callbacks held events that this release does not know; they were put aside", count)

    async def _aside(self, taken: Taken, reason: str) -> None:
        async with self._pool.transaction(PINS) as connection:
            await callbacks.put_aside(connection, [taken.id], self._boot, reason)
            gone = await callbacks.finish(connection, [taken.id], self._boot)
        self.aside += len(gone)
        log.error("callback %d of account %s was put aside: %s", taken.id, taken.account, reason)

    async def _release(self, taken: Sequence[Taken], error: BaseException) -> None:
        log.warning("%d callbacks could not be applied now: %s", len(taken), type(error).__name__)
        async with self._pool.transaction(PINS) as connection:
            await callbacks.release(connection, [each.id for each in taken], self._boot, self._settings.patience)


async def _write(connection: Connection, made: Effects, new: Sequence[Heard]) -> None:
    if not new:
        return
    await callbacks.write(connection, made.folded, made.noted, made.marks, made.counted)
    await consents.told(connection, made.told)
    told_by = {(r.tenant, r.channel, r.address): new[-1].callback.account for r in made.reached}
    soft, lifted = softened(await callbacks.reach(connection, made.reached, KEPT), told_by)
    # A hard bounce of this very batch comes first: what holds for good does not give way.
    await callbacks.suppress(connection, made.forbidden)
    await callbacks.suppress(connection, soft)
    await callbacks.lift(connection, lifted)
