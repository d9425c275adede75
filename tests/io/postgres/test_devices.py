"""Does an address change hands as a whole, once, and with the gate between it and those who send?"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import eventually
from ulak.core.device import MAX_DEVICES, AddressKind, Environment
from ulak.core.registration import Registration
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.users import Profile, Users

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted"
ids = itertools.count(1)


def phone(user: str = "ada", name: str = "phone", address: str = "a" * 64, **more: Any) -> Registration:
    app = more.pop("app", "org.example")
    return Registration(user, name, app, AddressKind.APNS, "ios", address, **more)


def browser(address: str = "https://push.example.org/1", **more: Any) -> Registration:
    return Registration("ada", "firefox", "", AddressKind.WEBPUSH, "web", address, **more)


async def register(pool: Pool, wanted: Registration, tenant: int = 0) -> Row:
    return await Devices(pool).register(tenant, wanted, f"dev_{next(ids):032x}")


async def stored(pool: Pool, **where: object) -> list[Row]:
    clause = " AND ".join(f"{name} = ${n}" for n, name in enumerate(where, 1)) or "true"
    return await pool.fetch(f"SELECT * FROM devices WHERE {clause} ORDER BY seen_at, id", *where.values())


async def age(pool: Pool, days: float, column: str = "seen_at", **where: object) -> None:
    for row in await stored(pool, **where):
        past = datetime.now(UTC) - timedelta(days=days)
        await pool.execute(f"UPDATE devices SET {column} = $2 WHERE id = $1", row["id"], past)


async def spoil(pool: Pool) -> None:
    """Everything that can be held against a device."""
    await pool.execute(
        "UPDATE devices SET disabled_at = now(), disabled_why = 'apns_unregistered', disabled_by = 'apple',"
        " evidence = 'Unregistered', strikes = 4, flipped = true, environment = 'sandbox',"
        " wait_until = now() + interval '1 hour', registered_at = now() - interval '9 days',"
        " seen_at = now() - interval '9 days', created_at = now() - interval '9 days'"
    )


async def test_a_device_is_stored_as_it_registered(store: Pool) -> None:
    ends = datetime.now(UTC) + timedelta(days=3)
    wanted = browser(p256dh="P", auth="A", account="web", app_version="3.1", model="Firefox", expires_at=ends)
    row = await register(store, wanted)
    kept = (await stored(store))[0]
    for name in ("p256dh", "auth", "account", "app_version", "model", "expires_at", "platform", "kind", "address"):
        assert kept[name] == getattr(wanted, name), name
    assert (kept["id"], kept["user_id"], kept["name"], kept["digest"]) == (row["id"], "ada", "firefox", wanted.digest)
    assert not {"address", "p256dh", "auth", "digest"} & set(dict(row))


async def test_the_same_again_refreshes_and_ends_a_quarantine(store: Pool) -> None:
    first = await register(store, phone(app_version="1"))
    await spoil(store)
    again = await register(store, phone(app_version="2"))
    row = (await stored(store))[0]
    assert again["id"] == first["id"] == row["id"]
    assert (row["disabled_at"], row["disabled_why"], row["disabled_by"], row["evidence"]) == (None,) * 4
    assert (row["strikes"], row["flipped"], row["app_version"]) == (0, False, "2")
    assert row["registered_at"] > first["registered_at"]
    assert row["seen_at"] > first["seen_at"]
    # What was learned of the address is still true of it.
    assert (row["environment"], row["wait_until"] is not None) == ("sandbox", True)
    said = await register(store, phone(environment=Environment.PRODUCTION))
    assert said["environment"] == "production"


async def test_strikes_of_a_device_in_use_still_count_after_a_refresh(store: Pool) -> None:
    await register(store, phone())
    await store.execute("UPDATE devices SET strikes = 3")
    await register(store, phone())
    assert (await stored(store))[0]["strikes"] == 3


async def test_a_refresh_keeps_the_account_that_a_subscription_was_made_with(store: Pool) -> None:
    await register(store, browser(account="old", named=True))
    await register(store, browser(account="new"))
    assert (await stored(store))[0]["account"] == "old"
    await register(store, browser(account="new", named=True))
    assert (await stored(store))[0]["account"] == "new"


async def test_a_new_address_replaces_the_former_one_of_the_device(store: Pool) -> None:
    first = await register(store, phone())
    await spoil(store)
    row = await register(store, phone(address="b" * 64))
    kept = await stored(store)
    assert [(each["id"], each["address"]) for each in kept] == [(first["id"], "b" * 64)]
    assert (kept[0]["environment"], kept[0]["flipped"], kept[0]["strikes"]) == ("production", False, 0)
    assert (kept[0]["disabled_at"], kept[0]["wait_until"]) == (None, None)
    assert row["created_at"] < row["registered_at"] - timedelta(days=8)


async def test_an_address_that_another_user_registers_moves_under_a_new_id(store: Pool) -> None:
    """Deliveries name devices by id: those for the former owner find none, though the address lives on."""
    former = await register(store, phone("ada"))
    now = await register(store, phone("eve"))
    assert [(row["user_id"], row["id"]) for row in await stored(store)] == [("eve", now["id"])]
    assert former["id"] != now["id"]


async def test_an_address_of_another_tenant_stays_there(store: Pool) -> None:
    await store.execute("INSERT INTO tenants (tenant, name) VALUES (1, 'other')")
    first = await register(store, phone("ada"))
    await register(store, phone("eve"), tenant=1)
    assert {row["tenant"]: row["user_id"] for row in await stored(store)} == {0: "ada", 1: "eve"}
    other = await register(store, phone("ada"), tenant=1)
    assert {row["tenant"]: row["id"] for row in await stored(store)} == {0: first["id"], 1: other["id"]}
    assert first["id"] != other["id"]
    await Devices(store).remove(1, "ada", "phone")
    await register(store, phone("ada", name="tablet"), tenant=1)
    assert await Devices(store).remove(1, "ada", "phone") == 0
    assert [row["id"] for row in await Devices(store).of_user(0, "ada")] == [first["id"]]


async def test_of_many_users_who_race_for_an_address_exactly_one_has_it(store: Pool) -> None:
    users = [f"user{n}" for n in range(6)]
    for n in range(5):
        address = f"{n:064x}"
        rows = await asyncio.gather(*(register(store, phone(user, address=address)) for user in users))
        left = await stored(store, digest=phone(address=address).digest)
        assert len(left) == 1
        assert left[0]["id"] in {row["id"] for row in rows}
        assert left[0]["user_id"] in users


async def test_two_users_who_swap_their_phones_at_once_wait_for_nobody_for_ever(store: Pool) -> None:
    """Each takes the row of the other: held in the order of ids, else they would block one another."""
    one, two = "a" * 64, "b" * 64
    for _ in range(8):
        await store.execute("DELETE FROM devices")
        await asyncio.gather(register(store, phone("ada", address=one)), register(store, phone("eve", address=two)))
        await asyncio.gather(register(store, phone("ada", address=two)), register(store, phone("eve", address=one)))
        assert {row["user_id"]: row["address"] for row in await stored(store)} == {"ada": two, "eve": one}


BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


MOVES: dict[str, tuple[Registration, Registration, Callable[[Pool], Coroutine[Any, Any, Any]]]] = {
    "own first": (phone(), phone("eve", address="b" * 64), lambda pool: register(pool, phone(address="b" * 64))),
    "other first": (phone("eve", address="b" * 64), phone(), lambda pool: register(pool, phone(address="b" * 64))),
    "logout": (phone(app="z"), phone(app="a", address="b" * 64), lambda pool: Devices(pool).remove(0, "ada", "phone")),
    "erased": (phone(app="z"), phone(app="a", address="b" * 64), lambda pool: Users(pool).erase(0, "ada")),
}


@pytest.mark.parametrize("way", MOVES)
async def test_rows_are_held_in_the_order_of_their_ids(store: Pool, way: str) -> None:
    """While the first can't be had, the second is free for somebody who already has the first."""
    one, other, does = MOVES[way]
    low, high = await register(store, one), await register(store, other)
    held = "SELECT id FROM devices WHERE id = $1 FOR UPDATE"
    async with store.transaction() as connection:
        await connection.execute(held, low["id"])
        moving = asyncio.create_task(does(store))
        await eventually(lambda: store.fetchval(BLOCKED), within=20.0, what="it waits for the first row")
        assert await connection.fetchval(f"{held} NOWAIT", high["id"]) == high["id"]
    await moving


