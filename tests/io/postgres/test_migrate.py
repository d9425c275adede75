"""Does a database get its schema once, whole, and never by code that does not know it?"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from ulak.io.embedded.postgres import RunningPostgres
from ulak.io.postgres.migrate import Migration, MigrationError, available, migrate
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

ONE = Migration(1, "one", "pre", "CREATE TABLE one (x int); INSERT INTO one VALUES (1)")
TWO = Migration(2, "two", "pre", "INSERT INTO one VALUES (2); CREATE TABLE two (y int)")
GONE = Migration(3, "gone", "post", "DROP TABLE two")


@pytest.fixture
async def empty(server: RunningPostgres) -> AsyncIterator[str]:
    name = f"m_{secrets.token_hex(6)}"
    superuser = await asyncpg.connect(server.superuser_url)
    await superuser.execute(f'CREATE DATABASE "{name}" OWNER ulak')
    yield urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))
    await superuser.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await superuser.close()


@pytest.fixture
async def pool(empty: str) -> AsyncIterator[Pool]:
    pool = await Pool.open(empty, size=2)
    yield pool
    pool.terminate()


async def tables(pool: Pool) -> set[str]:
    return {r["tablename"] for r in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


async def test_nodes_that_start_at_once_apply_each_file_once(empty: str) -> None:
    pools = await asyncio.gather(*(Pool.open(empty, size=2) for _ in range(4)))
    try:
        done = await asyncio.gather(*(migrate(pool, migrations=[ONE, TWO]) for pool in pools))
        assert sorted(name for names in done for name in names) == ["0001_one.pre", "0002_two.pre"]
        assert [r["x"] for r in await pools[0].fetch("SELECT x FROM one ORDER BY x")] == [1, 2]
        assert await migrate(pools[1], migrations=[ONE, TWO]) == []
    finally:
        for pool in pools:
            pool.terminate()


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(pool: Pool) -> None:
    await migrate(pool, migrations=[ONE])
    assert await migrate(pool, migrations=[replace(ONE, sql=ONE.sql + "\n")]) == []  # an editor's last line end
    with pytest.raises(MigrationError, match="was changed after it was applied"):
        await migrate(pool, migrations=[replace(ONE, sql=ONE.sql + "; SELECT 1"), TWO])
    assert "two" not in await tables(pool)


async def test_a_database_from_the_future_is_refused(pool: Pool) -> None:
    await migrate(pool, migrations=[ONE, TWO])
    with pytest.raises(MigrationError, match="at migration 0002, this code knows 0001"):
        await migrate(pool, migrations=[ONE])


async def test_removals_wait_for_their_command_and_are_known_afterwards(pool: Pool) -> None:
    files = [ONE, TWO, GONE]
    assert await migrate(pool, migrations=files) == ["0001_one.pre", "0002_two.pre"]
    assert "two" in await tables(pool)
    assert await migrate(pool, migrations=files, post=True) == ["0003_gone.post"]
    assert "two" not in await tables(pool)
    assert await migrate(pool, migrations=files) == []


async def test_a_file_that_fails_leaves_nothing(pool: Pool) -> None:
    broken = replace(TWO, sql="CREATE TABLE two (y int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(pool, migrations=[ONE, broken])
    assert await tables(pool) == {"migrations", "one"}
    assert await migrate(pool, migrations=[ONE, TWO]) == ["0002_two.pre"]


async def test_this_release_makes_its_own_schema(pool: Pool) -> None:
    assert await migrate(pool) == [f"{m.number:04}_{m.name}.{m.phase}" for m in available() if m.phase == "pre"]
    assert {"notifications", "deliveries", "ready", "leases"} <= await tables(pool)
