"""How much can apps say at once, what if it can't be written, and what does all of it come to?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.edge.api.harness import KEY, WEAK, api, call, never
from tests.edge.api.pushed import HERE, World, node, opened
from tests.support import eventually
from ulak.core.push_receipt import Said
from ulak.edge.api import app
from ulak.edge.api.deps import Limits
from ulak.edge.api.http import STRANGERS_BODY
from ulak.flow.receipts import Word, pushes
from ulak.io.postgres import pushes as written
from ulak.io.postgres.errors import Unavailable
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.pushes import AppSaid

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


class Pen:
    """Writes when it is told to; ``begun`` counts what was begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.may = asyncio.Semaphore(0)
        self._note = written.note

    async def note(self, pool: Pool, told: Sequence[AppSaid], now: datetime) -> int:
        self.begun.append(len(told))
        await self.may.acquire()
        return await self._note(pool, told, now)


@pytest.fixture
def pen(monkeypatch: pytest.MonkeyPatch) -> Pen:
    made = Pen()
    monkeypatch.setattr(written, "note", made.note)
    return made


async def test_those_who_wait_are_written_together_and_who_comes_to_a_full_line_is_sent_away(
    world: World, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushes, "LINE", 4)
    monkeypatch.setattr(pushes, "GROUP", 2)
    words = [Word(world.token(await world.push()), Said.SHOWN) for _ in range(6)]
    stage = await node(world.pool)
    first = asyncio.create_task(stage.tell(words[:1]))
    await eventually(lambda: pen.begun, within=30)
    others = [asyncio.create_task(stage.tell([word])) for word in words[1:5]]
    await eventually(lambda: stage._length == 4, within=30)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(stage.tell(words[5:]), 30)
    for _ in range(3):
        pen.may.release()
    await asyncio.wait_for(asyncio.gather(first, *others), 60)
    assert pen.begun == [1, 2, 2]
    assert len(await world.noted()) == 5


async def test_who_gives_up_in_the_line_keeps_nobody_waiting(
    world: World, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushes, "GROUP", 1)
    words = [Word(world.token(await world.push()), Said.SHOWN) for _ in range(4)]
    stage = await node(world.pool)
    told = [asyncio.create_task(stage.tell([word])) for word in words]
    await eventually(lambda: pen.begun and stage._length == 3, within=30)
    told[1].cancel()
    for _ in words:
        pen.may.release()
    done = await asyncio.wait_for(asyncio.gather(*told, return_exceptions=True), 60)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [False, True, False, False]
    assert len(await world.noted()) == 4  # what he had said stood in the line


async def test_when_the_one_who_writes_gives_up_the_others_hear_that_nothing_is_written(world: World, pen: Pen) -> None:
    words = [Word(world.token(await world.push()), Said.SHOWN) for _ in range(4)]
    stage = await node(world.pool)
    told = [asyncio.create_task(stage.tell([word])) for word in words]
    await eventually(lambda: pen.begun == [1] and stage._length == 3, within=30)
    pen.may.release()
    await eventually(lambda: pen.begun == [1, 3], within=30)
    told[1].cancel()
    done = await asyncio.wait_for(asyncio.gather(*told, return_exceptions=True), 60)
    assert [type(each) for each in done] == [list, asyncio.CancelledError, Unavailable, Unavailable]
    assert len(await world.noted()) == 1
    pen.may.release()
    assert await asyncio.wait_for(stage.tell(words), 60) == []
    assert len(await world.noted()) == 4


async def test_who_meets_somebody_else_at_the_same_rows_goes_there_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = Word(world.token(await world.push()), Said.SHOWN)
    note, met = written.note, 0

    async def meets(pool: Pool, told: Sequence[AppSaid], now: datetime) -> int:
        nonlocal met
        met += 1
        if met < 3:
            await pool.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
        return await note(pool, told, now)

    monkeypatch.setattr(written, "note", meets)
    assert await (await node(world.pool)).tell([word]) == []
    assert (met, await world.noted()) == (3, [("shown", "app")])


async def test_when_nothing_can_be_written_everybody_hears_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = await world.push()
    note = written.note

    async def away(*_: Any) -> int:
        raise OSError

    monkeypatch.setattr(written, "note", away)
    answers = await asyncio.gather(*(world.tell(world.token(delivery), each) for each in ("shown", "opened")))
    assert [each.status for each in answers] == [503, 503]
    monkeypatch.setattr(written, "note", note)
    assert (await world.tell(world.token(delivery))).status == 202


async def test_strangers_fill_little_memory_and_hang_on_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    big = b'{"receipts": [' + b" " * STRANGERS_BODY
    for headers in (None, {"content-length": "1"}):
        answer = await call(api(), "POST", HERE, big, token=None, headers=headers)
        assert (answer.status, answer.json["code"]) == (413, "body_too_large")
    monkeypatch.setattr(app, "STRANGERS", 1)
    door = api(limits=Limits(body_deadline=60.0))
    first = asyncio.create_task(call(door, "POST", HERE, b"{}", token=None, receive=never))
    await eventually(lambda: door._strangers == 1, within=30)
    answer = await call(door, "POST", HERE, b"{}", token=None)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert (await call(door, "POST", "/v1/notifications/batch", b"{}")).status == 422
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await call(door, "POST", HERE, b"{}", token=None)).status == 422


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


@pytest.mark.parametrize("until", ["0001-01-01T00:00:00Z", "1969-07-20T20:17:00Z", "9999-12-31T23:59:59Z"])
async def test_there_are_sums_of_any_time_at_which_somebody_looks(world: World, until: str) -> None:
    answer = await call(world.app, "GET", f"/v1/push/stats?until={until}")
    assert (answer.status, answer.json["groups"]) == (200, [])
