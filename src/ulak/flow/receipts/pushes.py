"""How does what apps say of pushes become durable, however many say it at once?

A token that came with the push is the proof. Callers wait in one line, and whoever finds nobody writing writes for all
who wait: after a large send, thousands of apps count in the same few rows, and one by one they would wait for one
another's commits. A tap also marks the item of the same notification in the inbox as read, once what was said is
written; it may be said again, and then does it again, so that a crash between the two loses nothing for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.core.inbox import Op
from ulak.core.link import LinkError, Told
from ulak.core.push_receipt import Said
from ulak.core.rate import Rates
from ulak.flow.receipts.receipts import Receipts
from ulak.io.links import Linker
from ulak.io.postgres import pushes
from ulak.io.postgres.errors import EXPECTED, Trouble, Unavailable, trouble
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.pushes import AppSaid

BURST, PAUSE = 30, 6.0
"""Uses of one token: so many at once, then one each ``PAUSE`` seconds."""

GROUP = 500
"""Things said that are written in one transaction."""

LINE = 10_000
"""Things said that wait; whoever comes later is told to come back."""

AT_ONCE = 2
"""Inboxes that are changed at a time."""


class TooOften(Exception):
    """A token was used too often; nothing was written."""


class Word(msgspec.Struct, frozen=True, gc=False):
    """One thing that an app says, with the token of the push."""

    token: str
    said: Said
    at: datetime | None = None
    app_version: str | None = None


class _Group:
    """What one caller waits for."""

    __slots__ = ("done", "told")

    def __init__(self, told: Sequence[AppSaid]) -> None:
        self.told = told
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class PushReceipts:
    """What apps say of pushes, taken in by one node. ``clock`` is in UTC, ``monotonic`` in seconds."""

    def __init__(
        self,
        pool: Pool,
        linker: Linker,
        inbox: Receipts,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._linker = linker
        self._inbox = inbox
        self._clock = clock
        self._monotonic = monotonic
        self._rates = Rates(BURST, PAUSE)
        self._waiting: list[_Group] = []
        self._length = 0
        self._pen = asyncio.Lock()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def tell(self, words: Sequence[Word]) -> list[int]:
        """Write what apps say; it is durable when this returns. Returns the positions of those whose token is not ours.

        Raises ``TooOften``, ``Unavailable`` when too many wait, or what the database raises.
        """
        told, strangers = [], []
        for place, word in enumerate(words):
            link = await self._opened(word.token)
            if link is None:
                strangers.append(place)
            else:
                told.append(AppSaid(link.tenant, link.delivery, word.said, word.at, word.app_version))
        now = self._monotonic()
        if not all(self._rates.take(f"{tenant} {delivery}", now) for tenant, delivery in {each.key for each in told}):
            raise TooOften
        if told:
            await self._write(told)
            await self._read([each.key for each in told if each.said is Said.OPENED])
        return strangers

    async def _opened(self, token: str) -> Told | None:
        try:
            link = await self._linker.open(token)
        except LinkError:
            return None
        return link if isinstance(link, Told) else None

    async def _write(self, told: Sequence[AppSaid]) -> None:
        """Stand in line; the first in it writes for as many as fit."""
        if self._length + len(told) > LINE:
            raise Unavailable("too much that apps say waits to be written")
        mine = _Group(told)
        self._waiting.append(mine)
        self._length += len(told)
        async with self._pen:
            while not mine.done.done():  # those before us may have gone, and what they said stands there still
                await self._flush()
        await mine.done

    async def _flush(self) -> None:
        groups = self._taken()
        error: BaseException | None = Unavailable("nothing was written")  # where the writer himself is cancelled
        try:
            await self._note([each for group in groups for each in group.told])
            error = None
        except Exception as found:  # noqa: BLE001  # everybody in the group is told, and one of them is who runs this
            error = found
        finally:
            for group in groups:
                if error is None:
                    group.done.set_result(None)
                else:
                    group.done.set_exception(error)
                    group.done.exception()  # seen, even where nobody waits any more

    def _taken(self) -> list[_Group]:
        """Those at the head of the line, as many as fit, and one at least."""
        size = count = 0
        for group in self._waiting:
            size += len(group.told)
            if count and size > GROUP:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._length -= sum(len(group.told) for group in taken)
        return taken

    async def _note(self, told: Sequence[AppSaid]) -> None:
        """Write it; who meets somebody else at the same rows, or a crowd at the gate, goes there again."""
        for last in (False, False, True):
            try:
                await pushes.note(self._pool, told, self._clock())
            except EXPECTED as error:
                if last or trouble(error) is not Trouble.CLASH:
                    raise
            else:
                return

    async def _read(self, keys: Sequence[tuple[int, UUID]]) -> None:
        """Who taps a push has read of it: the item beside it counts no more."""
        if not keys:
            return
        async with self._room:
            for (tenant, user), ids in (await pushes.items(self._pool, keys)).items():
                await self._inbox.change(tenant, user, Op.READ, ids)
