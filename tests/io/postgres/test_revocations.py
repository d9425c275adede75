"""Does the log of revocations skip nothing, and do the installation's secrets rotate once?"""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tests.support import eventually
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load
from ulak.io.postgres.revocations import LIFE, Revocations
from ulak.io.postgres.secrets import Purpose, Secrets

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


async def test_an_entry_says_whom_it_concerns_from_when_and_until_when(store: Pool) -> None:
    log, before = Revocations(store), time.time()
    position = await log.position()
    one, every = await log.add(7, "ann", "tok_1"), await log.add(7, "ann", None)
    assert [one.id, every.id] == [position + 1, position + 2]
    assert (one.tenant, one.user, one.token_id, every.token_id) == (7, "ann", "tok_1", None)
    assert before - 1 < one.not_before <= every.not_before < time.time() + 1
    assert every.expires_at == pytest.approx(every.not_before + LIFE, abs=1)
    assert await log.since(position) == [one, every]
    assert await log.since(one.id) == [every]
    assert await log.position() == (await log.versions())["revocations"] == every.id


async def test_ids_commit_in_order_without_holes(store: Pool) -> None:
    """One that waits for another's commit gets the later id, though it began first: no reader ever skips it."""
    log = Revocations(store)
    position = await log.position()
    async with store.transaction() as open_one:
        first = await open_one.fetchrow(load("revocations").add, 0, "a", None, LIFE)
        waiting = asyncio.create_task(log.add(0, "b", None))
        await eventually(lambda: _waits(store))
        assert await log.since(position) == []
        assert not waiting.done()
    second = await waiting
    assert first is not None
    assert [first["id"], second.id] == [position + 1, position + 2]
    assert first["not_before"] <= second.not_before
    await asyncio.gather(*(log.add(0, str(n), None) for n in range(20)))
    assert [entry.id for entry in await log.since(position)] == list(range(position + 1, position + 23))


async def _waits(store: Pool) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await store.fetchval(waiting))


async def test_what_can_matter_no_longer_is_neither_read_nor_kept(store: Pool) -> None:
    log = Revocations(store)
    old, new = await log.add(0, "a", None), await log.add(0, "b", None)
    await store.execute("UPDATE revocations SET expires_at = now() - interval '1 second' WHERE id = $1", old.id)
    assert await log.since(0) == [new]
    await log.purge()
    assert await store.fetchval("SELECT count(*) FROM revocations") == 1
    assert await log.position() == new.id


async def test_a_secret_is_made_once_and_rotates_when_it_is_old(store: Pool) -> None:
    secrets = Secrets(store)
    made = await asyncio.gather(*(secrets.rotate(Purpose.TICKET, os.urandom(32), 60) for _ in range(6)))
    assert sum(made) == 1
    (first,) = (await secrets.all(Purpose.TICKET)).values()
    assert not await secrets.rotate(Purpose.TICKET, os.urandom(32), 60)
    assert await secrets.rotate(Purpose.TICKET, b"n" * 32, -1)
    held = await secrets.all(Purpose.TICKET)
    assert list(held.items()) == [(1, first), (2, b"n" * 32)]
    assert await secrets.all(Purpose.LINK) == {}


async def test_every_node_is_told_of_a_rotation(store: Pool) -> None:
    log, secrets = Revocations(store), Secrets(store)
    before = (await log.versions())["secrets"]
    await secrets.rotate(Purpose.TICKET, os.urandom(32), 60)
    assert (await log.versions())["secrets"] == before + 1
    await secrets.rotate(Purpose.TICKET, os.urandom(32), 60)
    assert (await log.versions())["secrets"] == before + 1


async def test_only_retired_secrets_of_tickets_are_forgotten(store: Pool) -> None:
    secrets = Secrets(store)
    for secret in (b"a" * 32, b"b" * 32, b"c" * 32):
        await secrets.rotate(Purpose.TICKET, secret, -1)
    await secrets.delete(Purpose.TICKET, 60)
    assert len(await secrets.all(Purpose.TICKET)) == 3
    await secrets.delete(Purpose.TICKET, -1)
    assert await secrets.all(Purpose.TICKET) == {3: b"c" * 32}
    with pytest.raises(ValueError, match="outlive"):
        await secrets.delete(Purpose.LINK, 0)


async def test_a_short_secret_is_refused_by_the_schema(store: Pool) -> None:
    with pytest.raises(Exception, match="check"):
        await Secrets(store).rotate(Purpose.LINK, b"short", 60)
