"""How are the real server process, the load's process and the peers started and asked?"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from bench.common import USERS, Measure, Server, cpu_of, measured, percentile, until, written
from ulak.core.apikey import ENTROPY, Scope, make_key
from ulak.io.embedded.binaries import find_postgres
from ulak.io.postgres.keys import Key, Keys
from ulak.io.postgres.pool import Pool

BODY: dict[str, Any] = {
    "type": "mail",
    "data": {
        "number": 4711,
        "text": "Your order is on its way and arrives tomorrow between nine and twelve.",
        "carrier": "ulak",
        "tracking": "https://example.com/t/0192f3a1b2c3",
    },
}
"""What every notification says; ``to`` and an idempotency key are added to it."""

PAYLOAD = len(json.dumps(BODY))


# ------------------------------------------------------------------------------------------------ our own


@dataclass(frozen=True, slots=True)
class Running:
    """A node in a process of its own."""

    pid: int
    url: str
    key: str

    def cpu(self) -> float:
        """CPU-seconds of the node so far."""
        return cpu_of(self.pid)

    async def gauge(self, name: str) -> float:
        """One number of ``/metrics``."""
        text = await asyncio.to_thread(self._fetch, "/metrics")
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _fetch(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # loopback, our own node
            text: str = answer.read().decode()
            return text


@asynccontextmanager
async def node(
    url: str, roles: str, processes: int = 1, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run ``ulak serve`` on a database, as a user would."""
    key = await new_key(url)
    environment = clean({"ULAK_DATABASE_URL": url, "ULAK_ROLES": roles, **(environment or {})})
    arguments = ("-m", "ulak", "serve", "--port", "0", "--ready-json", "--processes", str(processes))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None:
        raise RuntimeError("no pipe to the node")
    try:
        ready = json.loads(await process.stdout.readline() or b"{}")
        if "url" not in ready:
            raise RuntimeError("the node did not start; its message is above")
        yield Running(process.pid, ready["url"], key)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def clean(more: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of Ulak's but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ULAK_")}
    return {**kept, "ULAK_LOG_LEVEL": "warning", **more}


async def new_key(url: str) -> str:
    """A new API key that may do everything."""
    pool = await Pool.open(url, size=1)
    text, key_hash, prefix = make_key(os.urandom(ENTROPY))
    await Keys(pool).create(key_hash, Key(0, prefix, frozenset({Scope.ALL.value}), None), "bench")
    await pool.close()
    return text


@dataclass(slots=True)
class Load:
    """A load process that is ready to begin."""

    process: asyncio.subprocess.Process
    items: int

    async def go(self) -> dict[str, Any]:
        """Send everything; what the load process saw."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("no pipe to the load")
        self.process.stdin.write(b"go\n")
        text = await self.process.stdout.read()
        await self.process.wait()
        if self.process.returncode:
            raise RuntimeError("the load failed; its message is above")
        seen: dict[str, Any] = json.loads(text)
        if seen["accepted"] != self.items:
            raise RuntimeError(f"{seen['accepted']} of {self.items} were accepted")
        return seen


async def load(at: Running, items: int, callers: int, batch: int = 1, **body: Any) -> Load:
    """Get ready to send ``items`` notifications by so many callers, ``batch`` a call."""
    where = urlsplit(at.url)
    order = {
        "host": where.hostname,
        "port": where.port,
        "key": at.key,
        "items": items,
        "callers": callers,
        "batch": batch,
        "users": USERS,
        "body": {**BODY, **body},
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.load",
        cwd=Path(__file__).parents[1],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipe to the load")
    process.stdin.write(json.dumps(order).encode() + b"\n")
    if (await process.stdout.readline()).strip() != b"ready":
        raise RuntimeError("the load did not start; its message is above")
    return Load(process, items)


def note_load(measure: Measure, seen: dict[str, Any]) -> None:
    """Keep what the load process saw: latencies, and its CPU, which counts for nobody."""
    milliseconds = [us / 1000 for us in seen["latencies_us"]]
    measure.more["p50_ms"] = percentile(milliseconds, 0.5)
    measure.more["p99_ms"] = percentile(milliseconds, 0.99)
    measure.more["load_cpu_s_per_100k"] = seen["cpu"] * 100_000 / measure.items


# ------------------------------------------------------------------------------------------------- peers


async def pgbench(at: Server, seconds: int, clients: int = 32) -> Measure:
    """Raw ``pgbench -N``: one UPDATE, one SELECT and one INSERT a transaction, each committed alone."""
    program = find_postgres(None, major=None).postgres.with_name("pgbench")
    async with at.database(empty=True) as url:
        await _shell(program, "-i", "-q", "-s", "10", url)
        async with measured(at, url, 0, cpu=lambda: 0.0) as measure:
            text = await _shell(program, "-N", "-c", str(clients), "-j", "2", "-T", str(seconds), url)
        tps = re.search(r"tps = ([\d.]+)", text)
        average = re.search(r"latency average = ([\d.]+)", text)
        if tps is None or average is None:
            raise RuntimeError(f"pgbench said: {text}")
        measure.items = int(float(tps[1]) * seconds)
        measure.seconds = float(seconds)
        measure.rows += await written(url)
        measure.more["average_ms"] = float(average[1])
        return measure


async def _shell(program: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    text, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{program.name} ended with {process.returncode}")
    return text.decode()


def have_pgbench() -> bool:
    """Whether these binaries of PostgreSQL bring pgbench along."""
    return find_postgres(None, major=None).postgres.with_name("pgbench").exists()


@asynccontextmanager
async def queuer(at: Server) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """A fresh database with pgqueuer's schema, durable as ours (its own default table is logged too)."""
    async with at.database(empty=True) as url:
        connection = await asyncpg.connect(url)
        await Queries(AsyncpgDriver(connection)).install()
        yield url, connection
        await connection.close()


async def enqueue(connections: Sequence[asyncpg.Connection], items: int, batch: int) -> None:
    """Put jobs with our payload into pgqueuer, by as many callers as there are connections."""
    payload = json.dumps(BODY).encode()
    sizes = iter([min(batch, items - first) for first in range(0, items, batch)])

    async def caller(connection: asyncpg.Connection) -> None:
        queries = Queries(AsyncpgDriver(connection))
        for size in sizes:
            if batch == 1:
                await queries.enqueue("job", payload, 0)
            else:
                await queries.enqueue(["job"] * size, [payload] * size, [0] * size)

    await asyncio.gather(*(caller(connection) for connection in connections))


async def work_off(connection: asyncpg.Connection, items: int, batch: int) -> None:
    """Process pgqueuer's queue with its own worker and a job that does nothing."""
    worker = PgQueuer(AsyncpgDriver(connection))
    done = 0

    @worker.entrypoint("job")
    async def job(job: Job) -> None:
        nonlocal done
        del job
        done += 1

    await worker.qm.run(batch_size=batch, mode=QueueExecutionMode.drain, dequeue_timeout=timedelta(seconds=1))
    if done != items:
        raise RuntimeError(f"pgqueuer processed {done} of {items}")


async def settled(at: Running, items: int) -> None:
    """Wait until a node has written so many outcomes."""

    async def enough() -> bool:
        return await at.gauge("ulak_outcomes_written") >= items

    await until(enough)
