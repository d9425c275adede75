"""Does what was said of a device change exactly the row that it was said of, once?"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from tests.flow.devices import device, identity, put_device
from tests.support import eventually
from ulak.core.device import AddressKind, Device, Fate
from ulak.core.fate import Told, folded
from ulak.core.outcome import Kind
from ulak.io.postgres import device_fates
from ulak.io.postgres.pool import PINS, Pool, Row

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

ONE = identity(1)


def seen(row: Row) -> Device:
    """The device as a call saw it."""
    return Device(
        row["id"], AddressKind(row["kind"]), row["app"], row["platform"], row["address"], row["registered_at"]
    )


async def write(pool: Pool, told: Device, *fates: Fate, wait: float = 60.0, tenant: int = 0) -> None:
    """Fates of one group, in a transaction like the finisher's."""
    changes = folded((tenant, Told(told, "ios", Kind.RETRY, "said", fate, wait)) for fate in fates)
    async with pool.transaction(PINS) as connection:
        await device_fates.change(connection, changes)


@pytest.fixture
async def phone(store: Pool) -> Device:
    await put_device(store, 1)
    return seen(await device(store, ONE))


async def test_a_fate_of_another_address_registration_or_tenant_changes_nothing(store: Pool, phone: Device) -> None:
    before = tuple((await device(store, ONE)).values())
    later = phone.registered_at + timedelta(microseconds=1)
    await write(store, msgspec.structs.replace(phone, address="bb" * 32), Fate.DEAD)
    await write(store, msgspec.structs.replace(phone, registered_at=later), Fate.DEAD)
    await write(store, msgspec.structs.replace(phone, id=identity(2)), Fate.DEAD)
    await write(store, phone, Fate.DEAD, tenant=1)
    assert tuple((await device(store, ONE)).values()) == before
    await write(store, phone, Fate.DEAD)
    assert (await device(store, ONE))["disabled_at"] is not None


async def test_the_environment_is_flipped_once_whoever_asks_later(store: Pool, phone: Device) -> None:
    """A call that began before the flip has its answer after it."""
    for _ in range(3):
        await write(store, phone, Fate.OTHER_ENVIRONMENT)
        row = await device(store, ONE)
        assert (row["environment"], row["flipped"]) == ("sandbox", True)


async def test_a_sandbox_token_is_tried_in_production(store: Pool) -> None:
    await put_device(store, 1, environment="sandbox")
    await write(store, seen(await device(store, ONE)), Fate.OTHER_ENVIRONMENT)
    assert (await device(store, ONE))["environment"] == "production"


async def test_the_longest_wait_holds(store: Pool, phone: Device) -> None:
    await write(store, phone, Fate.BUSY, wait=3600.0)
    longest = (await device(store, ONE))["wait_until"]
    await write(store, phone, Fate.BUSY, wait=1.0)
    assert (await device(store, ONE))["wait_until"] == longest


async def test_strikes_never_overflow(store: Pool, phone: Device) -> None:
    await store.execute("UPDATE devices SET strikes = 32767")
    await write(store, phone, Fate.STRIKE)
    assert (await device(store, ONE))["strikes"] == 32767
    await write(store, phone, Fate.ALIVE)
    assert (await device(store, ONE))["strikes"] == 0


async def test_two_nodes_that_say_the_same_at_once_are_both_counted(store: Pool, phone: Device) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with store.transaction(PINS) as connection:
        await device_fates.change(connection, folded([(0, Told(phone, "ios", Kind.RETRY, "said", Fate.STRIKE))]))
        other = asyncio.create_task(write(store, phone, Fate.STRIKE))
        await eventually(lambda: store.fetchval(waiting), what="the other node to wait")
    await other
    assert (await device(store, ONE))["strikes"] == 2


async def test_taking_out_of_quarantine_counts_and_forgets_what_was_held_against_them(store: Pool) -> None:
    for n in range(1, 4):
        await put_device(store, n, app=f"app{n % 2}")
        await write(store, seen(await device(store, identity(n))), Fate.DEAD, Fate.STRIKE)
    async with store.transaction(PINS) as connection:
        assert await device_fates.restore(connection, "other", None, 300.0) == 0
        assert await device_fates.restore(connection, "ios", "app0", 300.0) == 1
        assert await device_fates.restore(connection, "ios", None, 300.0) == 2
        assert await device_fates.restore(connection, "ios", None, 300.0) == 0
    row = await device(store, ONE)
    assert [row[name] for name in ("disabled_at", "disabled_why", "disabled_by", "evidence", "strikes")] == [
        None
    ] * 4 + [0]
