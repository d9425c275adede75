"""Which types and templates are in force, and which were when a notification was accepted?

Catalogues are kept by version and never changed. The newest of a tenant is in force; an older one is
loaded again when something that was accepted under it is still to be planned or sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from ulak.core.project import Catalog
from ulak.core.project import load as read_project
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load

_sql = load("catalogs")
_decode = msgspec.json.Decoder(dict[str, str]).decode

T = TypeVar("T")


async def apply(pool: Pool, tenant: int, catalog: Catalog) -> tuple[int, bool]:
    """Put a project folder to use; returns its version, and whether it is new.

    The same files again make no new version.
    """
    async with pool.transaction() as connection:
        if await connection.fetchval(_sql.hold_tenant, tenant) is None:
            raise LookupError(f"there is no tenant {tenant}")
        newest = await connection.fetchrow(_sql.newest, tenant)
        if newest is not None and newest["digest"] == catalog.digest:
            return newest["version"], False
        version = 1 if newest is None else newest["version"] + 1
        content = msgspec.json.encode(dict(catalog.files)).decode()
        await connection.execute(_sql.add, tenant, version, catalog.digest, content)
        await connection.execute(_sql.bump)
        return version, True


class Catalogs(Generic[T]):
    """Catalogues of all tenants, each made into a ``T`` once (``make`` compiles the templates)."""

    def __init__(self, pool: Pool, make: Callable[[Catalog], T], *, keep: int = 32) -> None:
        self._pool = pool
        self._make = make
        self._keep = keep
        self._current: dict[int, T] = {}
        self._versions: OrderedDict[tuple[int, int], T] = OrderedDict()
        self._loading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read what is in force; called at start and when the ``catalogs`` number of ``changes`` moves."""
        async with self._loading:
            for row in await self._pool.fetch(_sql.current):
                key = (row["tenant"], row["version"])
                if key not in self._versions:
                    self._remember(key, _decode(row["content"]))
                self._current[row["tenant"]] = self._versions[key]

    @property
    def current(self) -> Mapping[int, T]:
        """What is in force, by tenant."""
        return self._current

    async def get(self, tenant: int, version: int) -> T:
        """One version; raises ``KeyError`` when it was never applied."""
        found = self._versions.get((tenant, version))
        if found is not None:
            return found
        async with self._loading:
            if (tenant, version) not in self._versions:
                content = await self._pool.fetchval(_sql.one, tenant, version)
                if content is None:
                    raise KeyError((tenant, version))
                self._remember((tenant, version), _decode(content))
            return self._versions[tenant, version]

    def _remember(self, key: tuple[int, int], files: Mapping[str, str]) -> None:
        self._versions[key] = self._make(read_project(files).with_version(key[1]))
        while len(self._versions) > self._keep:
            self._versions.popitem(last=False)
