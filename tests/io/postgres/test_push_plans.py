"""Do statements of the hot path look at devices for pushes only, and by an index then?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from ulak.io.postgres.pool import PINS, Pool
from ulak.io.postgres.queries import load

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

ROWS = 20
DEVICES = (
    "INSERT INTO devices (tenant, id, user_id, name, app, kind, platform, address, digest)"
    " SELECT 0, 'dev_' || i, 'u' || i, 'phone', '', 'apns', 'ios', 'a' || i, sha256(i::text::bytea)"
    " FROM generate_series(1, 2000) AS i"
)
INBOXES = "INSERT INTO inboxes (tenant, user_id) SELECT 0, 'u' || i FROM generate_series(1, 2000) AS i"
DELIVERIES = """
WITH n AS (
    INSERT INTO notifications (tenant, id, type, catalog, lane, recipients, expires_at, data)
    SELECT 0, gen_random_uuid(), 'order', 1, 1, 1, now() + interval '1 day', '{}' FROM generate_series(1, $2::int)
    RETURNING id, expires_at
)
INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, category, class, lane, bulkhead,
                        resend, expires_at, decision)
SELECT 0, id, id, 'u' || row_number() OVER (), $1, 'dev_' || row_number() OVER (), 'pending', 'orders', 'transactional',
       1, 'x/y', true, expires_at, '{}' FROM n RETURNING id
"""
LEASE = (
    "INSERT INTO leases (token, boot, expires_at, solo, lane, bulkhead, tenants, deliveries, ns, crashes, buckets)"
    " VALUES (7, 1, now() + interval '1 hour', false, 1, 'x/y', '{}', '{}', '{}', '{}', '{}')"
)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


async def looked(pool: Pool, sql: str, *arguments: object) -> dict[str, tuple[str, int]]:
    """Table to the kind of look that a statement takes at it, and pages that it touches."""
    async with pool.transaction(PINS) as connection:
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *arguments)
    (plan,) = json.loads(rows[0]["QUERY PLAN"])
    return {
        node["Relation Name"]: (node["Node Type"], node["Shared Hit Blocks"] + node["Shared Read Blocks"])
        for node in nodes(plan["Plan"])
        if node.get("Relation Name") in ("devices", "inboxes")
    }


async def begin(pool: Pool, channel: str) -> dict[str, tuple[str, int]]:
    for statement in (DEVICES, INBOXES, LEASE):
        await pool.execute(statement)
    ids: list[UUID] = [row["id"] for row in await pool.fetch(DELIVERIES, channel, ROWS)]
    return await looked(pool, load("attempt").begin, 7, [0] * ROWS, ids, [1] * ROWS, [], "account", 30.0)


async def test_the_last_check_of_an_email_touches_no_device(store: Pool) -> None:
    assert await begin(store, "email") == {"devices": ("Index Scan", 0), "inboxes": ("Index Scan", 0)}


async def test_the_last_check_of_a_push_finds_its_device_by_the_key(store: Pool) -> None:
    for kind, pages in (await begin(store, "push")).values():
        assert kind == "Index Scan"
        assert ROWS <= pages <= ROWS * 6


@pytest.mark.parametrize("pushes", [False, True])
async def test_a_plan_looks_for_devices_where_it_pushes(store: Pool, pushes: bool) -> None:
    await store.execute(DEVICES)
    users = [f"u{n}" for n in range(1, ROWS + 1)]
    found = await looked(store, load("plan").facts, [0] * ROWS, users, [], pushes)
    kind, pages = found.get("devices", ("Index Scan", 0))
    assert kind == "Index Scan"
    assert (ROWS <= pages <= ROWS * 6) if pushes else pages == 0
