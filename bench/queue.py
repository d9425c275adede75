"""How fast is the queue, and does it stay so with five million due rows and under a snapshot that is held open?

The cycle is measured with Ulak's own statements, in batches of 500: alone (rows into ``ready``, claimed under a lease,
lease ended), and with the record (attempt rows behind the last check, outcomes, states). The peer is pgqueuer with its
own worker and a job that does nothing. The counter-proof switches the floors of ``Line`` off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from bench import stack
from bench.common import (
    Contestant,
    Goal,
    Measure,
    Options,
    Report,
    Server,
    in_turn,
    measured,
    percentile,
    rounded,
    say,
    written,
)
from ulak.io.postgres import attempting, timing
from ulak.io.postgres.attempting import Line, Result, Started
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.identity import Identities
from ulak.io.postgres.pool import PINS, Pool, Row
from ulak.io.postgres.queries import load

BATCH = 500
BULKHEAD = "email/mail"
LANE = 1
WORKERS = 2

_FILL = """
INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n)
SELECT $1::smallint, $2::text, 0, 0, delivery, 1 FROM unnest($3::uuid[]) AS q (delivery)
"""
"""As ``write_plan`` does, without the rest of it."""


async def bench(at: Server, options: Options) -> Report:
    """Measure it."""
    items = options.items(100_000)
    fewer = items // 5
    contestants: dict[str, Contestant] = {
        "queue alone": lambda: cycle(at, items, record=False),
        "queue with record": lambda: cycle(at, fewer, record=True),
        "peer pgqueuer": lambda: peer(at, fewer),
    }
    report = Report("queue", stack.PAYLOAD, await in_turn(contestants, options))
    report.ratio("queue alone / pgqueuer", "queue alone", "peer pgqueuer")
    report.ratio("queue with record / pgqueuer", "queue with record", "peer pgqueuer")
    await _depths(at, options, report)
    _judge(report)
    return report


def _judge(report: Report) -> None:
    alone = report.results["queue alone"]
    both = rounded(alone["cpu_s_per_100k"] + alone["postgres_cpu_s_per_100k"])
    report.goals = [
        Goal("queue cycles a second, alone", 25_000, alone["per_second"]),
        Goal("CPU-s per 100,000 cycles, Ulak and PostgreSQL together", 4, both, most=True),
        Goal("queue alone / pgqueuer", 3, report.ratios["queue alone / pgqueuer"]),
        Goal("queue alone / pgqueuer, then", 5, report.ratios["queue alone / pgqueuer"]),
    ]
    for name, seen in report.results.items():
        if name.startswith("claim of 500") and "without floors" not in name:
            report.goals.append(Goal(f"{name}: median ms", 20, seen["p50_ms"], most=True))
            report.goals.append(Goal(f"{name}: growth", 1.5, seen["growth"], most=True))


# -------------------------------------------------------------------------------------------- one cycle


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[Pool]:
    pool = await Pool.open(url, size=WORKERS + 2)
    try:
        yield pool
    finally:
        await pool.close()


async def cycle(at: Server, items: int, *, record: bool) -> Measure:
    """One round: fill the queue by batches, work it off by batches, two connections at a time."""
    async with at.database() as url:
        async with _pool(url) as pool:
            ids = await _deliveries(pool, items) if record else [Identities()() for _ in range(items)]
            batches = [ids[first : first + BATCH] for first in range(0, items, BATCH)]
            async with measured(at, url, items) as measure:
                began = time.perf_counter()
                await asyncio.gather(*(_fill(pool, batches[n::WORKERS]) for n in range(WORKERS)))
                measure.more["insert_per_second"] = items / (time.perf_counter() - began)
                began, line = time.perf_counter(), Line(LANE, BULKHEAD)
                done = await asyncio.gather(*(_work_off(pool, line, record=record) for _ in range(WORKERS)))
                measure.more["claim_finish_per_second"] = items / (time.perf_counter() - began)
            if sum(done) != items:
                raise RuntimeError(f"{sum(done)} of {items} came out of the queue")
        measure.rows += await written(url)
        return measure


async def _deliveries(pool: Pool, items: int) -> list[UUID]:
    """Planned deliveries, so that the last check has everything to look at."""
    await pool.execute(
        "WITH n AS (INSERT INTO notifications (tenant, id, type, catalog, lane, recipients, expires_at, data) "
        "           SELECT 0, gen_random_uuid(), 'mail', 1, 1, 1, now() + interval '1 day', $2 "
        "           FROM generate_series(1, $1::int) RETURNING id) "
        "INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, category, class, lane, "
        "                        bulkhead, resend, expires_at, decision) "
        "SELECT 0, id, id, 'u' || row_number() OVER () % 2000, 'email', 'somebody@example.com', 'pending', 'orders', "
        "       'transactional', 1, 'email/mail', true, now() + interval '1 day', '{}' FROM n",
        items,
        "x" * stack.PAYLOAD,
    )
    return [row["id"] for row in await pool.fetch("SELECT id FROM deliveries ORDER BY id")]


async def _fill(pool: Pool, batches: list[list[UUID]]) -> None:
    for ids in batches:
        async with pool.transaction(SENDING, PINS) as connection:
            await connection.execute(_FILL, LANE, BULKHEAD, ids)


async def _work_off(pool: Pool, line: Line, *, record: bool) -> int:
    done = 0
    while True:
        async with pool.transaction(SENDING, PINS) as connection:
            rows = await attempting.claim(connection, line, BATCH, 1, 60.0, time.monotonic())
            started = (await attempting.begin(connection, rows, "mail", 60.0))[0] if rows and record else []
        if not rows:
            return done
        async with pool.transaction(PINS) as connection:
            if record:
                await attempting.finish(connection, [_result(s) for s in started], [rows[0]["token"]])
            else:
                await connection.execute(load("attempt").end_leases, [rows[0]["token"]])
        done += len(rows)


def _result(row: Started) -> Result:
    return Result(
        token=row.token,
        tenant=row.tenant,
        delivery=row.delivery,
        n=row.n,
        kind="accepted",
        blame=None,
        reason="accepted",
        detail=None,
        vendor_id=None,
        state="accepted",
        state_reason=None,
        delay=None,
        counts=True,
        suppress=None,
        dead=False,
        lane=LANE,
        bulkhead=BULKHEAD,
        bucket=row.bucket,
        crashes=0,
        verdict=None,
        settled=True,
    )


async def peer(at: Server, items: int) -> Measure:
    """One round of pgqueuer: the same batches in, its own worker out."""
    async with stack.queuer(at) as (url, connection):
        others = [await asyncpg.connect(url) for _ in range(WORKERS)]
        async with measured(at, url, items) as measure:
            began = time.perf_counter()
            await stack.enqueue(others, items, BATCH)
            measure.more["insert_per_second"] = items / (time.perf_counter() - began)
            began = time.perf_counter()
            await stack.work_off(connection, items, BATCH)
            measure.more["claim_finish_per_second"] = items / (time.perf_counter() - began)
        for other in others:
            await other.close()
        await connection.close()
        measure.rows += await written(url)
        return measure


# ------------------------------------------------------------------------------- five million due rows


async def _depths(at: Server, options: Options, report: Report) -> None:
    """Claims of 500 from a queue of five million: plain, under a held snapshot, and that without floors."""
    due = options.items(5_000_000)
    claims = 30 if options.quick else 300
    async with at.database() as url, _pool(url) as pool:
        say(f"filling the queue with {due:,} rows")
        await pool.execute("SET statement_timeout = 0")
        await _fill_ready(pool, due)
        name = f"claim of {BATCH}, {due:,} ready"
        for label, held, floors in (
            (name, False, True),
            (f"{name}, snapshot held", True, True),
            (f"{name}, snapshot held, without floors (counter-proof)", True, False),
        ):
            say(label)
            line = Line(LANE, BULKHEAD) if floors else Line(LANE, BULKHEAD, reset=0.0)
            async with _snapshot(url, held=held):
                report.results[label] = _growth(await _claims(pool, line, claims))
    async with at.database() as url, _pool(url) as pool:
        say(f"filling the timers with {due:,} due rows")
        await _fill_timers(pool, due)
        name = f"claim of {BATCH}, {due:,} due timers behind the depth cap"
        for label, held in ((name, False), (f"{name}, snapshot held", True)):
            say(label)
            async with _snapshot(url, held=held):
                moves, taken = await _moves(pool, claims)
            report.results[label] = _growth(taken)
            report.results[label.replace("claim of 500", "move of 1,000 to ready")] = _growth(moves)


async def _long(pool: Pool, statement: str, *arguments: object) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement, *arguments, timeout=900.0)


async def _fill_ready(pool: Pool, due: int) -> None:
    """Rows of a thousand tenants, in every bucket."""
    await _long(
        pool,
        "INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n) "
        "SELECT $2, $3, i % 16, i % 1000, gen_random_uuid(), 1 FROM generate_series(1, $1::int) AS i",
        due,
        LANE,
        BULKHEAD,
    )


async def _fill_timers(pool: Pool, due: int) -> None:
    await _long(
        pool,
        "INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n) "
        "SELECT $3, now() - interval '1 day' + i * interval '1 millisecond', $2, i % 16, i % 1000, "
        "       gen_random_uuid(), 1 FROM generate_series(1, $1::int) AS i",
        due,
        LANE,
        BULKHEAD,
    )


@asynccontextmanager
async def _snapshot(url: str, *, held: bool) -> AsyncIterator[None]:
    """A transaction that keeps every row version from being cleaned away, as a report or a backup does."""
    connection = await asyncpg.connect(url)
    try:
        if held:
            await connection.execute("SET idle_in_transaction_session_timeout = 0")
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await connection.fetchval("SELECT count(*) FROM leases")
        yield
    finally:
        await connection.close()


async def _claims(pool: Pool, line: Line, claims: int) -> list[float]:
    """Seconds of each claim, as a worker makes it: gate and pins, claim, commit."""
    seconds = []
    for _ in range(claims):
        began = time.perf_counter()
        rows = await _claim(pool, line)
        seconds.append(time.perf_counter() - began)
        await _end(pool, rows[0]["token"])
    return seconds


async def _claim(pool: Pool, line: Line) -> list[Row]:
    async with pool.transaction(SENDING, PINS) as connection:
        rows = await attempting.claim(connection, line, BATCH, 1, 60.0, time.monotonic())
    if len(rows) < BATCH // 2:
        raise RuntimeError(f"a claim returned {len(rows)} rows")
    return rows


async def _end(pool: Pool, token: int) -> None:
    async with pool.transaction(PINS) as connection:
        await connection.execute(load("attempt").end_leases, [token])


async def _moves(pool: Pool, claims: int) -> tuple[list[float], list[float]]:
    """Two claims for each move of a thousand, as the keeper keeps a bulkhead filled."""
    moves: list[float] = []
    seconds: list[float] = []
    line = Line(LANE, BULKHEAD)
    for _ in range(claims // 2):
        began = time.perf_counter()
        await _move(pool)
        moves.append(time.perf_counter() - began)
        seconds += await _claims(pool, line, 2)
    return moves, seconds


async def _move(pool: Pool) -> None:
    async with pool.transaction(PINS) as connection:
        await timing.move_due(connection, BULKHEAD, 2 * BATCH)


def _growth(seconds: list[float]) -> dict[str, float]:
    """Median, worst, and how much slower the last tenth was than the first."""
    tenth = max(3, len(seconds) // 10)
    first, last = percentile(seconds[:tenth], 0.5), percentile(seconds[-tenth:], 0.5)
    return {
        "claims": len(seconds),
        "p50_ms": rounded(percentile(seconds, 0.5) * 1000),
        "p99_ms": rounded(percentile(seconds, 0.99) * 1000),
        "first_ms": rounded(first * 1000),
        "last_ms": rounded(last * 1000),
        "growth": rounded(last / first),
    }
