"""How many requests a second become durable, and how long does a caller wait?

By one HTTP call each and in batches of 1,000, through the real server process; and by group commit alone, without
HTTP. Beside it, on the same server: ``pgbench -N`` (a yardstick for what single commits cost here, not like for
like) and pgqueuer's enqueue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import msgspec

from bench import stack
from bench.common import Contestant, Goal, Measure, Options, Report, Server, in_turn, measured, percentile, written
from ulak.core import request
from ulak.flow.accept import Acceptor, AcceptRequest
from ulak.io.postgres.identity import Identities
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.settings import Settings

CALLERS = 64


async def bench(at: Server, options: Options) -> Report:
    """Measure it."""
    single, many = options.items(20_000), options.items(100_000)
    pgbench_seconds = 1 if options.quick else 3
    contestants: dict[str, Contestant] = {
        "http, one call each, role api": lambda: over_http(at, single, CALLERS, 1, "api"),
        "http, one call each, all roles": lambda: over_http(at, single, CALLERS, 1, "api,gateway,worker"),
        "http, batches of 1,000, role api": lambda: over_http(at, many, 4, 1_000, "api"),
        "group commit, 64 callers, no http": lambda: grouped(at, many // 2, 64),
        "group commit, 256 callers, no http": lambda: grouped(at, many // 2, 256),
        "peer pgqueuer, one enqueue each, 64 callers": lambda: enqueued(at, single // 4, CALLERS, 1),
        "peer pgqueuer, enqueue batches of 1,000": lambda: enqueued(at, many, 2, 1_000),
    }
    if stack.have_pgbench():
        contestants["yardstick pgbench -N, 32 clients"] = lambda: stack.pgbench(at, pgbench_seconds)
    report = Report("accept", stack.PAYLOAD, await in_turn(contestants, options))
    _judge(report)
    return report


def _judge(report: Report) -> None:
    names = list(report.results)
    one, batch, grouped256 = (report.results[names[i]] for i in (0, 2, 4))
    report.ratio("one call each / pgqueuer enqueue", names[0], names[5])
    report.ratio("one call each / pgbench -N", names[0], names[-1])
    report.ratio("batches / pgqueuer batches", names[2], names[6])
    report.ratio("group commit of 256 / pgbench -N", names[4], names[-1])
    report.goals = [
        Goal("durable accepts a second, one HTTP call each, 64 callers", 4_000, one["per_second"]),
        Goal("p99 of a call in ms, 64 callers", 25, one["p99_ms"], most=True),
        Goal("durable accepts a second, batches of 1,000", 25_000, batch["per_second"]),
        Goal("group commit without HTTP, 256 callers, a second", 12_000, grouped256["per_second"]),
    ]


async def over_http(at: Server, items: int, callers: int, batch: int, roles: str) -> Measure:
    """One round through a node's port."""
    async with at.database() as url:
        async with stack.node(url, roles) as node:
            warm = await stack.load(node, 1_000, callers, batch)
            await warm.go()
            load = await stack.load(node, items, callers, batch)
            async with measured(at, url, items, node.cpu) as measure:
                seen = await load.go()
            measure.seconds = seen["seconds"]
            stack.note_load(measure, seen)
        measure.rows += await written(url)
        return measure


@asynccontextmanager
async def _acceptor(url: str) -> AsyncIterator[tuple[Acceptor, Node]]:
    pool = await Pool.open(url, size=4)
    node = await Node.open(Settings(node="bench", roles="api"), pool)
    acceptor = Acceptor(pool, node.boot, Identities())
    acceptor.start()
    yield acceptor, node
    await acceptor.stop()
    await pool.close()


async def grouped(at: Server, items: int, callers: int) -> Measure:
    """One round of callers in this process: checked requests in, committed rows out."""
    async with at.database() as url:
        async with _acceptor(url) as (acceptor, node):
            loaded = node.catalogs.current[0]
            body = msgspec.json.encode({**stack.BODY, "to": [{"user": "u1"}]})
            asks = [
                AcceptRequest(request.decode(body, loaded.catalog, datetime.now(UTC), f"k{i}"), loaded.catalog.version)
                for i in range(items)
            ]
            latencies: list[float] = []

            async def caller(first: int) -> None:
                for i in range(first, items, callers):
                    began = time.perf_counter()
                    await acceptor.accept(0, asks[i])
                    latencies.append(time.perf_counter() - began)

            async with measured(at, url, items) as measure:
                await asyncio.gather(*(caller(first) for first in range(callers)))
            measure.more["p50_ms"] = percentile(latencies, 0.5) * 1000
            measure.more["p99_ms"] = percentile(latencies, 0.99) * 1000
        measure.rows += await written(url)
        return measure


async def enqueued(at: Server, items: int, callers: int, batch: int) -> Measure:
    """One round of pgqueuer taking jobs; its callers are in this process, as its users' are."""
    async with stack.queuer(at) as (url, _):
        connections = [await asyncpg.connect(url) for _ in range(callers)]
        async with measured(at, url, items) as measure:
            await stack.enqueue(connections, items, batch)
        for connection in connections:
            await connection.close()
        measure.rows += await written(url)
        return measure
