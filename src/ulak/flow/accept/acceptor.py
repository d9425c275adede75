"""Which requests go into one transaction, and who is told what afterwards?"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import msgspec

from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.model import User
from ulak.core.request import InlineUser, NotificationRequest, Topic, UserRef
from ulak.core.work import PlanWork, cost, pack
from ulak.flow.accept.model import Accepted, AcceptRequest, Conflict, Rejected, Result
from ulak.io.postgres.accepting import Accepting, repeated, store
from ulak.io.postgres.errors import EXPECTED, Trouble, Unavailable, trouble
from ulak.io.postgres.pool import Pool, Row

log = logging.getLogger(__name__)

_ROUTE = b"notifications\0"


@dataclass(frozen=True, slots=True)
class Settings:
    """How much goes into a transaction, how many run at once, and how long the line may get."""

    flushers: int = 2
    group: int = 1_000
    group_bytes: int = 4 << 20
    waiting: int = 20_000
    lease: float = 30.0
    patience: float = 10.0


class Handoff(Protocol):
    """The planner of this process, which may plan what was committed a moment ago."""

    def room(self) -> int:
        """How much more work it takes, by its cost."""

    def hand_over(self, works: Sequence[PlanWork]) -> None:
        """Take work that is leased to this process."""


class _Ticket:
    """One caller who waits for all of his requests; a future for each of a thousand would cost more than storing it."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Entry:
    """One request on its way; ``result`` is its answer, or the error that its caller gets."""

    __slots__ = ("request", "result", "row", "ticket", "twins")

    def __init__(self, row: Accepting, request: NotificationRequest, ticket: _Ticket) -> None:
        self.row = row
        self.request = request
        self.ticket = ticket
        self.result: Result | BaseException | None = None
        self.twins: list[_Entry] = []

    def settle(self, result: Result | BaseException) -> None:
        """Take the first answer; the last of a caller's wakes him."""
        if self.result is not None:
            return
        self.result = result
        self.ticket.left -= 1
        if self.ticket.left == 0 and not self.ticket.done.done():
            self.ticket.done.set_result(None)


