"""How does one account work off its bulkhead: what is claimed when, what is called, and what follows?"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ulak.core.aftermath import RESEND
from ulak.core.content.email import ContentError
from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.loaded import Catalogs
from ulak.core.model import LANES, SOLO, Account
from ulak.core.outcome import Kind, Outcome, outcome
from ulak.core.reasons import Reason
from ulak.flow.attempt.asking import Asking
from ulak.flow.attempt.attachments import Files
from ulak.flow.attempt.finisher import Finisher
from ulak.flow.attempt.messages import ELSEWHERE, NOT_SENT, Maker, NoFiles
from ulak.flow.attempt.model import (
    Alone,
    Call,
    Called,
    Clock,
    Judged,
    Lease,
    Lineup,
    OpenPermits,
    Permits,
    Route,
    Settings,
    as_read,
    silent,
)
from ulak.flow.attempt.results import MAY_MOVE, Answer, Results
from ulak.io.links import Linker
from ulak.io.postgres.attempting import Line, Result, Started, begin, claim, put_off
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import PINS, Pool, Row
from ulak.providers.contract import Message

log = logging.getLogger(__name__)

PAUSED = "paused"
"""The last check's word for what its account does not send for now."""

BUSY = "busy"
"""Its word for a device that is to be left alone for a while."""

_PAUSE = 300.0

Sent = Callable[[Account, Sequence[Message], Sequence[Outcome]], None]
"""Told of each call: by whom, what, and what each message of it meant."""