@pytest.mark.parametrize("way", ["logout", "erased"])
async def test_a_device_that_is_refreshed_during_its_logout_is_gone_none_the_less(store: Pool, way: str) -> None:
    await register(store, phone())
    async with store.transaction() as connection:
        await connection.execute("UPDATE devices SET seen_at = now(), registered_at = now()")
        leaving = asyncio.create_task(ENDS[way](store))
        await eventually(lambda: store.fetchval(BLOCKED), within=20.0, what="it waits for the row")
    assert await leaving
    assert not await stored(store)


async def test_one_device_that_registers_many_times_at_once_is_one(store: Pool) -> None:
    wanted = [phone(address=f"{n:064x}") for n in range(6)] + [phone(name="other", address=f"{0:064x}")]
    await asyncio.gather(*(register(store, each) for each in wanted))
    names = [row["name"] for row in await stored(store)]
    assert len(names) == len(set(names)) <= 2


async def test_with_one_device_too_many_the_one_seen_longest_ago_gives_way(store: Pool) -> None:
    for n in range(MAX_DEVICES):
        await register(store, phone(name=f"{n}", address=f"{n:064x}"))
    await age(store, 3, name="7")
    await asyncio.gather(*(register(store, phone(name=f"new{n}", address=f"{100 + n:064x}")) for n in range(3)))
    names = {row["name"] for row in await stored(store)}
    assert len(names) == MAX_DEVICES
    assert names >= {"new0", "new1", "new2"}
    assert not names & {"7", "0", "1"}


