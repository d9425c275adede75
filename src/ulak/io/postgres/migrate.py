"""How does a database get the schema that this code wants, when several nodes start at once?

Numbered files, each applied in one transaction under one advisory lock and recorded with its
checksum. ``pre`` files are safe under the code of the release before (additions) and run at start;
``post`` files (removals) run by ``ulak migrate --post`` when no old node is left.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from ulak.io.postgres.pool import Pool

_FILE = re.compile(r"(\d{4})_(\w+)\.(pre|post)\.sql\Z")
_LOCK = 0x756C616B  # "ulak"
_PATIENCE = 3_600.0
"""Seconds that a migration, or the wait for another node's, may take."""
_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    number int NOT NULL, phase text NOT NULL, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (number, phase)
)"""


class MigrationError(Exception):
    """The database's history and this code's files do not fit together."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    phase: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, line ends aside."""
        return hashlib.sha256("\n".join(self.sql.splitlines()).encode()).hexdigest()


def available() -> list[Migration]:
    """The files of this release, in order."""
    found = [
        Migration(int(match[1]), match[2], match[3], file.read_text(encoding="utf-8"))
        for file in files("ulak.io.postgres.migrations").iterdir()
        if (match := _FILE.match(file.name))
    ]
    return sorted(found, key=lambda m: (m.number, m.phase == "post"))


async def migrate(pool: Pool, *, post: bool = False, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing; returns the names of what was applied, none when all was there.

    Raises ``MigrationError`` when an applied file has since been changed or the database is newer
    than this code.
    """
    known = available() if migrations is None else migrations
    wanted = [m for m in known if post or m.phase == "pre"]
    done = [f"{m.number:04}_{m.name}.{m.phase}" for m in wanted if await _apply(pool, m)]
    await _refuse_newer(pool, known)
    return done


async def _apply(pool: Pool, migration: Migration) -> bool:
    async with pool.transaction() as connection:
        # One node at a time; the lock ends with the transaction, and the winner's row is then seen.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=_PATIENCE)
        await connection.execute(_TABLE)
        checksum = await connection.fetchval(
            "SELECT checksum FROM migrations WHERE number = $1 AND phase = $2", migration.number, migration.phase
        )
        if checksum is not None:
            if checksum != migration.checksum:
                raise MigrationError(
                    f"migration {migration.number:04}_{migration.name}.{migration.phase}.sql was changed after it was "
                    "applied to this database: restore the file and add a new one instead"
                )
            return False
        await connection.execute(migration.sql, timeout=_PATIENCE)
        await connection.execute(
            "INSERT INTO migrations (number, phase, name, checksum) VALUES ($1, $2, $3, $4)",
            migration.number,
            migration.phase,
            migration.name,
            migration.checksum,
        )
        return True


async def _refuse_newer(pool: Pool, known: Sequence[Migration]) -> None:
    newest = await pool.fetchval("SELECT coalesce(max(number), 0) FROM migrations")
    highest = max((m.number for m in known), default=0)
    if newest > highest:
        raise MigrationError(
            f"the database is at migration {newest:04}, this code knows {highest:04} at most: start a newer Ulak, "
            "or restore a backup made before the upgrade"
        )
