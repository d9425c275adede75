"""How fast are 10,000 clients back when the node that they are on is killed, and what does everybody else notice?

Three nodes on one PostgreSQL and one Valkey. All sockets are on one node, which is killed (SIGKILL); their clients
come back to the others as the browser client does: full jitter from 0.5 s on, with tickets. Notifications flow all the
time through the API of the other nodes. Recovery is complete when each client has been welcomed and holds all that
there was; at the end all have to resume once more, and the account is made from outside.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.common import Goal, Measure, Options, Report, Server, in_turn, percentile
from bench.gateway_client import FOLDER
from bench.gateway_servers import most_sockets, raise_limits
from bench.storm_crowd import Crowd
from bench.storm_nodes import Nodes
from ulak.io.embedded import valkey

RATE = 50.0
"""Notifications a second, one call each."""

CALM = 6.0
"""Seconds of ordinary traffic before the storm and after it."""

NAME = "storm"


async def bench(at: Server, options: Options) -> Report:
    """Measure it."""
    raise_limits()
    clients = min(1_000 if options.quick else 10_000, most_sockets())
    fewer = Options(min(3, options.rounds), options.quick, options.scale)
    report = Report("storm", 200, await in_turn({NAME: lambda: storm(at, clients)}, fewer))
    seen = report.results[NAME]
    report.goals = [
        Goal(f"s until all {clients:,} clients are back", 10, seen["recovery_s"], most=True),
        Goal("lost", 0, seen["lost"], most=True),
        Goal("visible twice", 0, seen["visible_twice"], most=True),
        Goal("holes in revisions", 0, seen["holes"], most=True),
        Goal("API p99 meanwhile, x before", 2, seen["api_p99_ms"] / max(0.1, seen["api_p99_before_ms"]), most=True),
    ]
    report.notes.append("servers, clients, PostgreSQL and the sender share the cores of this machine")
    return report


async def storm(at: Server, clients: int) -> Measure:
    """One storm."""
    folder = _folder()
    try:
        async with at.database() as url:
            with valkey.start(folder / "bus") as bus:
                nodes = Nodes(url, bus.url, folder)
                await nodes.begin(3)
                try:
                    return await _through(at, nodes, await Crowd.gather(nodes, clients))
                finally:
                    await nodes.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="ulak-storm-"))
    made.chmod(0o711)  # ours alone: Valkey's account may pass through, and list nothing
    return made


async def _through(at: Server, nodes: Nodes, crowd: Crowd) -> Measure:
    victim, *others = nodes.all
    urls = nodes.urls(but=[victim])
    crowd.fleet.pick = lambda _: victim.url
    await crowd.come(within=120, spread=len(crowd.users) / 1_000)
    async with _sending(nodes, urls, crowd.users) as sent:
        await asyncio.sleep(CALM)
        for guest in crowd.fleet.guests:
            guest.up_at = 0.0
        crowd.fleet.pick = lambda _: random.choice(urls)
        before = [node.taken() for node in others], at.cpu(), time.process_time(), crowd.fleet.dials
        killed = time.monotonic()
        await victim.kill()
        await crowd.recovered(within=120)
        after = [node.taken() for node in others], at.cpu(), time.process_time(), crowd.fleet.dials
        ups = sorted(guest.up_at - killed for guest in crowd.fleet.guests)
        await asyncio.sleep(CALM)
    closes = Counter(code for guest in crowd.fleet.guests for code in guest.closes)
    verdict = await crowd.verdict(sent["accepted"], within=120)
    await crowd.fleet.close()
    measure = Measure(len(ups), ups[-1])
    measure.cpu = sum(then.cpu - now.cpu for now, then in zip(before[0], after[0], strict=True))
    measure.postgres = after[1] - before[1]
    measure.more = {
        "recovery_s": ups[-1],
        "back_p50_s": percentile(ups, 0.5),
        "back_p99_s": percentile(ups, 0.99),
        "connect_cpu_ms": measure.cpu * 1e3 / len(ups),
        "dials_per_client": (after[3] - before[3]) / len(ups),
        "clients_cpu_s": after[2] - before[2],
        "told_by_the_kernel": closes[1006],
        **_waits(sent["waits"], killed, killed + ups[-1]),
        **verdict.plain(),
    }
    if not verdict.passed:
        print(verdict.words(), file=sys.stderr)
    return measure


def _waits(waits: Sequence[tuple[float, float]], begin: float, end: float) -> dict[str, float]:
    """What callers waited for, in ms: those who called before the storm, and those who called in it."""
    calm = [seconds * 1e3 for at, seconds in waits if begin - CALM + 1 < at < begin - 0.5]
    rough = [seconds * 1e3 for at, seconds in waits if begin <= at <= max(end, begin + 2)]
    return {
        "api_p50_before_ms": percentile(calm, 0.5),
        "api_p99_before_ms": percentile(calm, 0.99),
        "api_p50_ms": percentile(rough, 0.5),
        "api_p99_ms": percentile(rough, 0.99),
    }


@asynccontextmanager
async def _sending(nodes: Nodes, urls: Sequence[str], users: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    """Traffic from a process of its own; what it saw is in the yielded dictionary afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.storm_sender",
        cwd=FOLDER.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    order = {"urls": list(urls), "key": nodes.key, "users": list(users), "rate": RATE}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    sent: dict[str, Any] = {}
    try:
        yield sent
        process.stdin.write_eof()
        sent |= json.loads(await process.stdout.read())
    finally:
        if process.returncode is None:
            process.stdin.close()
        await process.wait()
