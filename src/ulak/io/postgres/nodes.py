"""How does a node say that it lives, and learn what others changed?"""

from __future__ import annotations

from collections.abc import Sequence

from ulak.io.postgres.pool import Connection, Pool
from ulak.io.postgres.queries import load

_sql = load("nodes")


async def boot(connection: Connection, node: str, roles: Sequence[str]) -> int:
    """Register a start; the boot number marks all that this process will hold."""
    return int(await connection.fetchval(_sql.boot, node, list(roles)))


async def beat(pool: Pool, boot: int) -> dict[str, int]:
    """Say that this node lives; returns the numbers of ``changes``."""
    return {row["name"]: row["version"] for row in await pool.fetch(_sql.beat, boot)}


async def stop(pool: Pool, boot: int) -> None:
    """Say that this node ends."""
    await pool.execute(_sql.stop, boot)


async def alive(pool: Pool, within: float) -> list[int]:
    """Boots that beat in the last ``within`` seconds."""
    return [row["boot"] for row in await pool.fetch(_sql.alive, within)]
