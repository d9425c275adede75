"""Are the facts about a database read as they are?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from ulak.io.postgres import health, nodes
from ulak.io.postgres.migrate import Migration, available
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

NewId = Callable[[], UUID]


async def _delivery(store: Pool, identity: UUID, planned: str = "0 s") -> None:
    await store.execute(
        "INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, category, class, lane,"
        " bulkhead, resend, planned_at, expires_at, decision)"
        " VALUES (0, $1, $1, 'ada', 'email', 'a@b.c', 'pending', 'c', 'transactional', 1, 'email/mail',"
        " true, now() - $2::text::interval, now(), '{}')",
        identity,
        planned,
    )


async def _ready(store: Pool, identity: UUID, n: int = 1, bulkhead: str = "email/mail", bucket: int = 0) -> None:
    await store.execute(
        "INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n) VALUES (1, $1, $2, 0, $3, $4)",
        bulkhead,
        bucket,
        identity,
        n,
    )


async def test_the_server_tells_of_itself(store: Pool) -> None:
    async with store.connection() as connection:
        server = await health.read_server(connection, time.time)
    assert server.version >= 150000
    assert (server.fsync, server.full_page_writes, server.synchronous_commit) == (True, True, "on")
    assert not server.read_only
    assert 0 < server.connections <= server.max_connections
    assert abs(server.ahead) < 2


@pytest.mark.parametrize("shift", [-100.0, 100.0])
async def test_a_clock_that_differs_is_seen(store: Pool, shift: float) -> None:
    async with store.connection() as connection:
        server = await health.read_server(connection, lambda: time.time() + shift)
    assert server.ahead == pytest.approx(-shift, abs=2)


async def test_what_a_session_switched_off_is_seen(store: Pool) -> None:
    async with store.transaction(
        "SET LOCAL synchronous_commit = off", "SET LOCAL transaction_read_only = on"
    ) as session:
        server = await health.read_server(session, time.time)
    assert server.synchronous_commit == "off"
    assert server.read_only


async def test_an_open_transaction_is_found(store: Pool) -> None:
    async with store.transaction() as old:
        await old.execute("SELECT 1")
        await old.execute("SELECT pg_sleep(0.05)")
        async with store.connection() as connection:
            holders = await health.read_holders(connection)
    assert max(h.seconds for h in holders if "idle in transaction" in h.what) >= 0.05


async def test_hot_tables_are_looked_at(store: Pool) -> None:
    async with store.connection() as connection:
        names = {table.name for table in await health.read_tables(connection)}
    assert names == {"ready", "timers", "leases", "plan_work", "inboxes", "deliveries"}


async def test_the_schema_of_this_code_fits(store: Pool) -> None:
    async with store.connection() as connection:
        found = await health.read_schema(connection)
    assert (found.absent, found.newer, list(found.pending), list(found.changed)) == (False, False, [], [])


async def test_a_schema_of_another_code_does_not(store: Pool) -> None:
    known = available()
    older = [Migration(m.number, m.name, m.phase, m.sql + "--") for m in known]
    more = [*known, Migration(9000, "later", "pre", ""), Migration(9000, "later", "post", "")]
    async with store.connection() as connection:
        changed = await health.read_schema(connection, older)
        missing = await health.read_schema(connection, more)
        newer = await health.read_schema(connection, [])
    assert len(changed.changed) == len([m for m in known if m.phase == "pre"])
    assert (list(missing.pending), list(missing.later)) == (["9000_later.pre"], ["9000_later.post"])
    assert newer.newer


async def test_an_empty_queue_is_empty(store: Pool) -> None:
    async with store.connection() as connection:
        queue = await health.read_queue(connection)
    assert (list(queue.ready), list(queue.timers), list(queue.plans)) == ([], [], [])
    assert (queue.leases, queue.expired, queue.dead_plans, dict(queue.dead)) == (0, 0, 0, {})
    assert (dict(queue.dead_callbacks), queue.callbacks_late) == ({}, 0.0)


async def test_ready_rows_are_counted_by_place_and_the_oldest_head_found(store: Pool, new_uuid: NewId) -> None:
    young, old, other = new_uuid(), new_uuid(), new_uuid()
    await _delivery(store, young)
    await _delivery(store, old, "1 h")
    await _delivery(store, other, "10 s")
    await _ready(store, young)
    await _ready(store, old, bucket=7)
    await _ready(store, other, bulkhead="email/other")
    async with store.connection() as connection:
        places = {p.place: p for p in (await health.read_queue(connection)).ready}
    assert {name: place.rows for name, place in places.items()} == {"email/mail": 2, "email/other": 1}
    assert places["email/mail"].overdue == pytest.approx(3600, abs=60)
    assert places["email/other"].overdue == pytest.approx(10, abs=9)


async def test_a_row_that_is_tried_again_has_waited_since_its_retry_was_due(store: Pool, new_uuid: NewId) -> None:
    identity = new_uuid()
    await _delivery(store, identity, "1 h")
    await store.execute(
        "INSERT INTO outcomes (tenant, delivery, n, kind, reason, retry_at)"
        " VALUES (0, $1, 1, 'retry', 'r', now() - interval '5 s')",
        identity,
    )
    await _ready(store, identity, n=2)
    async with store.connection() as connection:
        (place,) = (await health.read_queue(connection)).ready
    assert place.overdue == pytest.approx(5, abs=4)


async def test_timers_and_plan_work_tell_how_late_they_are(store: Pool, new_uuid: NewId) -> None:
    await store.execute(
        "INSERT INTO timers (bulkhead, due_at, lane, bucket, tenant, delivery, n)"
        " SELECT b, now() + d * interval '1 s', 1, 0, 0, $1, 1"
        " FROM (VALUES ('email/a', -100), ('email/a', 50), ('email/b', 50)) AS v (b, d)",
        new_uuid(),
    )
    await store.execute(
        "INSERT INTO plan_work (tenant, notification, lane, ready_at, audience)"
        " VALUES (0, $1, 2, now() - interval '30 s', 'list')",
        new_uuid(),
    )
    async with store.connection() as connection:
        queue = await health.read_queue(connection)
    late = {p.place: (p.rows, round(p.overdue, -1)) for p in queue.timers}
    assert late == {"email/a": (2, 100), "email/b": (1, 0)}
    (plan,) = queue.plans
    assert (plan.place, plan.rows) == ("lane 2", 1)
    assert plan.overdue == pytest.approx(30, abs=9)


async def test_leases_and_the_dead_are_counted(store: Pool, new_uuid: NewId) -> None:
    await store.execute(
        "INSERT INTO leases"
        " SELECT token, 1, now() + d * interval '1 s', false, 1, 'email/a', '{}', '{}', '{}', '{}', '{}'"
        " FROM (VALUES (1, 60), (2, -40)) AS v (token, d)"
    )
    await store.execute(
        "INSERT INTO dead (tenant, delivery, n, lane, bulkhead, reason) VALUES (0, $1, 3, 1, 'email/a', 'crashed')",
        new_uuid(),
    )
    await store.execute(
        "INSERT INTO dead_plans (tenant, notification, lane, audience, reason) VALUES (0, $1, 1, 'list', 'crashed')",
        new_uuid(),
    )
    async with store.connection() as connection:
        queue = await health.read_queue(connection)
    assert (queue.leases, queue.expired) == (2, 1)
    assert queue.expired_for == pytest.approx(40, abs=9)
    assert (dict(queue.dead), queue.dead_plans) == ({"crashed": 1}, 1)


async def test_nodes_that_beat_are_seen_and_those_that_ended_are_not(store: Pool) -> None:
    name = os.urandom(4).hex()
    async with store.transaction() as connection:
        alive = await nodes.boot(connection, name, ["worker"])
        gone = await nodes.boot(connection, name, ["api"])
    await nodes.stop(store, gone)
    async with store.connection() as connection:
        found = [n for n in await health.read_nodes(connection) if n.name == name]
    assert [(n.boot, list(n.roles)) for n in found] == [(alive, ["worker"])]


async def test_callbacks_that_wait_or_were_put_aside_are_found(store: Pool) -> None:
    await store.execute(
        "INSERT INTO callbacks (tenant, provider, account, ready_at, headers, body)"
        " VALUES (0, 'ses', 'mail', now() - interval '2 minutes', '{}', '')"
    )
    await store.execute(
        "INSERT INTO dead_callbacks (id, tenant, provider, account, received_at, headers, body, reason)"
        " VALUES (1, 0, 'ses', 'mail', now(), '{}', '', 'unknown_event')"
    )
    async with store.connection() as connection:
        queue = await health.read_queue(connection)
    assert dict(queue.dead_callbacks) == {"unknown_event": 1}
    assert queue.callbacks_late >= 120