async def test_devices_are_told_by_name_and_app_without_their_addresses(store: Pool) -> None:
    await register(store, phone())
    await register(store, phone(name="tablet", address="b" * 64))
    await age(store, 1, name="phone")
    devices = Devices(store)
    rows = await devices.of_user(0, "ada")
    assert [row["name"] for row in rows] == ["tablet", "phone"]
    assert "a" * 64 not in str([dict(row) for row in rows])
    assert len(await devices.of_user(0, "ada", "phone", "org.example")) == 1
    assert not await devices.of_user(0, "ada", "phone", "other")
    assert not await devices.of_user(0, "eve")


async def test_a_logout_ends_the_device_of_one_app_or_of_all(store: Pool) -> None:
    devices = Devices(store)
    for app in ("x", "y", "z"):
        wanted = Registration("ada", "phone", app, AddressKind.FCM_TOKEN, "android", f"{app}:1")
        await register(store, wanted)
    assert await devices.remove(0, "ada", "phone", "x") == 1
    assert await devices.remove(0, "eve", "phone") == 0
    assert await devices.remove(0, "ada", "phone") == 2
    assert await devices.remove(0, "ada", "phone") == 0


async def test_an_erased_user_has_no_devices(store: Pool) -> None:
    users = Users(store)
    await register(store, phone("ada"))
    await register(store, phone("eve", address="b" * 64))
    await users.put(0, "ada", Profile())
    assert await users.erase(0, "ada")
    assert [row["user_id"] for row in await stored(store)] == ["eve"]
    assert await users.erase(0, "eve"), "who is not stored, and has a device, is erased as well"
    assert not await users.erase(0, "eve")
    assert not await stored(store)


async def test_devices_that_were_silent_or_dead_for_too_long_are_forgotten(store: Pool) -> None:
    ages = {
        "silent": ("seen_at", 271),
        "quiet": ("seen_at", 269),
        "dead": ("disabled_at", 91),
        "ill": ("disabled_at", 89),
    }
    for n, (name, (column, days)) in enumerate(ages.items()):
        await register(store, phone(name=name, address=f"{n:064x}"))
        await age(store, days, column, name=name)
    devices = Devices(store)
    await devices.forget(1)
    assert len(await stored(store)) == 3
    await devices.forget()
    assert {row["name"] for row in await stored(store)} == {"quiet", "ill"}


async def test_a_device_that_registers_while_it_is_forgotten_stays(store: Pool) -> None:
    first = await register(store, phone())
    await age(store, 300)
    async with store.transaction() as connection:
        await connection.execute("UPDATE devices SET seen_at = now()")
        await Devices(store).forget()
    assert [row["id"] for row in await stored(store)] == [first["id"]]


# ----------------------------------------------------------------------------------------------- gate

Does = Callable[[Pool], Coroutine[Any, Any, Any]]

ENDS: dict[str, Does] = {
    "another user": lambda pool: register(pool, phone("eve")),
    "another address": lambda pool: register(pool, phone(address="c" * 64)),
    "logout": lambda pool: Devices(pool).remove(0, "ada", "phone"),
    "erased": lambda pool: Users(pool).erase(0, "ada"),
}
GOES_ON: dict[str, Does] = {
    "the same again": lambda pool: register(pool, phone()),
    "a new device": lambda pool: register(pool, phone(name="tablet", address="d" * 64)),
    "another name": lambda pool: register(pool, phone(name="renamed")),
    "a new user": lambda pool: register(pool, phone("eve", address="e" * 64)),
}


@pytest.mark.parametrize("way", ENDS)
async def test_what_ends_a_binding_waits_for_those_who_send(store: Pool, way: str) -> None:
    """From its answer on no attempt can have read the former binding."""
    first = await register(store, phone())
    async with store.transaction(SENDING) as connection:
        saying = asyncio.create_task(ENDS[way](store))
        await eventually(lambda: connection.fetchval(WAITING), within=20.0, what="it waits at the gate")
        assert not saying.done()
        assert await connection.fetchval("SELECT user_id FROM devices WHERE id = $1", first["id"]) == "ada"
    await saying
    left = {(row["id"], row["user_id"], row["address"]) for row in await stored(store)}
    assert (first["id"], "ada", "a" * 64) not in left


@pytest.mark.parametrize("way", GOES_ON)
async def test_what_forbids_nothing_waits_for_nobody(store: Pool, way: str) -> None:
    await register(store, phone())
    async with store.transaction(SENDING):
        await asyncio.wait_for(GOES_ON[way](store), 20.0)
