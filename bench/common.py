"""What do the benches share: a throw-away PostgreSQL, CPU clocks of processes, rounds, medians, a table?

Rules of measuring: every round runs on a fresh database of the same server, ours and the peers in turn; medians of
the rounds; CPU-seconds come from the operating system, for Ulak and for PostgreSQL (with every backend and background
worker) apart; what makes the load is a process of its own whose CPU is left out; nothing is switched off that a user
would have on.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uvloop

from ulak.core.project import load
from ulak.io.embedded import postgres
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.migrate import migrate
from ulak.io.postgres.pool import Pool

USERS = 2_000
"""Stored users; ``u0``, ``u1`` and so on, each with an email address."""

PROJECT: Mapping[str, str] = {
    "ulak.toml": """
[email]
from = "Bench <bench@example.com>"

[accounts.mail]
channel = "email"
provider = "noop"
concurrency = 2
timeout = "5s"
reconcile_after = "5s"

[types.mail]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }]

[types.inbox]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "in_app" }]
""",
    "templates/order/in_app.txt": '+++\ntitle = "Order {{ data.number }}"\n+++\n{{ data.text }}',
    "templates/order/email.md": '+++\nsubject = "Order {{ data.number }}"\n+++\n{{ data.text }}',
}

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured. ``quick`` is for trying out; its figures mean little."""

    rounds: int = 5
    quick: bool = False
    scale: float = 1.0

    def items(self, full: int) -> int:
        """So many items in this run."""
        return max(1_000, int(full * self.scale * (0.1 if self.quick else 1.0)) // 1_000 * 1_000)


# ------------------------------------------------------------------------------------------------- CPU


def _times(pid: int) -> tuple[int, int, int]:
    """Parent, own ticks, and ticks of children that have ended (proc(5), fields 4 and 14 to 17)."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123  # called often
        fields = file.read().rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def cpu_of(root: int) -> float:
    """CPU-seconds of a process and of all below it, those that have ended included."""
    found: dict[int, tuple[int, int, int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # called often
        if name.isdigit():
            try:
                found[int(name)] = _times(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    members = {root}
    while True:
        more = {pid for pid, (parent, _, _) in found.items() if parent in members} - members
        if not more:
            break
        members |= more
    return sum(sum(found[pid][1:]) for pid in members if pid in found) / _TICK


# -------------------------------------------------------------------------------------------- database


@dataclass(frozen=True, slots=True)
class Server:
    """The throw-away PostgreSQL."""

    running: postgres.RunningPostgres
    folder: Path

    def url(self, database: str) -> str:
        """Where a database is."""
        return urlunsplit(urlsplit(self.running.url)._replace(path=f"/{database}"))

    def cpu(self) -> float:
        """CPU-seconds of the server so far: postmaster, backends, background workers."""
        return cpu_of(self.running.pid)

    async def administer(self, *statements: str) -> None:
        """Run statements as superuser."""
        connection = await asyncpg.connect(self.running.superuser_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self, *, empty: bool = False) -> AsyncIterator[str]:
        """A fresh database: migrated, with the project in force and users; or an empty one."""
        name = f"b_{secrets.token_hex(6)}"
        template = "" if empty else "TEMPLATE bench_ulak STRATEGY file_copy"
        await self.administer(f'CREATE DATABASE "{name}" OWNER ulak {template}', "CHECKPOINT")
        try:
            yield self.url(name)
        finally:
            await self.administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def prepare(self) -> None:
        """Make what the databases of the rounds are copied from."""
        await self.administer("CREATE DATABASE bench_ulak OWNER ulak")
        pool = await Pool.open(self.url("bench_ulak"), size=2)
        await migrate(pool)
        await apply(pool, 0, load(PROJECT))
        await pool.execute(
            "INSERT INTO users (tenant, id, email) SELECT 0, 'u' || i, 'u' || i || '@example.com' "
            "FROM generate_series(0, $1::int - 1) AS i",
            USERS,
        )
        await pool.close()

    async def durability(self) -> dict[str, str]:
        """What the server itself says of it."""
        connection = await asyncpg.connect(self.running.url)
        try:
            names = ("fsync", "synchronous_commit", "full_page_writes", "server_version")
            return {name: str(await connection.fetchval(f"SHOW {name}")) for name in names}
        finally:
            await connection.close()


@contextmanager
def server() -> Iterator[Server]:
    """Run PostgreSQL in a folder of its own; call it in the main thread, outside asyncio."""
    folder = Path(tempfile.mkdtemp(prefix="ulak-bench-"))
    folder.chmod(0o755)  # as root the server runs as somebody else
    try:
        running = postgres.start(folder / "pg")
        try:
            yield Server(running, folder)
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def written(url: str) -> int:
    """Rows inserted, updated and deleted in a database so far; call it when its other sessions have ended."""
    connection = await asyncpg.connect(url)
    try:
        value = await connection.fetchval("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
        return int(value or 0)
    finally:
        await connection.close()


async def stored(url: str) -> int:
    """Bytes of all user tables with their indexes."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables"))
    finally:
        await connection.close()