def _uncounted(account: Account, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
    del account, messages, outcomes


class Solo:
    """One row of a whole node is tried alone at a time, so that a crash tells who caused it."""

    def __init__(self) -> None:
        self._taken = False

    def take(self) -> bool:
        """Whether the place was free and is now ours."""
        if self._taken:
            return False
        self._taken = True
        return True

    def give_back(self) -> None:
        """Free the place."""
        self._taken = False


@dataclass(frozen=True, slots=True)
class Tools:
    """What every worker of a node shares. ``jitter`` gives numbers in [0, 1)."""

    pool: Pool
    boot: int
    catalogs: Catalogs
    finisher: Finisher
    settings: Settings
    jitter: Callable[[], float]
    permits: Permits = field(default_factory=OpenPermits)
    failpoints: Failpoints = field(default_factory=NoFailpoints)
    clock: Clock = time.monotonic
    called: Called = silent
    solo: Solo = field(default_factory=Solo)
    files: Files = field(default_factory=NoFiles)
    lineup: Lineup = field(default_factory=Alone)
    sent: Sent = _uncounted
    linker: Linker | None = None
    judged: Judged = as_read
    entropy: Callable[[int], bytes] = secrets.token_bytes


class Worker:
    """Sends by one account: for each lane its own slots, plus one slot for rows that are tried alone."""

    def __init__(self, route: Route, tools: Tools, declared: Account | None = None) -> None:
        self.route = route
        self.declared = declared or route.account
        self.lines = [Line(lane, route.account.bulkhead) for lane in self._lanes()]
        self._tools = tools
        self._maker = Maker(tools.pool, tools.catalogs, tools.clock, tools.files, tools.linker, tools.entropy)
        self._most = route.account.concurrency * route.provider.CAPABILITIES.batch
        self._asking = Asking(route, tools.settings, tools.clock)
        self._written = Results(route.account, tools.lineup, tools.clock, tools.jitter)
        self._free = self._slots()
        self._crowded: set[int] = set()
        self._wake = {line.lane: asyncio.Event() for line in self.lines}
        self._calls: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False

    @staticmethod
    def _lanes() -> list[int]:
        return [lane + extra for extra in (0, SOLO) for lane in LANES.values()]

    def _slots(self) -> dict[int, int]:
        """Slots of each lane: none may fill the account alone, and what is critical may fill most of it."""
        quarter = max(1, self._most // 4)
        slots = {0: max(1, self._most - quarter), 1: max(1, self._most - 2 * quarter), 2: quarter}
        return slots | {lane + SOLO: 1 for lane in slots}

    def _room(self, lane: int) -> int:
        """Free slots of a lane, as far as the account itself has some: it has fewer than its lanes together."""
        busy = sum(self._slots().values()) - sum(self._free.values())
        return min(self._free[lane], self._most - busy)

    def start(self) -> None:
        """Start a loop for each lane."""
        self._loops = [asyncio.create_task(self._forever(line)) for line in self.lines]

    async def stop(self, patience: float) -> None:
        """Claim nothing more and let the calls under way end, for at most ``patience`` seconds."""
        self._stopping = True
        for event in self._wake.values():
            event.set()
        # Not by cancelling: a claim that is cut off after its commit would leave calls that were never made.
        if self._loops:
            await asyncio.wait(self._loops, timeout=patience)
        for loop in self._loops:
            loop.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=patience)
        await self.route.sender.close()

    def wake(self, lane: int) -> None:
        """There may be ready rows in this lane."""
        event = self._wake.get(lane)
        if event is not None:
            event.set()

    # ------------------------------------------------------------------------------------- claiming

    async def _forever(self, line: Line) -> None:
        while not self._stopping:
            await self._wake[line.lane].wait()
            self._wake[line.lane].clear()
            while await self._round(line):
                pass

    async def _round(self, line: Line) -> bool:
        """Claim once; True when there may be more and a slot is free for it."""
        await self._tools.finisher.room()
        free = self._room(line.lane)
        if free <= 0 < self._free[line.lane]:
            self._crowded.add(line.lane)
        solo = self._tools.solo if line.lane >= SOLO else None
        if self._stopping or free <= 0 or (solo is not None and not solo.take()):
            return False
        claimed, call = 0, None
        try:
            claimed, call = await self._permitted(line, free)
        except EXPECTED as error:
            exc = error if trouble(error) is Trouble.BUG else None
            log.warning("claiming failed: %s", type(error).__name__, exc_info=exc)
        finally:
            if call is None and solo is not None:
                solo.give_back()
        if call is not None:
            self._free[line.lane] -= len(call.rows)
            self._spawn(call)
        return claimed > 0

    async def _permitted(self, line: Line, free: int) -> tuple[int, Call | None]:
        """Claim no more than may be called now."""
        permits, account = self._tools.permits, self.route.account
        granted = await permits.permit(account, free)
        if granted <= 0:
            return 0, None
        call = None
        try:
            claimed, call = await self._take(line, granted)
        finally:
            permits.give_back(account, granted - (0 if call is None else len(call.rows)))
        return claimed, call

    async def _take(self, line: Line, free: int) -> tuple[int, Call | None]:
        """Lease rows and insert their attempt rows in one transaction."""
        tools, account = self._tools, self.route.account
        until = tools.clock() + tools.settings.lease
        started: list[Started] = []
        async with tools.pool.transaction(SENDING, PINS) as connection:
            rows = await claim(connection, line, free, tools.boot, tools.settings.lease, tools.clock())
            if rows:
                started, stopped = await begin(connection, rows, account.name, account.reconcile_after)
                waits = self._waits(rows, stopped)
                if waits:
                    await put_off(connection, line, waits)
        if not started:
            return len(rows), None
        tools.failpoints.hit("attempt.after_begin")
        return len(rows), Call(Lease(started[0].token, len(started), until), line.lane, started)

    def _waits(self, rows: Sequence[Row], stopped: Sequence[Row]) -> list[tuple[Row, float, Reason]]:
        """Those that were stopped for a while only, with seconds: not all at once, for there may be many."""
        found = {(each["delivery"], each["n"]): each for each in stopped if each["verdict"] in (PAUSED, BUSY)}
        waits = []
        for row in rows:
            each = found.get((row["delivery"], row["n"]))
            if each is not None and each["verdict"] == PAUSED:
                waits.append((row, _PAUSE * (1 + self._tools.jitter()), Reason.ACCOUNT_PAUSED))
            elif each is not None:
                waits.append((row, each["wait"] + self._tools.jitter(), Reason.DEVICE_BUSY))
        return waits

    def _spawn(self, call: Call) -> None:
        """Start the calls of a batch, as many rows in each as the vendor takes."""
        size = self.route.provider.CAPABILITIES.batch
        for i in range(0, len(call.rows), size):
            task = asyncio.create_task(self._call(Call(call.lease, call.lane, call.rows[i : i + size])))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    # ------------------------------------------------------------------------------------- calling

    async def _call(self, call: Call) -> None:
        """Make one call; whatever happens, each of its rows gets a result and its slot is free again."""
        started_at = self._tools.clock()
        try:
            results = await self._results(call, started_at)
        except Exception:
            # Ours, and after the attempt row: what the vendor has of it can't be known.
            log.exception("a call of %s failed in our own code", self.route.account.name)
            ours = Answer(outcome(Kind.UNKNOWN, "internal_error"))
            results = [self._written.result(call, row, ours, started_at) for row in call.rows]
        self._tools.called(
            self.route.account.bulkhead, Counter(r.kind for r in results), self._tools.clock() - started_at
        )
        self._tools.failpoints.hit("attempt.after_reply")
        self._tools.finisher.add(call.lease, results)
        self._free[call.lane] += len(call.rows)
        if call.lane >= SOLO:
            self._tools.solo.give_back()
        # A lane that found the account full is woken with this one; the most urgent takes the free slot.
        woken, self._crowded = sorted({call.lane, *self._crowded}), set()
        for lane in woken:
            self.wake(lane)

    async def _results(self, call: Call, started_at: float) -> list[Result]:
        account = self.route.account
        made = await self._maker.make(call.rows, account, self.route.provider)
        results = [
            self._written.result(call, row, self._unmade(row, verdict), started_at) for row, verdict in made.failed
        ]
        if not made.messages or self._late(call, self._asking.seconds(made.messages)):
            self._tools.permits.give_back(account, len(call.rows))
            return results + [self._written.released(call, row) for row in made.messages]
        now = call.rows[0].now + timedelta(seconds=self._tools.clock() - started_at)
        found = await self._found(made.messages, now)
        results += [self._written.result(call, row, Answer(verdict), started_at) for row, verdict in found.items()]
        rows = [row for row in made.messages if row not in found]
        if not rows or (self._asking.seconds(made.messages) and self._late(call)):
            self._tools.permits.give_back(account, len(rows))
            return results + [self._written.released(call, row) for row in rows]
        batch = [made.messages[row] for row in rows]
        now = rows[0].now + timedelta(seconds=self._tools.clock() - started_at)
        answers = [await self._answer(*each) for each in zip(rows, await self._send(batch, now), strict=True)]
        return results + [
            self._written.result(call, row, answer, started_at) for row, answer in zip(rows, answers, strict=True)
        ]

    async def _found(self, messages: Mapping[Started, Message], now: datetime) -> dict[Started, Outcome]:
        """What the vendor has of an earlier call that went unanswered; no call is made for it."""
        account = self.route.account
        found = await self._asking.found(messages, now)
        if found:
            self._tools.permits.give_back(account, len(found))
            self._tools.sent(account, [messages[row] for row in found], list(found.values()))
        return found

    async def _answer(self, row: Started, verdict: Outcome) -> Answer:
        """What the vendor said, and who may go on with it."""
        if verdict.reason == NOT_SENT or verdict.kind not in MAY_MOVE:
            return Answer(verdict)
        policy = await self._maker.on_unknown(row) if verdict.kind is Kind.UNKNOWN and row.resend else RESEND
        return Answer(verdict, self._tools.lineup.accounts(self.route.account, row.tenant, row.device), policy)

    def _unmade(self, row: Started, verdict: Outcome) -> Answer:
        """Of a row without a message: another account could not mend a fault of ours, but may reach the device."""
        if verdict.reason != ELSEWHERE:
            return Answer(verdict)
        return Answer(verdict, self._tools.lineup.accounts(self.route.account, row.tenant, row.device))

    async def _send(self, batch: Sequence[Message], now: datetime) -> list[Outcome]:
        """Make the call of a batch; one outcome a message, in order.

        A batch that can't be built is halved until the message at fault is alone: the others go out, in requests of
        their own at the same time. The same way a batch that is too big in sum becomes two.
        """
        account = self.route.account
        try:
            request = self.route.provider.build(batch, account, now)
        except ContentError as error:
            if len(batch) == 1:
                self._tools.permits.give_back(account, 1)
                return [outcome(Kind.PAYLOAD_ERROR, error.reason, detail=error.detail)]
            half = len(batch) // 2
            first, second = await asyncio.gather(self._send(batch[:half], now), self._send(batch[half:], now))
            return first + second
        except Exception:
            log.exception("a request of %s could not be built", account.name)
            self._tools.permits.give_back(account, len(batch))
            return [outcome(Kind.RETRY, NOT_SENT)] * len(batch)
        began = self._tools.clock()
        reply = await self.route.sender.send(request, account.timeout)
        read = self.route.provider.read(reply, batch, account, now)
        outcomes = list(self._tools.judged(account, batch, read))
        self._tools.lineup.told(account, outcomes, began)
        self._tools.sent(account, batch, outcomes)
        return outcomes

    def _late(self, call: Call, before: float = 0.0) -> bool:
        """Whether too little of the lease is left for a call, with ``before`` seconds of asking before it."""
        left = call.lease.until - self._tools.clock()
        return left <= before + self.route.account.timeout + self._tools.settings.margin
