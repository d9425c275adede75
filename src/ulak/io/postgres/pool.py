"""How does Ulak talk to PostgreSQL: which connections, which transactions, which plans?

One thin typed module over asyncpg (which ships no types of its own). Nothing here or above relies on
session state, so everything works behind a transaction-pooling PgBouncer with
``statement_cache_size=0``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import asyncpg

Row = Mapping[str, Any]

PINS = "; ".join(
    f"SET LOCAL {setting}"
    for setting in (
        # Hot tables change too fast for statistics to be right; these statements have one good plan,
        # nested loops over primary keys, and on a never-analysed table anything else is 7 times dearer.
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "enable_bitmapscan = off",
        "jit = off",
    )
)

ABANDONED = "SET LOCAL idle_in_transaction_session_timeout = '10s'"
"""How long the locks of a process that stands still in mid-transaction, or has lost its network, bind the others."""


class Connection(Protocol):
    """The part of asyncpg's connection that Ulak uses."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run a statement; its status. Without ``timeout`` (seconds) the pool's own."""

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        """Run a statement for each tuple of arguments."""

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """All rows."""

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """The first row."""

    async def fetchval(self, query: str, *args: object) -> Any:
        """The first column of the first row."""

    async def prepare(self, query: str) -> Any:
        """A prepared statement."""

    def transaction(self) -> Any:
        """A block that commits at its end."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is untyped
    """asyncpg's connection without the round trip that resets session state we never set."""

    def get_reset_query(self) -> str:
        return ""


class Pool:
    """A bounded set of connections to one database."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(
        cls, url: str, *, size: int = 10, statement_cache: int = 200, name: str = "ulak", timeout: float = 10.0
    ) -> Pool:
        """Connect; raises ``OSError`` or ``asyncpg.PostgresError`` when the server can't be reached."""
        settings = {"application_name": name} if statement_cache else {}
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            connection_class=_Connection,
            statement_cache_size=statement_cache,
            max_inactive_connection_lifetime=300.0,
            command_timeout=30.0,
            timeout=timeout,
            server_settings=settings,
        )
        return cls(pool)

    async def close(self) -> None:
        """Wait for the connections in use, then close all."""
        await self._pool.close()

    def terminate(self) -> None:
        """Close all at once."""
        self._pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float = 10.0) -> AsyncIterator[Connection]:
        """Borrow a connection; waits at most ``timeout`` seconds for a free one."""
        async with self._pool.acquire(timeout=timeout) as connection:
            yield cast("Connection", connection)

    @contextlib.asynccontextmanager
    async def transaction(self, *first: str, timeout: float = 10.0) -> AsyncIterator[Connection]:
        """Borrow a connection inside a transaction; commits at the end, rolls back on an error.

        ``first`` are parameterless statements that ride in the round trip of ``BEGIN``: a lock, pins.
        """
        async with self._pool.acquire(timeout=timeout) as raw:
            connection = cast("Connection", raw)
            try:
                await connection.execute("; ".join(("BEGIN", ABANDONED, *first)))
                yield connection
                _check(await connection.execute("COMMIT"))
            except BaseException:
                # A BEGIN that was cancelled on its way may still open a transaction: roll back whatever there is.
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    await connection.execute("ROLLBACK")
                raise

    async def execute(self, query: str, *args: object) -> str:
        """Run one statement in a transaction of its own."""
        async with self.connection() as connection:
            return await connection.execute(query, *args)

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """Run one statement in a transaction of its own; all its rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Run one statement in a transaction of its own; its first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        """Run one statement in a transaction of its own; the first column of its first row."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *args)


def _check(status: str) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error."""
    if status != "COMMIT":
        raise asyncpg.InFailedSQLTransactionError("the transaction had failed; nothing was committed")
