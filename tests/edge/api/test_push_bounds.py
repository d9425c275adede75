"""How much can apps say at once, what if it can't be written, and what does all of it come to?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.edge.api.harness import KEY, WEAK, api, call
from tests.edge.api.pushed import World, node, opened
from tests.support import eventually
from ulak.core.push_receipt import Said
from ulak.flow.receipts import Word, pushes
from ulak.io.postgres.errors import Unavailable
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@pytest.fixture
async def world(store: Pool) -> AsyncIterator[World]:
    async with opened(store) as made:
        yield made


# ------------------------------------------------------------------------------------------ bounds


async def test_a_token_can_not_be_used_without_end_and_others_are_not_kept_out(world: World) -> None:
    noisy, quiet = await world.push(), await world.push()
    got = [(await world.tell(world.token(noisy))).status for _ in range(pushes.BURST + 3)]
    assert got == [202] * pushes.BURST + [429] * 3
    answer = await world.tell(world.token(noisy), "opened")
    assert (answer.json["code"], answer.headers["retry-after"]) == ("too_often", "10")
    assert (await world.tell(world.token(quiet))).status == 202
    assert await world.noted() == [("shown", "app")] * 2


async def test_those_who_wait_are_written_together_and_who_comes_to_a_full_line_is_sent_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushes, "LINE", 4)
    monkeypatch.setattr(pushes, "GROUP", 2)
    words = [Word(world.token(await world.push()), Said.SHOWN) for _ in range(6)]
    groups: list[int] = []
    going, go = asyncio.Event(), asyncio.Event()
    note = pushes.pushes.note

    async def slow(pool: Pool, told: Any, now: datetime) -> int:
        groups.append(len(told))
        going.set()
        await go.wait()
        return await note(pool, told, now)

    monkeypatch.setattr(pushes.pushes, "note", slow)
    stage = node(world.pool)
    first = asyncio.create_task(stage.tell(words[:1]))
    await going.wait()
    others = [asyncio.create_task(stage.tell([word])) for word in words[1:5]]
    await eventually(lambda: stage._length == 4)
    with pytest.raises(Unavailable):
        await stage.tell(words[5:])
    go.set()
    await asyncio.gather(first, *others)
    assert groups == [1, 2, 2]
    assert len(await world.noted()) == 5


async def test_who_gives_up_takes_nobody_with_him(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [Word(world.token(await world.push()), Said.SHOWN) for _ in range(4)]
    going, never = asyncio.Event(), asyncio.Event()
    note = pushes.pushes.note

    async def stuck(pool: Pool, told: Any, now: datetime) -> int:
        going.set()
        await never.wait()
        return await note(pool, told, now)

    monkeypatch.setattr(pushes.pushes, "note", stuck)
    stage = node(world.pool)
    writer = asyncio.create_task(stage.tell(words[:1]))
    await going.wait()
    waiting = [asyncio.create_task(stage.tell([word])) for word in words[1:]]
    await eventually(lambda: stage._length == 3)
    monkeypatch.setattr(pushes.pushes, "note", note)
    waiting[0].cancel()
    writer.cancel()
    done = await asyncio.wait_for(asyncio.gather(writer, *waiting, return_exceptions=True), 30)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, True, False, False]
    assert done[2:] == [[], []]
    assert len(await world.noted()) in (2, 3)  # he who gave up in the line may have been written with the others


async def test_when_nothing_can_be_written_everybody_hears_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = await world.push()
    note = pushes.pushes.note

    async def away(*_: Any) -> int:
        raise OSError

    monkeypatch.setattr(pushes.pushes, "note", away)
    answers = await asyncio.gather(*(world.tell(world.token(delivery), each) for each in ("shown", "opened")))
    assert [each.status for each in answers] == [503, 503]
    monkeypatch.setattr(pushes.pushes, "note", note)
    assert (await world.tell(world.token(delivery))).status == 202


# ------------------------------------------------------------------------------------------ sums


async def test_sums_are_told_apart_as_asked_for_and_to_their_tenant_only(world: World) -> None:
    for event, version in [("shown", "1.0"), ("shown", "1.1"), ("opened", "1.1")]:
        await world.tell(world.token(await world.push()), event, app_version=version)
    await world.tell(world.token(await world.push(tenant=1), tenant=1))
    now = datetime.now(UTC)
    week = f"until={now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}&since={now - timedelta(days=7):%Y-%m-%dT%H:%M:%SZ}"
    ever = week[: week.index("since")] + "since=2020-01-01T00:00:00Z"
    await world.pool.execute("""INSERT INTO push_counts
        SELECT 0, date_trunc('hour', now(), 'UTC') - days * interval '1 day', 'second', 'com.example', 'ios', '1.0',
               what, reason, n
        FROM (VALUES (0, 'accepted', '', 7), (0, 'rejected', 'apns_unregistered', 2), (0, 'rejected', 'fcm_404', 1),
                     (0, 'unknown', '', 1), (9, 'accepted', '', 100)) AS v (days, what, reason, n)""")
    answer = await call(world.app, "GET", f"/v1/push/stats?{week}&by=app_version,%20platform")
    assert answer.status == 200
    reasons = {"apns_unregistered": 2, "fcm_404": 1}
    total = {"accepted": 7, "rejected": 3, "unknown": 1, "shown": 2, "opened": 1, "dismissed": 0, "reasons": reasons}
    assert answer.json["total"] == total
    old, new = answer.json["groups"]
    assert (old["app_version"], old["platform"], old["sums"]) == ("1.0", "ios", {**total, "shown": 1, "opened": 0})
    assert new == {
        "app_version": "1.1",
        "platform": "ios",
        "sums": {**dict.fromkeys(total, 0), "shown": 1, "opened": 1, "reasons": {}},
    }
    (all_of_it,) = (await call(world.app, "GET", f"/v1/push/stats?{ever}")).json["groups"]
    assert all_of_it["sums"]["accepted"] == 107
    assert set(all_of_it) == {"sums"}
    foreign = (await call(world.app, "GET", f"/v1/push/stats?{week}", token=WEAK)).json
    assert (foreign["total"]["shown"], foreign["total"]["accepted"]) == (1, 0)
    by_day = (await call(world.app, "GET", f"/v1/push/stats?{ever}&by=day")).json["groups"]
    assert [each["sums"]["accepted"] for each in by_day] == [100, 7]
    assert by_day[0]["day"].endswith("T00:00:00Z")
    plain = (await call(world.app, "GET", "/v1/push/stats")).json
    assert (plain["since"], plain["until"]) == ("2026-02-22T12:00:00Z", "2026-03-01T12:00:00Z")


@pytest.mark.parametrize("query", ["by=user", "by=app,app", "since=yesterday", "since=2020-01-01T00:00:00", "bye=app"])
async def test_sums_that_can_not_be_are_not_asked_of_the_database(query: str) -> None:
    answer = await call(api(), "GET", f"/v1/push/stats?{query}")
    assert (answer.status, answer.json["path"][0]) == (422, "?")


async def test_sums_need_a_key_that_may_read() -> None:
    assert (await call(api(), "GET", "/v1/push/stats", token=None)).status == 401
    assert (await call(api(), "GET", "/v1/push/stats", token=WEAK)).status == 403
    assert KEY != WEAK
