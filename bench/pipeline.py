"""How many notifications a second go all the way, and how fast does one reach a large topic?

The whole way is HTTP batch, accept, plan, attempt and settled, through the real server process on the no-op channel.
The topic has 100,000 subscribers, in_app only; it is done when every delivery and every inbox item is committed. The
peer is pgqueuer: jobs with the same payload put in by batches and processed by its own worker, without any of the
looking up, deciding and recording.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import Any

import asyncpg

from bench import stack
from bench.common import Contestant, Goal, Measure, Options, Report, Server, in_turn, measured, stored, until, written
from bench.queue import peer


async def bench(at: Server, options: Options) -> Report:
    """Measure it."""
    items, fans = options.items(50_000), options.items(100_000)
    contestants: dict[str, Contestant] = {
        "accept to settled, batch-fed over http": lambda: pipeline(at, items),
        "one notification to a topic, in_app": lambda: fan_out(at, fans),
        "peer pgqueuer, enqueue and process": lambda: peer(at, items // 2),
    }
    report = Report("pipeline", stack.PAYLOAD, await in_turn(contestants, options))
    whole, topic, _ = names = list(report.results)
    report.ratio("accept to settled / pgqueuer", whole, names[2])
    report.ratio("topic deliveries / pgqueuer", topic, names[2])
    report.goals = [
        Goal("settled a second, batch-fed, no-op channel", 8_000, report.results[whole]["per_second"]),
        Goal("topic deliveries with inbox items a second", 10_000, report.results[topic]["per_second"]),
        Goal("topic deliveries with inbox items a second, then", 20_000, report.results[topic]["per_second"]),
        Goal(
            "stored bytes of a settled one-delivery notification",
            2_500,
            report.results[whole]["stored_bytes_per_item"],
            most=True,
        ),
    ]
    return report


async def pipeline(at: Server, items: int) -> Measure:
    """One round from the first byte sent to the last outcome committed."""
    async with at.database() as url:
        async with stack.node(url, "api,gateway,worker") as node:
            warm = await stack.load(node, 2_000, 4, 1_000)
            await warm.go()
            await stack.settled(node, 2_000)
            before = await stored(url)
            load = await stack.load(node, items, 4, 1_000)
            async with measured(at, url, items, node.cpu) as measure:
                began = time.perf_counter()
                seen = await load.go()
                measure.more["accepted_per_second"] = items / seen["seconds"]
                await stack.settled(node, items + 2_000)
                seconds = time.perf_counter() - began
            measure.seconds = seconds
            stack.note_load(measure, seen)
        measure.more["stored_bytes_per_item"] = (await stored(url) - before) / items
        await _check(url, "SELECT count(*) FROM deliveries WHERE state = 'accepted'", items + 2_000)
        await _check(url, "SELECT count(*) FROM outcomes", items + 2_000)
        measure.rows += await written(url)
        return measure


async def fan_out(at: Server, fans: int) -> Measure:
    """One round of one request, from its first byte to the last inbox item committed."""
    async with at.database() as url:
        await _subscribe(url, fans)
        async with stack.node(url, "api,gateway,worker") as node:
            connection = await asyncpg.connect(url)
            async with measured(at, url, fans, node.cpu) as measure:
                began = time.perf_counter()
                await asyncio.to_thread(_post, node, {**stack.BODY, "type": "inbox", "to": [{"topic": "all"}]})

                async def planned() -> bool:
                    return not await connection.fetchval("SELECT EXISTS (SELECT FROM plan_work)")

                await until(planned, every=0.02)
                seconds = time.perf_counter() - began
            measure.seconds = seconds
            await connection.close()
        await _check(url, "SELECT count(*) FROM deliveries WHERE state = 'accepted'", fans)
        await _check(url, "SELECT count(*) FROM inbox_items", fans)
        measure.rows += await written(url)
        return measure


async def _subscribe(url: str, fans: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO users (tenant, id, email) SELECT 0, 'fan' || i, 'fan' || i || '@example.com' "
        "FROM generate_series(1, $1::int) AS i",
        fans,
    )
    await connection.execute(
        "INSERT INTO subscriptions (tenant, topic, user_id) "
        "SELECT 0, 'all', 'fan' || i FROM generate_series(1, $1::int) AS i",
        fans,
    )
    await connection.close()


def _post(node: stack.Running, body: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {node.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{node.url}/v1/notifications", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:  # loopback, our own node
        if answer.status != 202:
            raise RuntimeError(f"the topic's notification was answered with {answer.status}")


async def _check(url: str, question: str, expected: int) -> None:
    """A rate counts only if everything is there."""
    connection = await asyncpg.connect(url)
    found = await connection.fetchval(question)
    await connection.close()
    if found != expected:
        raise RuntimeError(f"{question}: {found} instead of {expected}")
