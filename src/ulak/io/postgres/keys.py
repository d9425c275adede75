"""Which API keys and token secrets are there, and how does every node learn of a change?

A change of keys bumps a number in ``changes`` in the same transaction; nodes read that number and forget
what they had cached when it moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load


@dataclass(frozen=True, slots=True)
class Key:
    """A key that holds: whose it is and what it may do."""

    tenant: int
    prefix: str
    scopes: frozenset[str]
    expires_at: datetime | None


class Keys:
    """API keys, stored by their hash, and the secrets of users' tokens."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("keys")

    async def version(self) -> int:
        """A number that moves with every change."""
        version: int | None = await self._pool.fetchval(self._sql.version)
        return version or 0

    async def find(self, key_hash: bytes) -> Key | None:
        """The key with this hash, if it was given out and neither revoked nor expired."""
        row = await self._pool.fetchrow(self._sql.find, key_hash)
        if row is None:
            return None
        return Key(row["tenant"], row["prefix"], frozenset(row["scopes"]), row["expires_at"])

    async def create(self, key_hash: bytes, key: Key, name: str) -> None:
        """Store a new key."""
        args = (key_hash, key.tenant, name, key.prefix, sorted(key.scopes), key.expires_at)
        async with self._pool.transaction() as connection:
            await connection.execute(self._sql.create, *args)
            await connection.execute(self._sql.bump)

    async def list(self, tenant: int) -> list[Row]:
        """A tenant's keys, revoked ones too."""
        return await self._pool.fetch(self._sql.list, tenant)

    async def revoke(self, tenant: int, prefix: str) -> bool:
        """End a key; False when no key that holds has this prefix."""
        async with self._pool.transaction() as connection:
            found = await connection.fetchval(self._sql.revoke, tenant, prefix)
            await connection.execute(self._sql.bump)
        return found is not None

    async def all_token_keys(self) -> Sequence[tuple[int, str, bytes]]:
        """Tenant, key id and secret of each token key; a tenant's newest, which signs, comes first."""
        rows = await self._pool.fetch(self._sql.token_keys)
        return [(row["tenant"], row["kid"], bytes(row["secret"])) for row in rows]

    async def add_token_key(self, tenant: int, kid: str, secret: bytes, *, rotate: bool = False) -> None:
        """Add a token secret of at least 32 bytes; without ``rotate`` only where there is none yet."""
        async with self._pool.transaction() as connection:
            await connection.execute(self._sql.add_token_key, tenant, kid, secret, rotate)
            await connection.execute(self._sql.bump)