class Acceptor:
    """The accept stage of one node.

    ``new_id`` makes ids in time order; without a ``handoff``, or when it has no room, work waits in the
    table for whoever plans it.
    """

    def __init__(
        self,
        pool: Pool,
        boot: int,
        new_id: Callable[[], UUID],
        *,
        handoff: Handoff | None = None,
        settings: Settings | None = None,
        failpoints: Failpoints | None = None,
    ) -> None:
        self._pool = pool
        self._boot = boot
        self._new_id = new_id
        self._handoff = handoff
        self._settings = settings or Settings()
        self._failpoints = failpoints or NoFailpoints()
        self._queue: deque[_Entry] = deque()
        self._arrived = asyncio.Semaphore(0)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the flushers."""
        self._tasks = [asyncio.create_task(self._flush_forever()) for _ in range(self._settings.flushers)]

    async def stop(self) -> None:
        """Take nothing more, store and answer whoever waits, then end.

        A flusher is never cancelled: those whose group it stores would hear nothing of it.
        """
        self._stopping = True
        for _ in self._tasks:
            self._arrived.release()
        await asyncio.gather(*self._tasks)
        while self._queue:
            await self._flush(self._take())

    async def accept(self, tenant: int, request: AcceptRequest) -> Result:
        """Store one request; returns after the commit. Raises ``Unavailable`` when it can't be stored now."""
        return (await self.accept_many(tenant, [request]))[0]

    async def accept_many(self, tenant: int, requests: Sequence[AcceptRequest]) -> list[Result]:
        """Store many; the results are in order. Raises ``Unavailable`` when any of them can't be stored now."""
        if self._stopping:
            raise Unavailable("this node is stopping")
        if len(self._queue) + len(requests) > self._settings.waiting:
            raise Unavailable("too many requests wait to be stored")
        room = 0 if self._handoff is None else self._handoff.room()
        if not requests:
            return []
        ticket = _Ticket(len(requests))
        entries = []
        for request in requests:
            row = self._row(tenant, request, mine=room > 0)
            room -= sum(cost(recipients, row.data) for _, _, recipients in row.works)
            entries.append(_Entry(row, request.request, ticket))
        self._queue.extend(entries)
        self._arrived.release()
        await ticket.done
        return [_answered(entry) for entry in entries]

    # ------------------------------------------------------------------------------------- building

    def _row(self, tenant: int, ask: AcceptRequest, *, mine: bool) -> Accepting:
        request = ask.request
        works, count = _works(request)
        return Accepting(
            tenant=tenant,
            id=self._new_id(),
            key_hash=_key_hash(request.idempotency_key) if request.idempotency_key is not None else None,
            fingerprint=request.fingerprint,
            type=request.type.name,
            catalog=ask.catalog,
            lane=request.lane,
            recipients=count,
            life=request.type.expires,
            expires_at=request.expires_at,
            send_at=request.send_at,
            channels=",".join(request.channels) if request.channels else None,
            actor=request.actor,
            collapse_key=request.collapse_key,
            context=request.context,
            problems=msgspec.json.encode(request.problems).decode() if request.problems else None,
            data=request.data,
            works=works,
            mine=mine and request.send_at is None,
        )

    # ------------------------------------------------------------------------------------- flushing

    async def _flush_forever(self) -> None:
        while not self._stopping:
            await self._arrived.acquire()
            while self._queue:
                await self._flush(self._take())

    def _take(self) -> list[_Entry]:
        """Take what has queued, up to one group; equal keys of one group become twins of the first."""
        group: list[_Entry] = []
        keyed: dict[tuple[int, bytes], _Entry] = {}
        size = 0
        while self._queue and len(group) < self._settings.group and size < self._settings.group_bytes:
            entry = self._queue.popleft()
            if entry.row.key_hash is not None:
                first = keyed.setdefault((entry.row.tenant, entry.row.key_hash), entry)
                if first is not entry:
                    first.twins.append(entry)
                    continue
            group.append(entry)
            size += len(entry.row.data) + sum(len(w[2] or "") for w in entry.row.works)
        return group

    async def _flush(self, group: list[_Entry]) -> None:
        """Store a group and answer it; never raises, because a flusher must live."""
        if not group:
            return
        try:
            await self._store(group)
        except EXPECTED as error:
            await self._apart(group, error)
        except Exception as error:  # answered to the callers and logged, not swallowed
            log.exception("accepting a group failed")
            for entry in group:
                _fail(entry, error)

    async def _apart(self, group: list[_Entry], error: BaseException) -> None:
        """Decide what an error of the whole group means for each of it."""
        meaning = trouble(error)
        if meaning in (Trouble.DATA, Trouble.CLASH) and len(group) > 1:
            half = len(group) // 2
            await self._flush(group[:half])
            await self._flush(group[half:])
        elif meaning is Trouble.DATA:
            _answer(group[0], Rejected(type(error).__name__))
        else:
            if meaning is Trouble.BUG:
                log.error("accepting failed: %s", type(error).__name__, exc_info=error)
            for entry in group:
                _fail(entry, Unavailable(f"the database can't take it now ({type(error).__name__})"))

    async def _store(self, group: list[_Entry]) -> None:
        async with self._pool.connection(self._settings.patience) as connection:
            self._failpoints.hit("accept.before_commit")
            rows = await store(connection, [e.row for e in group], self._boot, self._settings.lease)
            self._failpoints.hit("accept.after_commit")
            fresh = {row["notification"] for row in rows}
            losers = [e for e in group if e.row.id not in fresh]
            earlier = await repeated(connection, [_key(e) for e in losers]) if losers else {}
        self._hand_over(group, rows)
        for entry in group:
            if entry.row.id in fresh:
                _answer(entry, Accepted(entry.row.id, entry.row.recipients, entry.row.problems, replayed=False))
        for position, entry in enumerate(losers):
            _answer(entry, _replay(entry, earlier.get(position)))

    def _hand_over(self, group: list[_Entry], rows: Sequence[Row]) -> None:
        """Give the planner of this process what was leased to it."""
        if self._handoff is None:
            return
        entries = {e.row.id: e for e in group}
        spent: dict[UUID, int] = {}
        ready = []
        for row in rows:
            if row["boot"] != self._boot:
                continue
            entry = entries[row["notification"]]
            position = spent.get(entry.row.id, 0)
            spent[entry.row.id] = position + 1
            ready.append(_work(entry, row, position))
        if ready:
            self._handoff.hand_over(ready)


