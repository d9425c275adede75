"""Are catalogues kept by version, the newest in force, and older ones found again?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.flow.harness import PROJECT
from ulak.core.project import Catalog, load
from ulak.io.postgres.catalogs import Catalogs, apply
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

CHANGES = "SELECT version FROM changes WHERE name = 'catalogs'"


def project(host: str = "octo") -> Mapping[str, str]:
    return {**PROJECT, "ulak.toml": PROJECT["ulak.toml"].replace("Octo <octo@", f"Octo <{host}@")}


async def test_the_same_files_again_make_no_new_version(store: Pool) -> None:
    before = await store.fetchval(CHANGES)
    assert await apply(store, 0, load(project())) == (1, True)
    assert await store.fetchval(CHANGES) == before + 1
    assert await apply(store, 0, load(project())) == (1, False)
    assert await store.fetchval(CHANGES) == before + 1
    assert await apply(store, 0, load(project("other"))) == (2, True)
    assert await apply(store, 0, load(project())) == (3, True), "back to the first files is a change too"
    assert await store.fetchval(CHANGES) == before + 3


async def test_two_who_apply_at_once_make_two_versions(store: Pool) -> None:
    done = await asyncio.gather(*(apply(store, 0, load(project(f"host{i}"))) for i in range(4)))
    assert sorted(done) == [(i, True) for i in range(1, 5)]


async def test_nobody_applies_for_a_tenant_that_is_not(store: Pool) -> None:
    with pytest.raises(LookupError, match="no tenant 7"):
        await apply(store, 7, load(project()))


async def test_the_newest_is_in_force_and_an_older_one_is_loaded_again(store: Pool) -> None:
    made: list[Catalog] = []

    def make(catalog: Catalog) -> Catalog:
        made.append(catalog)
        return catalog

    await store.execute("INSERT INTO tenants (tenant, name) VALUES (5, 'five')")
    for host in ("one", "two", "three"):
        await apply(store, 0, load(project(host)))
    await apply(store, 5, load(project("five")))
    catalogs = Catalogs(store, make, keep=2)
    await catalogs.refresh()
    assert {tenant: c.version for tenant, c in catalogs.current.items()} == {0: 3, 5: 1}
    assert len(made) == 2
    old = await catalogs.get(0, 1)
    assert (old.version, old.files["ulak.toml"]) == (1, project("one")["ulak.toml"])
    same = await asyncio.gather(*(catalogs.get(0, 2) for _ in range(5)))
    assert len({id(c) for c in same}) == 1, "one is made, whoever asks meanwhile"
    assert (await catalogs.get(0, 1)).version == 1
    with pytest.raises(KeyError):
        await catalogs.get(0, 4)
    await apply(store, 0, load(project("four")))
    assert catalogs.current[0].version == 3
    await catalogs.refresh()
    assert catalogs.current[0].version == 4
