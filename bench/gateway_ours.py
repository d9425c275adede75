"""How is Ulak's gateway put under the load of the peers: a whole node, and the gateway with its store in memory?"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from bench import stack
from bench.common import USERS, Measure, Server
from bench.gateway_client import SERVER_CORE, Client, client, core
from bench.gateway_servers import MARK, Running, by_lines, calm, process, taken

PATH, SUBPROTOCOL, READY = "/v1/socket", "ulak.v1", '"welcome"'
TEXT = "x" * 104


@asynccontextmanager
async def node(url: str, roles: str) -> AsyncIterator[tuple[stack.Running, Running]]:
    """A node on the servers' core, told to send by its API."""
    with core(SERVER_CORE):
        started = stack.node(url, roles)
        at = await started.__aenter__()
    try:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {at.key}"}) as session:

            async def tell(what: str, number: int) -> None:
                assert what == "broadcast"
                for _ in range(number):
                    body = {"data": {"mark": MARK, "number": 1_000_001, "text": TEXT}}
                    async with session.post(f"{at.url}/v1/sockets/broadcast", json=body) as answer:
                        if not answer.ok:
                            raise RuntimeError(f"a broadcast was refused: {answer.status} {await answer.text()}")

            yield at, Running(at.pid, urlsplit(at.url).port or 0, PATH, tell, SUBPROTOCOL, READY)
    finally:
        await started.__aexit__(None, None, None)


async def tokens(at: stack.Running, number: int) -> list[str]:
    """A token for each of u0, u1, …: issued by the API and shown to nobody before."""
    found = [""] * number
    numbers = iter(range(number))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {at.key}"}) as session:

        async def caller() -> None:
            for i in numbers:
                async with session.post(f"{at.url}/v1/users/u{i}/tokens", json={"ttl": 86_400}) as answer:
                    found[i] = (await answer.json())["token"]

        await asyncio.gather(*(caller() for _ in range(16)))
    return found


def hellos(said: list[str], name: str = "token") -> list[str]:
    """First frames."""
    return [json.dumps({"op": "hello", name: text}) for text in said]


async def fan_out(at: Server, sockets: int, go: Callable[[Running, Client], Awaitable[Measure]]) -> Measure:
    """One round of broadcasts through a whole node."""
    async with at.database() as url, node(url, "api,gateway,worker") as (api, server):
        said = hellos(await tokens(api, sockets))
        async with client(server.port, PATH, SUBPROTOCOL) as load:
            await load.open(sockets, READY, said)
            before = at.cpu()
            measure = await go(server, load)
            measure.postgres = at.cpu() - before
            return measure


@asynccontextmanager
async def alone(at: Server, sockets: int) -> AsyncIterator[tuple[Running, list[str]]]:
    """The doors of a node whose inboxes are in memory, told by lines to say that one of ``sockets`` users has news."""
    async with (
        at.database() as url,
        process(sys.executable, "-m", "bench.gateway_alone", url, str(sockets), environment=stack.clean({})) as (
            server,
            said,
        ),
    ):
        api = stack.Running(server.pid, str(said["url"]), await stack.new_key(url))
        port = urlsplit(api.url).port or 0
        running = Running(server.pid, port, PATH, by_lines(server), SUBPROTOCOL, READY, acks=True)
        yield running, hellos(await tokens(api, sockets))


async def targeted(at: Server, sockets: int, go: Callable[[Running, Client], Awaitable[Measure]]) -> Measure:
    """One round of news to random users of the gateway alone."""
    async with alone(at, sockets) as (server, said), client(server.port, PATH, SUBPROTOCOL) as load:
        await load.open(sockets, READY, said)
        return await go(server, load)


async def whole_way(at: Server, items: int, callers: int, batch: int) -> Measure:
    """One round of notifications to users with an open socket, from the request to the frame."""
    async with (
        at.database() as url,
        node(url, "api,gateway,worker") as (api, server),
        client(server.port, PATH, SUBPROTOCOL) as load,
    ):
        await load.open(USERS, READY, hellos(await tokens(api, USERS)))
        await load.expect(f"mark {MARK}", "ack 20")

        async def send(number: int) -> float:
            await load.expect(f"step {number}")
            body = {"type": "inbox", "data": {"number": 1, "text": f"{MARK} {TEXT}"}}
            requests = await stack.load(api, number, callers, batch, **body)
            seconds: float = (await requests.go())["seconds"]
            await load.step()
            return seconds

        await send(1_000)
        before, postgres, seen = taken(api.pid), at.cpu(), await load.ask("report")
        measure = Measure(items, await send(items))
        after, then = taken(api.pid), await load.ask("report")
        measure.cpu, measure.postgres = after.cpu - before.cpu, at.cpu() - postgres
        return _whole(measure, after.user - before.user, seen, then)


def _whole(measure: Measure, user: float, seen: dict[str, Any], then: dict[str, Any]) -> Measure:
    items = measure.items
    measure.more |= {
        "cpu_s_per_1m": measure.cpu * 1e6 / items,
        "user_s_per_1m": user * 1e6 / items,
        "postgres_s_per_1m": measure.postgres * 1e6 / items,
        "messages_per_frame": (then["messages"] - seen["messages"]) / max(1, then["frames"] - seen["frames"]),
        "acks_per_message": (then["acks"] - seen["acks"]) / items,
    }
    return measure


async def idle(
    at: Server, many: int, opened: Callable[[Running, Client, int, list[str]], Awaitable[Measure]]
) -> Measure:
    """One round: sockets that hear nothing; then the same clients come back, with tickets if there are any."""
    async with at.database() as url, node(url, "api,gateway,worker") as (api, server):
        said = hellos(await tokens(api, many))
        async with client(server.port, PATH, SUBPROTOCOL) as load:
            before = at.cpu()
            measure = await opened(server, load, many, said)
            measure.postgres = at.cpu() - before
            measure.more["connect_postgres_ms"] = measure.postgres * 1e3 / many
            tickets = await load.tickets()
            measure.more["ticket_cpu_ms"] = await _back(server, load, tickets) if all(tickets) else 0.0
            return measure


async def _back(server: Running, load: Client, tickets: list[str]) -> float:
    """CPU in ms of coming back with a ticket."""
    await load.ask("close")
    await calm(server.pid)  # the node has seen them go
    before = taken(server.pid)
    await load.open(len(tickets), READY, hellos(tickets, "ticket"))
    return (taken(server.pid).cpu - before.cpu) * 1e3 / len(tickets)