async def _wal(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
    finally:
        await connection.close()


# --------------------------------------------------------------------------------------------- measures


@dataclass(slots=True)
class Measure:
    """One round of one contestant. ``cpu`` and ``postgres`` are CPU-seconds, ``more`` what else was seen."""

    items: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    postgres: float = 0.0
    wal: int = 0
    rows: int = 0
    more: dict[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, float]:
        """Its figures per item."""
        per = 100_000 / max(1, self.items)
        return {
            "per_second": self.items / self.seconds if self.seconds else 0.0,
            "cpu_s_per_100k": self.cpu * per,
            "postgres_cpu_s_per_100k": self.postgres * per,
            "wal_bytes_per_item": self.wal / max(1, self.items),
            "rows_per_item": self.rows / max(1, self.items),
            **self.more,
        }


@asynccontextmanager
async def measured(at: Server, url: str, items: int, cpu: Callable[[], float] | None = None) -> AsyncIterator[Measure]:
    """Time a block: seconds, CPU (this process's unless ``cpu`` says whose) and WAL. Rows are added by the caller."""
    own = cpu or time.process_time
    measure = Measure(items)
    rows, wal = await written(url), await _wal(url)
    cpu0, postgres0, began = own(), at.cpu(), time.perf_counter()
    yield measure
    measure.seconds = time.perf_counter() - began
    measure.cpu, measure.postgres = own() - cpu0, at.cpu() - postgres0
    measure.wal = await _wal(url) - wal
    measure.rows = -rows


Contestant = Callable[[], Awaitable[Measure]]


async def in_turn(contestants: Mapping[str, Contestant], options: Options) -> dict[str, dict[str, Any]]:
    """Run each contestant once a round, in an order that turns; medians of all figures."""
    names = list(contestants)
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            say(f"round {number + 1}/{options.rounds}: {name}")
            seen[name].append((await contestants[name]()).plain())
    return {name: _medians(rounds) for name, rounds in seen.items()}


Contest = Callable[[int], float]
"""Do it so often; the CPU-seconds that it took."""


def cpu_rates(contests: Mapping[str, Contest], counts: Mapping[str, int], rounds: int) -> dict[str, dict[str, Any]]:
    """Run each contest once a round, in an order that turns; how often a CPU-second, medians and all rounds."""
    names = list(contests)
    seen: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            say(f"round {number + 1}/{rounds}: {name}")
            seen[name].append(counts[name] / contests[name](counts[name]))
    return {
        name: {"per_cpu_second": rounded(statistics.median(rates)), "rounds": [rounded(rate) for rate in rates]}
        for name, rates in seen.items()
    }


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {key: rounded(statistics.median(r[key] for r in rounds)) for key in rounds[0]}
    found["rounds"] = [rounded(r["per_second"]) for r in rounds]
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def rounded(value: float) -> float:
    """Three digits, or whole numbers."""
    return round(value) if abs(value) >= 100 else float(f"{value:.3g}")


# ---------------------------------------------------------------------------------------------- reports


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was promised. ``most`` says that it is an upper bound."""

    what: str
    wanted: float
    measured: float
    most: bool = False

    def plain(self) -> dict[str, Any]:
        """Itself, with the verdict."""
        reached = self.measured <= self.wanted if self.most else self.measured >= self.wanted
        sign = "<=" if self.most else ">="
        return {"what": self.what, "goal": f"{sign} {self.wanted:,g}", "measured": self.measured, "reached": reached}


@dataclass(slots=True)
class Report:
    """What a bench found."""

    name: str
    payload_bytes: int
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, name: str, ours: str, peer: str) -> float:
        """How many times as fast ``ours`` is as ``peer``; kept under ``name``. 0 where a peer is missing."""
        if ours not in self.results or peer not in self.results:
            return 0.0
        theirs = self.results[peer]["per_second"]
        self.ratios[name] = rounded(self.results[ours]["per_second"] / theirs) if theirs else 0.0
        return self.ratios[name]


Bench = Callable[[Server, Options], Awaitable[Report]]


def run(bench: Bench, options: Options) -> dict[str, Any]:
    """Run a bench on a throw-away server; everything it found, ready for JSON."""
    before = os.getloadavg()[0]
    with server() as at:

        async def inside() -> dict[str, Any]:
            await at.prepare()
            report = await bench(at, options)
            return {
                "bench": report.name,
                "rounds": options.rounds,
                "quick": options.quick,
                "payload_bytes": report.payload_bytes,
                "durability": await at.durability(),
                "machine": _machine(before),
                "results": report.results,
                "ratios": report.ratios,
                "goals": [goal.plain() for goal in report.goals],
                "notes": report.notes,
            }

        return uvloop.run(inside())


def _machine(before: float) -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": rounded(before),
        "load_after": rounded(os.getloadavg()[0]),
    }


def cached_peers(bench: str, packages: Sequence[str]) -> Path | None:
    """The folder in which a bench's peers are installed, apart from the project; None when that can't be done here."""
    base = os.environ.get("XDG_CACHE_HOME")
    root = (Path(base) if base else Path.home() / ".cache") / "ulak-bench"
    pinned = "-".join(packages).replace("==", "_").replace("[", "_").replace("]", "")
    folder = root / f"{bench}-{sys.version_info[0]}.{sys.version_info[1]}-{pinned}"
    if (folder / ".done").exists():
        return folder
    own = Path(__file__).resolve().parent.parent / ".bootstrap" / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    pip = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    say("installing the peers into a cache folder")
    done = subprocess.run([*pip, "--quiet", "--target", str(folder), *packages], check=False, capture_output=True)
    if done.returncode:
        say(done.stderr.decode(errors="replace")[-500:])
        return None
    (folder / ".done").touch()
    return folder


def say(text: str) -> None:
    """Tell how far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)


