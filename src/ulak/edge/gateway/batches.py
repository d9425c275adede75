"""How do the reads and acks of many sessions become few statements?

What sessions ask for at one moment becomes one batched read, each is handed its page; acks are collected while
the last batch is written. While the database is away both wait; whoever makes a read fail is sent away alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import islice

from ulak.core.session_actions import Acked, Action
from ulak.edge.gateway.model import Member, Owner, Pace, Store
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.inbox import Ack

log = logging.getLogger(__name__)

Safely = Callable[[Member, Callable[[], Iterable[Action]]], None]


class Batches:
    """What members want from the store.

    ``here`` says whether one is still connected, ``safely`` lets one carry out what its session says.
    """

    def __init__(self, store: Store, pace: Pace, here: Callable[[Member], bool], safely: Safely) -> None:
        self._store = store
        self._pace = pace
        self._here = here
        self._safely = safely
        self._wanted: dict[Member, int] = {}
        self._acks: list[tuple[Member, Acked]] = []
        self._asked = asyncio.Event()
        self._told = asyncio.Event()
        self.reads = 0

    def want(self, member: Member, since: int) -> None:
        """Hand the member a page from this revision, soon."""
        self._wanted[member] = since
        self._asked.set()

    def forget(self, member: Member) -> None:
        """It is gone; acks that it gave still count."""
        self._wanted.pop(member, None)

    def ack(self, member: Member, acked: Acked) -> None:
        """Write this ack, soon."""
        self._acks.append((member, acked))
        self._told.set()

    async def run(self) -> None:
        """Read and write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._pace.readers):
                tasks.create_task(self._forever(self._read_some))
            tasks.create_task(self._forever(self._write_some))

    async def flush(self) -> None:
        """Write the acks that are left, once; for a stop. Raises what the store raises."""
        acks, self._acks = self._acks, []
        await self._store.acked([_row(member, acked) for member, acked in acks])

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
        batch = list(islice(self._wanted.items(), self._pace.batch))  # who has waited longest comes first
        for member, _ in batch:
            del self._wanted[member]
        try:
            await self._read(batch)
        except EXPECTED as error:
            if trouble(error) in (Trouble.AWAY, Trouble.CLASH):
                for member, since in batch:
                    if self._here(member):
                        self.want(member, since)
                raise
            await self._read_alone(batch, error)

    async def _read(self, batch: Sequence[tuple[Member, int]]) -> None:
        lowest: dict[Owner, int] = {}
        for member, since in batch:
            lowest[member.owner] = min(since, lowest.get(member.owner, since))
        asked = [(tenant, user, since) for (tenant, user), since in lowest.items()]
        pages = dict(zip(lowest, await self._store.pages(asked, self._pace.page), strict=True))
        self.reads += len(asked)
        for member, _ in batch:
            if self._here(member):
                self._safely(member, partial(member.session.page, pages[member.owner]))

    async def _read_alone(self, batch: Sequence[tuple[Member, int]], error: BaseException) -> None:
        """One of them makes the read fail: only that one is sent away."""
        if len(batch) == 1:
            log.error("an inbox can not be read: %s", type(error).__name__)
            self._safely(batch[0][0], batch[0][0].session.fail)
            return
        for entry in batch:
            try:
                await self._read([entry])
            except EXPECTED as own:
                await self._read_alone([entry], own)

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
            if acked.command.id is not None:
                self._safely(member, partial(member.session.answered, acked.command))


def _row(member: Member, acked: Acked) -> Ack:
    tenant, user = member.owner
    return Ack(tenant, user, acked.after, acked.upto, acked.active)