# --------------------------------------------------------------------------------------------- helpers


def _answered(entry: _Entry) -> Result:
    """What an entry was answered; raises what its caller gets instead."""
    if entry.result is None:
        raise AssertionError("a caller was woken before all of his requests were answered")
    if isinstance(entry.result, BaseException):
        raise entry.result
    return entry.result


def _key_hash(key: str) -> bytes:
    return hashlib.blake2b(_ROUTE + key.encode(), digest_size=16).digest()


def _key(entry: _Entry) -> tuple[int, bytes]:
    """The key of an entry that lost: only one with a key can."""
    if entry.row.key_hash is None:
        raise AssertionError("a request without a key was not stored")
    return entry.row.tenant, entry.row.key_hash


def _works(request: NotificationRequest) -> tuple[tuple[tuple[str, str | None, str | None], ...], int]:
    """Cut the recipients into pieces of plan work; also how many are in the list."""
    users: list[str | User] = []
    works: list[tuple[str, str | None, str | None]] = []
    for recipient in request.recipients:
        if isinstance(recipient, UserRef):
            users.append(recipient.id)
        elif isinstance(recipient, InlineUser):
            r = recipient
            users.append(User(r.id, r.email, r.phone, r.locale, r.timezone))
        elif isinstance(recipient, Topic):
            works.append(("walk_topic", recipient.name, None))
        else:
            works.append(("walk_all", None, None))
    return tuple([("list", None, chunk) for chunk in pack(users)] + works), len(users)


def _work(entry: _Entry, row: Row, position: int) -> PlanWork:
    audience, topic, recipients = entry.row.works[position]
    a = entry.row
    return PlanWork(
        id=row["id"],
        tenant=a.tenant,
        notification=a.id,
        lane=a.lane,
        takes=1,
        audience=audience,
        topic=topic,
        after=None,
        upto=None,
        recipients=recipients,
        type=a.type,
        catalog=a.catalog,
        accepted_at=row["accepted_at"],
        expires_at=row["expires_at"],
        channels=entry.request.channels,
        actor=a.actor,
        data=a.data,
    )


def _replay(entry: _Entry, row: Row | None) -> Result | BaseException:
    """The answer to a repetition."""
    if row is None:
        return Unavailable("the first request with this key is being forgotten; try again")
    if bytes(row["fingerprint"]) != entry.row.fingerprint:
        return Conflict()
    return Accepted(row["notification"], row["recipients"], row["problems"], replayed=True)


def _answer(entry: _Entry, result: Result | BaseException) -> None:
    """Answer an entry and its twins, who repeat it within the same group."""
    if isinstance(result, BaseException):
        _fail(entry, result)
        return
    entry.settle(result)
    for twin in entry.twins:
        if not isinstance(result, Accepted) or twin.row.fingerprint == entry.row.fingerprint:
            repetition = (
                result
                if not isinstance(result, Accepted)
                else Accepted(result.id, result.recipients, result.problems, replayed=True)
            )
            twin.settle(repetition)
        else:
            twin.settle(Conflict())


def _fail(entry: _Entry, error: BaseException) -> None:
    for one in (entry, *entry.twins):
        one.settle(error)
