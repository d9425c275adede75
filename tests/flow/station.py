"""What does a test of the attempt stage need: one account whose vendor is a script, worked by hand?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.model import Account, Channel
from ulak.core.outcome import Outcome, accepted
from ulak.flow.attempt import Deaths, Finisher, Route, Settings, Worker
from ulak.flow.attempt.model import Alone, Lineup, OpenPermits, Permits
from ulak.flow.attempt.worker import Tools
from ulak.io.postgres import timing
from ulak.io.postgres.attempting import reap
from ulak.node import Node
from ulak.providers.contract import Capabilities, Message, Row

MAIL = Account("mail", "scripted", Channel.EMAIL, concurrency=8, timeout=2.0, reconcile_after=30.0)

Script = Callable[[Message], Outcome | Awaitable[Outcome]]


class Scripted:
    """A provider without a vendor: the request is the messages, the reply is the outcomes."""

    OUTCOMES: Sequence[Row] = ()

    def __init__(self, batch: int = 1) -> None:
        self.CAPABILITIES = Capabilities(channel=Channel.EMAIL, batch=batch, content=False)

    def check(self, settings: Mapping[str, object]) -> None:
        pass

    def build(self, messages: Sequence[Message], account: Account, now: datetime) -> Any:
        return list(messages)

    def read(self, reply: Any, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
        return list(reply)


class Witness:
    """A sender that writes down every message before it answers by the script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent: list[Message] = []
        self.now = 0
        self.most = 0

    async def send(self, request: Any, deadline: float) -> Any:
        self.sent += request
        self.now += len(request)
        self.most = max(self.most, self.now)
        answers = []
        for message in request:
            answer = self.script(message)
            answers.append(answer if isinstance(answer, Outcome) else await answer)
        self.now -= len(request)
        return answers

    async def close(self) -> None:
        pass

    @property
    def targets(self) -> list[str]:
        return [message.target for message in self.sent]


@dataclass
class Options:
    """How a station differs from the plain one."""

    account: Account = MAIL
    settings: Settings = field(default_factory=Settings)
    batch: int = 1
    clock: Callable[[], float] | None = None
    permits: Permits = field(default_factory=OpenPermits)
    lineup: Lineup = field(default_factory=Alone)
    failpoints: Failpoints = field(default_factory=NoFailpoints)
    deaths: Deaths = field(default_factory=lambda: Deaths(time.monotonic))


class Station:
    """A worker of one account and its finisher."""

    def __init__(self, node: Node, script: Script, options: Options) -> None:
        self.pool, self.boot = node.pool, node.boot
        self.vendor = Witness(script)
        self.finisher = Finisher(node.pool, options.settings, options.failpoints, options.deaths)
        more: dict[str, Any] = {} if options.clock is None else {"clock": options.clock}
        tools = Tools(
            pool=node.pool,
            boot=node.boot,
            catalogs=node.catalogs,
            finisher=self.finisher,
            settings=options.settings,
            jitter=lambda: 0.5,
            permits=options.permits,
            lineup=options.lineup,
            failpoints=options.failpoints,
            judged=options.deaths.judged,
            **more,
        )
        self.worker = Worker(Route(options.account, Scripted(options.batch), self.vendor), tools)

    async def claim(self) -> int:
        """One round of every lane; the calls it starts go on by themselves."""
        return sum([await self.worker._round(line) for line in self.worker.lines])

    async def work(self) -> None:
        """Work off all that is ready, and wait until every result is written."""
        more = True
        while more:
            more = bool(await self.claim())
            await self.written()

    async def written(self) -> None:
        if self.worker._calls:
            await asyncio.wait(self.worker._calls)
        await self.finisher._idle.wait()


@asynccontextmanager
async def station(
    node: Node, script: Script = lambda _: accepted("vendor-1"), options: Options | None = None
) -> AsyncIterator[Station]:
    """A station that is cleared away afterwards."""
    one = Station(node, script, options or Options())
    one.finisher.start()
    yield one
    for task in one.worker._calls:
        task.cancel()
    await asyncio.gather(*one.worker._calls, return_exceptions=True)
    await one.finisher.stop(0.1)


async def make_due(node: Node, bulkhead: str = "email/mail") -> None:
    """Let every timer's time come, and move it to the ready queue."""
    await node.pool.execute("UPDATE timers SET due_at = now() - interval '1 second' WHERE bulkhead = $1", bulkhead)
    async with node.pool.transaction() as connection:
        await timing.move_due(connection, bulkhead, 1_000)


async def expire_leases(node: Node, crashes: int = 3) -> tuple[int, int]:
    """Let every lease's time end, and reap; returns (leases, calls that are unknown)."""
    await node.pool.execute("UPDATE leases SET expires_at = now() - interval '1 second'")
    async with node.pool.transaction() as connection:
        return await reap(connection, 1_000, crashes)


async def attempts(node: Node, delivery: UUID | None = None) -> list[tuple[int, str | None, str | None]]:
    """(n, kind, reason) of every attempt, in order."""
    rows = await node.pool.fetch(
        "SELECT a.n, o.kind, o.reason FROM attempts a LEFT JOIN outcomes o USING (tenant, delivery, n)"
        " WHERE $1::uuid IS NULL OR a.delivery = $1 ORDER BY a.delivery, a.n",
        delivery,
    )
    return [(r["n"], r["kind"], r["reason"]) for r in rows]