def table(found: Mapping[str, Any]) -> str:
    """What people read."""
    machine, durability = found["machine"], found["durability"]
    quick = " (quick: says little)" if found["quick"] else ""
    load = f"load {machine['load_before']:g} to {machine['load_after']:g}"
    versions = f"Python {machine['python']}, PostgreSQL {durability['server_version']}"
    durable = f"fsync {durability['fsync']}, synchronous_commit {durability['synchronous_commit']}"
    lines = [
        f"ulak bench {found['bench']}: medians of {found['rounds']}{quick}",
        f"{machine['cores']} cores, {load}, {versions}, {durable}, payload {found['payload_bytes']} bytes",
        "",
    ]
    for name, result in found["results"].items():
        lines.append(name)
        lines += [f"    {key:28} {value:>14,g}" for key, value in result.items() if key != "rounds"]
    lines += ["", *(f"{name:60} x {value:g}" for name, value in found["ratios"].items()), ""]
    for goal in found["goals"]:
        verdict = "reached" if goal["reached"] else "MISSED"
        lines.append(f"{verdict:8} {goal['what']:62} {goal['goal']:>12}   measured {goal['measured']:,g}")
    return "\n".join([*lines, *found["notes"]])


async def until(holds: Callable[[], Awaitable[bool]], every: float = 0.05, patience: float = 120.0) -> None:
    """Wait until something holds; raises ``TimeoutError`` when it does not come."""
    async with asyncio.timeout(patience):
        while not await holds():  # noqa: ASYNC110  # the other process has no event for us
            await asyncio.sleep(every)
