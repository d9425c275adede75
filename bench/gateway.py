"""What does a message cost on an open socket, and what does a socket cost that hears nothing?

(a) fan-out: broadcasts to 1,000 sockets, two under way; (b) targeted: messages to random sockets of 1,000, each encoded
for itself and sent in a turn of the loop of its own, as they come from events of their own; (c) memory of an idle
socket at 10,000; (d) CPU of opening 10,000, 64 at a time. The peers are Node ``ws``, Socket.IO and Python
``websockets``, which have no users, revisions, acks or limits; ours has all of them on.

What counts is CPU-seconds of the server's processes; PostgreSQL's are told apart. Servers run on one core, the load
client on another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from bench import gateway_ours as ours
from bench.common import Contestant, Goal, Measure, Options, Report, Server, in_turn, rounded
from bench.gateway_client import Client, client
from bench.gateway_servers import MARK, Running, calm, install, most_sockets, peer, raise_limits

SOCKETS = 1_000
WIDTH = 64
"""Handshakes that are under way at a time."""

CALLERS = 16
"""Who post notifications one by one."""

CHUNK = 100
"""Targeted messages that are under way at a time, twice."""

OURS, ALONE, WS, SOCKETIO, WEBSOCKETS = "ulak node", "ulak gateway alone", "Node ws", "Socket.IO", "websockets"
PEERS = {WS: "ws", SOCKETIO: "socketio", WEBSOCKETS: "websockets"}


async def bench(at: Server, options: Options) -> Report:
    """Measure it."""
    raise_limits()
    many = min(10_000 if not options.quick else 1_000, most_sockets())
    node = await asyncio.to_thread(install)
    names = [name for name in PEERS if node is not None or name == WEBSOCKETS]
    report = Report("gateway", 200)
    fewer = Options(min(3, options.rounds), options.quick, options.scale)
    for kind, contestants, chosen in (
        ("fan-out", _fan_out(at, options, names), options),
        ("targeted", _targeted(at, options, names), options),
        ("idle", _idle(at, many, names), fewer),
    ):
        found = await in_turn(contestants, chosen)
        report.results |= {f"{kind}: {name}": result for name, result in found.items()}
    _judge(report, many)
    if len(names) < len(PEERS):
        report.notes.append("no Node here: its peers are missing, and goals beside them can't be judged")
    return report


def _fan_out(at: Server, options: Options, peers: list[str]) -> dict[str, Contestant]:
    number = max(15, options.items(150_000) // SOCKETS)

    async def go(server: Running, load: Client) -> Measure:
        return await fan_out(server, load, number)

    found: dict[str, Contestant] = {OURS: lambda: ours.fan_out(at, SOCKETS, go)}
    return found | {name: partial(_by_peer, name, go) for name in peers}


def _targeted(at: Server, options: Options, peers: list[str]) -> dict[str, Contestant]:
    number = options.items(60_000)

    async def go(server: Running, load: Client) -> Measure:
        return await targeted(server, load, number)

    found: dict[str, Contestant] = {
        ALONE: lambda: ours.targeted(at, SOCKETS, go),
        f"{OURS}, one POST each to the frame": lambda: ours.whole_way(at, number // 6, CALLERS, 1),
        f"{OURS}, POST of 1,000 to the frame": lambda: ours.whole_way(at, number // 2, 4, 1_000),
    }
    return found | {name: partial(_by_peer, name, go) for name in peers}


def _idle(at: Server, many: int, peers: list[str]) -> dict[str, Contestant]:
    found: dict[str, Contestant] = {OURS: lambda: ours.idle(at, many, opened)}
    return found | {name: partial(_idle_peer, name, many) for name in peers}


async def _by_peer(name: str, go: Callable[[Running, Client], Awaitable[Measure]]) -> Measure:
    async with peer(PEERS[name]) as server, client(server.port, server.path) as load:
        await load.open(SOCKETS, server.ready, _hellos(server, SOCKETS))
        return await go(server, load)


async def fan_out(server: Running, load: Client, number: int) -> Measure:
    """One round: ``number`` broadcasts to ``SOCKETS`` sockets, two under way."""
    await load.expect(f"mark {MARK}", f"step {SOCKETS}")
    await _told(server, load, 10)
    return await _measured(server, load, number * SOCKETS, lambda: _told(server, load, number))


async def _told(server: Running, load: Client, number: int) -> None:
    """Broadcast, two under way."""
    await server.tell("broadcast", 1)
    for left in range(number - 1, -1, -1):
        if left:
            await server.tell("broadcast", 1)
        await load.step()


async def targeted(server: Running, load: Client, number: int) -> Measure:
    """One round: ``number`` messages to random sockets of ``SOCKETS``, two chunks under way."""
    await load.expect(f"mark {MARK}", f"step {CHUNK}", f"ack {20 if server.acks else 0}")

    async def run(chunks: int) -> None:
        await server.tell("targeted", CHUNK)
        for left in range(chunks - 1, -1, -1):
            if left:
                await server.tell("targeted", CHUNK)
            await load.step()

    await run(20)
    return await _measured(server, load, number, lambda: run(number // CHUNK))


async def _measured(server: Running, load: Client, items: int, work: Callable[[], Awaitable[None]]) -> Measure:
    """CPU of the server, by mode, around something; and how busy the load client was."""
    measure, seen, before = Measure(items), await load.ask("report"), server.taken()
    began = time.perf_counter()
    await work()
    measure.seconds = time.perf_counter() - began
    after, then = server.taken(), await load.ask("report")
    measure.cpu = after.cpu - before.cpu
    measure.more |= {
        "cpu_s_per_1m": measure.cpu * 1e6 / items,
        "user_s_per_1m": (after.user - before.user) * 1e6 / items,
        "system_s_per_1m": (after.system - before.system) * 1e6 / items,
        "messages_per_frame": (then["messages"] - seen["messages"]) / max(1, then["frames"] - seen["frames"]),
        "acks_per_message": (then["acks"] - seen["acks"]) / items,
        "client_busy": (then["cpu"] - seen["cpu"]) / measure.seconds,
    }
    return measure


async def _idle_peer(name: str, many: int) -> Measure:
    async with peer(PEERS[name]) as server, client(server.port, server.path) as load:
        return await opened(server, load, many, _hellos(server, many))


async def opened(server: Running, load: Client, many: int, hellos: list[str]) -> Measure:
    """One round: open ``many`` sockets, 64 at a time, then look at the memory."""
    await load.open(200, server.ready, hellos[:200], WIDTH)
    await load.ask("close")
    await calm(server.pid)  # the server has seen them go, and all is as before the first
    before = server.taken()
    seconds = (await load.open(many, server.ready, hellos, WIDTH))["seconds"]
    after = server.taken()
    await calm(server.pid)  # and what was needed for opening alone is given back
    measure = Measure(many, seconds, cpu=after.cpu - before.cpu)
    measure.more |= {
        "connect_cpu_ms": measure.cpu * 1e3 / many,
        "connect_user_ms": (after.user - before.user) * 1e3 / many,
        "idle_kb": (server.taken().memory - before.memory) / 1024 / many,
    }
    return measure


def _hellos(server: Running, number: int) -> list[str]:
    return [server.hello] * number if server.hello else []


def _judge(report: Report, many: int) -> None:
    def figure(name: str, key: str) -> float:
        return float(report.results.get(name, {}).get(key, 0.0))

    def ratio(kind: str, own: str, name: str, key: str) -> float:
        theirs = figure(f"{kind}: {name}", key)
        value = rounded(figure(f"{kind}: {own}", key) / theirs) if theirs else float("inf")
        if theirs:
            report.ratios[f"{kind}, {key}: {own} / {name}"] = value
        return value

    for kind, own, wishes in (
        ("fan-out", OURS, {"cpu_s_per_1m": (0.85, 0.72)}),
        ("targeted", ALONE, {"cpu_s_per_1m": (0.85, 0.65)}),
        ("idle", OURS, {"idle_kb": (), "connect_cpu_ms": ()}),
    ):
        for key, wanted in wishes.items():
            ratios = {name: ratio(kind, own, name, key) for name in PEERS}
            report.goals += [
                Goal(f"{kind}: CPU a message, x Node ws{', then' if i else ''}", limit, ratios[WS], most=True)
                for i, limit in enumerate(wanted)
            ]
    idle = f"idle: {OURS}"
    report.goals += [
        Goal(f"kB of memory an idle socket at {many:,}", 6, figure(idle, "idle_kb"), most=True),
        Goal("ms CPU a connect, token never seen before", 0.45, figure(idle, "connect_cpu_ms"), most=True),
        Goal("ms CPU a connect with a ticket", 0.3, figure(idle, "ticket_cpu_ms") or float("inf"), most=True),
    ]
