"""Are pushes counted once each, whoever counts at the same time, and summed as they are asked for?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ulak.io.postgres import push_counts
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.push_counts import By, Count, PushCounts, Sums, What

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

TAKEN = Count(0, "apple", "com.example", "ios", "1.0", What.ACCEPTED)
DEAD = Count(0, "apple", "com.example", "ios", "1.0", What.REJECTED, "apns_unregistered")
DROID = Count(0, "google", "com.example", "android", "", What.ACCEPTED)
SHOWN = Count(0, "apple", "com.example", "ios", "1.1", What.SHOWN)
LONG = timedelta(days=1000)


async def count(pool: Pool, *counts: Count) -> None:
    async with pool.transaction() as connection:
        await push_counts.add(connection, counts)


async def sums(pool: Pool, *by: By, tenant: int = 0) -> Sequence[Sums]:
    now = datetime.now(UTC)
    found = await PushCounts(pool).sums(tenant, now - LONG, now + LONG, by)
    assert found is not None
    return found


async def test_the_same_is_added_up_and_the_rest_told_apart(store: Pool) -> None:
    await count(store, TAKEN, TAKEN, DEAD, DROID)
    await count(store, TAKEN, SHOWN, *[DEAD] * 2)
    await count(store)
    (total,) = await sums(store)
    assert total.group == {}
    assert total.sums == {What.ACCEPTED: 4, What.REJECTED: 3, What.SHOWN: 1}
    assert total.reasons == {"apns_unregistered": 3}
    droid, apple = sorted(await sums(store, By.PLATFORM), key=lambda each: str(each.group[By.PLATFORM]))
    assert (droid.group, droid.sums) == ({By.PLATFORM: "android"}, {What.ACCEPTED: 1})
    assert (apple.group, apple.sums) == ({By.PLATFORM: "ios"}, {What.ACCEPTED: 3, What.REJECTED: 3, What.SHOWN: 1})
    assert len(await sums(store, By.ACCOUNT, By.APP, By.APP_VERSION)) == 3
    (day,) = await sums(store, By.DAY)
    (hour,) = await sums(store, By.HOUR)
    assert isinstance(hour.group[By.HOUR], datetime)
    assert hour.sums == day.sums == total.sums


async def test_other_tenants_and_other_times_are_not_told(store: Pool) -> None:
    await count(store, TAKEN, Count(1, *("apple", "com.example", "ios", "1.0"), What.ACCEPTED, n=9))
    assert [each.sums for each in await sums(store)] == [{What.ACCEPTED: 1}]
    assert [each.sums for each in await sums(store, tenant=1)] == [{What.ACCEPTED: 9}]
    hour = (await sums(store, By.HOUR))[0].group[By.HOUR]
    assert isinstance(hour, datetime)
    counts, step = PushCounts(store), timedelta(hours=1)
    assert await counts.sums(0, hour - step, hour, []) == []
    assert await counts.sums(0, hour + step, hour + 2 * step, []) == []
    assert await counts.sums(0, hour, hour + step, []) != []


async def test_counting_at_once_in_any_order_loses_nothing_and_blocks_nobody(store: Pool) -> None:
    rows = [TAKEN, DEAD, DROID, SHOWN]
    await asyncio.gather(*(count(store, *(rows if n % 2 else rows[::-1])) for n in range(40)))
    (total,) = await sums(store)
    assert total.sums == {What.ACCEPTED: 80, What.REJECTED: 40, What.SHOWN: 40}


async def test_too_many_groups_are_not_told(store: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await count(store, TAKEN, DROID, SHOWN)
    monkeypatch.setattr(push_counts, "MOST", 2)
    now = datetime.now(UTC)
    assert await PushCounts(store).sums(0, now - LONG, now, [By.APP_VERSION]) is None
    assert len(await PushCounts(store).sums(0, now - LONG, now, [By.APP]) or ()) == 1


async def test_counts_are_forgotten_after_400_days(store: Pool) -> None:
    await count(store, TAKEN)
    await store.execute("""INSERT INTO push_counts
        SELECT 0, now() - days * interval '1 day', 'apple', 'a', 'ios', '', 'accepted', '', 1
        FROM unnest('{399,401}'::int[]) AS days""")
    await PushCounts(store).forget()
    assert (await sums(store))[0].sums == {What.ACCEPTED: 2}
