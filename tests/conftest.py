"""What every test may use: a real PostgreSQL, fresh databases, Hypothesis profiles."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest

from ulak.core.ids import new_id
from ulak.io.embedded import postgres, valkey
from ulak.io.postgres.migrate import migrate
from ulak.io.postgres.pool import Pool

hypothesis.settings.register_profile("default", max_examples=12, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("thorough", max_examples=1_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("ULAK_HYPOTHESIS", "ci" if "CI" in os.environ else "default"))


@pytest.fixture
def anyio_backend() -> str:
    """Ulak runs on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.RunningPostgres]:
    """One embedded PostgreSQL for the whole run, in a directory that its account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="ulak-test-", dir="/tmp"))
    folder.chmod(0o755)
    running = postgres.start(folder / "pg")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _named(url: str, database: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def template_url(server: postgres.RunningPostgres) -> str:
    """A migrated database that the others are copied from."""

    async def build() -> str:
        connection = await asyncpg.connect(server.superuser_url)
        await connection.execute("CREATE DATABASE template_ulak OWNER ulak")
        await connection.close()
        url = _named(server.url, "template_ulak")
        pool = await Pool.open(url, size=2)
        await migrate(pool)
        await pool.close()
        return url

    return asyncio.run(build())


@contextmanager
def _fresh(server: postgres.RunningPostgres) -> Iterator[str]:
    """A copy of the template; its log is written, because copying files costs two checkpoints."""
    name = f"t_{secrets.token_hex(6)}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(server.superuser_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run(f'CREATE DATABASE "{name}" TEMPLATE template_ulak OWNER ulak STRATEGY wal_log'))
    yield _named(server.url, name)
    asyncio.run(run(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def database_url(server: postgres.RunningPostgres, template_url: str) -> Iterator[str]:
    """A fresh, migrated database of the test's own."""
    del template_url
    with _fresh(server) as url:
        yield url


@pytest.fixture(scope="module")
def module_url(server: postgres.RunningPostgres, template_url: str) -> Iterator[str]:
    """A migrated database that the tests of one module share."""
    del template_url
    with _fresh(server) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a fresh, migrated database."""
    pool = await Pool.open(database_url, size=8)
    yield pool
    pool.terminate()


_EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
                AND tablename NOT IN ('installation', 'migrations', 'changes', 'tenants', 'gate')
    LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
    DELETE FROM tenants WHERE tenant <> 0;
END $$"""


@pytest.fixture
async def store(module_url: str) -> AsyncIterator[Pool]:
    """A pool on a database that the module's tests share: empty, and many times cheaper than one of one's own."""
    pool = await Pool.open(module_url, size=8)
    await pool.execute(_EMPTY)
    yield pool
    pool.terminate()


@pytest.fixture
def valkey_server() -> Iterator[valkey.RunningValkey]:
    """A Valkey of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="ulak-test-", dir="/tmp"))
    folder.chmod(0o711)
    running = valkey.start(folder / "bus")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_uuid() -> Any:
    """Make ids in time order."""
    return lambda: new_id(time.time_ns() // 1_000_000, os.urandom(10))
