"""Is what apps say of pushes believed on proof only, written once, and does it stop what it should?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.edge.api.harness import api, call
from tests.edge.api.pushed import HERE, LONG_AGO, World, node, opened
from tests.flow.harness import PROJECT, body, open_node, plan_all, prepare, put_users, send
from ulak.core import link
from ulak.core.link import Open, Preferences
from ulak.core.model import Mark
from ulak.core.push_receipt import Said
from ulak.flow.receipts import PushReceipts, Receipts, Word
from ulak.io.postgres.gate import FORBIDDING, SENDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.secrets import Purpose, Secrets
from ulak.io.postgres.users import Users

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@pytest.fixture
async def world(store: Pool) -> AsyncIterator[World]:
    async with opened(store) as made:
        yield made


# ------------------------------------------------------------------------------------------ what it means


@pytest.mark.parametrize(
    ("event", "column", "mark"),
    [
        ("shown", "delivered_at", Mark.DELIVERED),
        ("dismissed", "seen_at", Mark.SEEN | Mark.DELIVERED),
        ("opened", "clicked_at", Mark.CLICKED | Mark.READ | Mark.SEEN | Mark.DELIVERED),
    ],
)
async def test_what_an_app_says_is_written_once_with_all_that_follows(
    world: World, event: str, column: str, mark: Mark
) -> None:
    delivery = await world.push(unless=Mark.CLICKED | Mark.READ | Mark.SEEN | Mark.DELIVERED)
    for _ in range(3):
        answer = await world.tell(world.token(delivery), event)
        assert (answer.status, answer.json) == (202, {})
    row = await world.standing(delivery)
    assert row["state"] == "delivered"
    assert row["delivered_at"] == row[column] == row["settled_at"]
    others = {"seen_at", "clicked_at", "read_at", "opened_at"} - {column}
    assert {row[name] for name in others} == {None}
    assert await world.noted() == [(event, "app")]
    assert await world.counted() == [(0, "second", "com.example", "ios", "1.0", event, "", 1)]
    assert await world.mask() == mark


async def test_each_thing_is_heard_even_if_the_greater_came_first(world: World) -> None:
    delivery = await world.push()
    for event in ("opened", "shown", "dismissed"):
        await world.tell(world.token(delivery), event)
    assert await world.noted() == [("opened", "app"), ("shown", "app"), ("dismissed", "app")]
    assert [(count[5], count[7]) for count in await world.counted()] == [("dismissed", 1), ("opened", 1), ("shown", 1)]


async def test_fifty_who_say_the_same_at_once_on_several_nodes_are_counted_once(world: World) -> None:
    deliveries = [await world.push(unless=Mark.SEEN, notification=UUID(int=n)) for n in range(3)]
    nodes = [await node(world.pool) for _ in range(5)]
    words = [Word(world.token(each), Said(said)) for each in deliveries for said in ("shown", "opened")]
    told = [nodes[n % 5].tell(words if n % 2 else words[::-1]) for n in range(25)]
    told += [nodes[n % 5].tell([words[n % 6]]) for n in range(25)]
    assert await asyncio.gather(*told) == [[]] * 50
    assert sorted(await world.noted()) == [("opened", "app")] * 3 + [("shown", "app")] * 3
    assert [(count[5], count[7]) for count in await world.counted()] == [("opened", 3), ("shown", 3)]


async def test_a_word_that_comes_late_tells_the_truth(world: World) -> None:
    expired = await world.push(state="expired", reason="too_late")
    bounced = await world.push(state="bounced", reason="bounced_later")
    for delivery in (expired, bounced):
        assert (await world.tell(world.token(delivery))).status == 202
    assert [(await world.standing(each))["state"] for each in (expired, bounced)] == ["delivered", "bounced"]
    assert (await world.standing(expired))["reason"] is None


async def test_the_apps_clock_is_believed_within_what_can_be(world: World) -> None:
    between = LONG_AGO + timedelta(days=2)
    for at, noted in [(between, between), (LONG_AGO - timedelta(days=9), LONG_AGO)]:
        delivery = await world.push()
        await world.tell(world.token(delivery), at=at.isoformat())
        assert (await world.standing(delivery))["delivered_at"] == noted
    delivery = await world.push()
    await world.tell(world.token(delivery), at="2999-01-01T00:00:00+01:00")
    assert (await world.standing(delivery))["delivered_at"] <= datetime.now(UTC)
    assert await world.pool.fetchval("SELECT max(at) <= now() FROM receipts")


async def test_the_version_that_speaks_is_counted(world: World) -> None:
    delivery = await world.push()
    await world.tell(world.token(delivery), app_version="2.0 (77)")
    await world.tell(world.token(delivery), "opened", app_version="")
    assert [count[4] for count in await world.counted()] == ["", "2.0 (77)"]
    unknown = await world.push()
    await world.pool.execute("DELETE FROM devices WHERE id = $1", f"dev_{unknown.hex}")
    await world.tell(world.token(unknown), "dismissed")
    assert (0, "second", "", "", "", "dismissed", "", 1) in await world.counted()


# ------------------------------------------------------------------------------------------ later steps


async def test_a_word_waits_for_sends_under_way_where_it_may_stop_a_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ulak.io.postgres.gate.FORBIDDING", FORBIDDING.replace("5s", "50ms"))
    plain = await world.push()
    watched = await world.push(unless=Mark.SEEN, notification=UUID(int=8))
    async with world.pool.transaction(SENDING):
        assert (await world.tell(world.token(plain), "opened")).status == 202
        assert (await world.tell(world.token(watched), "shown")).status == 202
        assert (await world.tell(world.token(watched), "opened")).status == 503
    assert await world.noted() == [("opened", "app"), ("shown", "app")]
    assert (await world.tell(world.token(watched), "opened")).status == 202
    assert Mark.SEEN in await world.mask()


@pytest.mark.parametrize(("event", "stopped"), [("shown", False), ("dismissed", True), ("opened", True)])
async def test_a_later_step_is_stopped_by_a_tap_or_a_swipe_not_by_arrival(
    world: World, event: str, stopped: bool
) -> None:
    await prepare(world.pool)
    await put_users(world.pool, "ada")
    one = await open_node(world.pool)
    one.acceptor.start()
    await send(one, body("escalated", "ada"))
    await plan_all(one)
    await one.acceptor.stop()
    notification = await world.pool.fetchval("SELECT id FROM notifications")
    await world.tell(world.token(await world.push(notification=notification)), event)
    unless = await world.pool.fetchval("SELECT unless FROM deliveries WHERE channel = 'email'")
    assert Mark(unless) == Mark.SEEN
    assert bool(await world.mask() & Mark.SEEN) is stopped


async def test_a_tap_marks_the_item_beside_it_as_read_and_other_words_do_not(world: World) -> None:
    await prepare(world.pool, PROJECT)
    await put_users(world.pool, "ada", "eve")
    one = await open_node(world.pool)
    one.acceptor.start()
    await send(one, body("order", "ada", "eve"))
    await send(one, body("order", "ada"))
    await plan_all(one)
    await one.acceptor.stop()
    notification = await world.pool.fetchval("SELECT id FROM notifications ORDER BY id LIMIT 1")
    delivery = await world.push(notification=notification)
    inbox = Receipts(world.pool)

    async def unread(user: str) -> tuple[int, int]:
        page = await inbox.page(0, user, 0, 10)
        return page.unread, page.unseen

    for event in ("shown", "dismissed"):
        await world.tell(world.token(delivery), event)
    assert (await unread("ada"), await unread("eve")) == ((2, 2), (1, 1))
    for _ in range(2):
        await world.tell(world.token(delivery), "opened")
        assert (await unread("ada"), await unread("eve")) == ((1, 1), (1, 1))


async def test_a_tap_whose_item_was_not_reached_reaches_it_when_it_is_said_again(world: World) -> None:
    await prepare(world.pool)
    await put_users(world.pool, "ada")
    one = await open_node(world.pool)
    one.acceptor.start()
    await send(one, body("order", "ada"))
    await plan_all(one)
    await one.acceptor.stop()
    delivery = await world.push(notification=await world.pool.fetchval("SELECT id FROM notifications"))

    class Broken(Receipts):
        async def change(self, *args: Any, **more: Any) -> int:
            raise OSError

    broken = PushReceipts(world.pool, world.linker, Broken(world.pool), lambda: datetime.now(UTC), lambda: 0.0)
    with pytest.raises(OSError):
        await broken.tell([Word(world.token(delivery), Said.OPENED)])
    await world.tell(world.token(delivery), "opened")
    assert (await Receipts(world.pool).page(0, "ada", 0, 10)).unread == 0
    assert [each for each in await world.noted() if each[1] == "app"] == [("opened", "app")]


# ------------------------------------------------------------------------------------------ who is believed


async def test_only_a_token_of_ours_for_pushes_is_believed(world: World) -> None:
    delivery = await world.push()
    token = world.token(delivery)
    ((kid, secret),) = (await Secrets(world.pool).all(Purpose.LINK)).items()
    wrong = [token[:-1], token + "A", token[::-1], "x", "ä" * 40, token[:-2] + ("AA" if token[-2:] != "AA" else "BB")]
    wrong += [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(0, len(token) - 1, 7)]
    wrong += [link.make(each, kid, secret) for each in (Open(0, delivery), Preferences(0, "ada", delivery))]
    wrong += [link.make(link.Told(0, delivery), kid, b"x" * 32), link.make(link.Told(0, delivery), kid + 1, secret)]
    for each in wrong:
        answer = await world.tell(each)
        assert (answer.status, answer.json["code"]) == (400, "invalid_receipt"), each
        assert each not in answer.body.decode()
    assert (await world.noted(), await world.counted()) == ([], [])


async def test_no_answer_tells_whether_there_is_such_a_delivery(world: World) -> None:
    known, mail = await world.push(), await world.push(channel="email", device="dev_ada@example.com")
    answers = [await world.tell(world.token(each)) for each in (known, UUID(int=99), mail)]
    answers.append(await world.tell(world.token(known, tenant=1)))
    assert len({(each.status, each.body, tuple(each.headers.items())) for each in answers}) == 1
    assert await world.noted() == [("shown", "app")]
    assert [count[0] for count in await world.counted()] == [0]


async def test_nothing_is_heard_of_who_was_erased(world: World) -> None:
    delivery = await world.push(unless=Mark.CLICKED)
    await put_users(world.pool, "ada")
    assert await Users(world.pool).erase(0, "ada")
    assert (await world.tell(world.token(delivery), "opened")).status == 202
    assert (await world.noted(), await world.counted(), await world.mask()) == ([], [], Mark.NONE)


async def test_of_several_those_that_are_ours_are_written_and_the_others_named(world: World) -> None:
    first, second = await world.push(), await world.push()
    several = [
        {"receipt": world.token(first), "event": "shown"},
        {"receipt": "nonsense", "event": "shown"},
        {"receipt": world.token(first), "event": "opened"},
        {"receipt": world.token(second), "event": "shown"},
        {"receipt": world.token(first), "event": "shown"},
    ]
    answer = await call(world.app, "POST", HERE, {"receipts": several}, token=None)
    assert (answer.status, answer.json) == (202, {"refused": [1]})
    assert sorted(await world.noted()) == [("opened", "app"), ("shown", "app"), ("shown", "app")]
    answer = await call(world.app, "POST", HERE, {"receipts": several[2:]}, token=None)
    assert (answer.status, answer.json, len(await world.noted())) == (202, {}, 3)


@pytest.mark.parametrize(
    ("wrong", "status", "path"),
    [
        ({"receipt": "a"}, 422, "$"),
        ({"event": "shown"}, 422, "$"),
        ({"receipt": "a", "event": "bounced"}, 422, "$.event"),
        ({"receipt": "a", "event": "shown", "at": "2026-01-01T00:00:00"}, 422, "$.at"),
        ({"receipt": "a", "event": "shown", "app_version": "1" * 65}, 422, "$.app_version"),
        ({"receipt": "a", "event": "shown", "app_version": "1\n2"}, 422, "$.app_version"),
        ({"receipt": "a", "event": "shown", "user": "ada"}, 422, "$.user"),
        ({"receipt": "a" * 201, "event": "shown"}, 422, "$.receipt"),
        ({"receipts": []}, 422, "$.receipts"),
        ({"receipts": [{"receipt": "a", "event": "shown"}], "event": "shown"}, 422, "$"),
        ({"receipts": [{"receipt": "a", "event": "shown"}] * 101}, 422, "$.receipts"),
        ({"receipts": [{"receipt": "a", "event": "shown", "app_version": "\x07"}]}, 422, "$.receipts[0].app_version"),
    ],
)
async def test_what_can_not_be_meant_is_refused_with_its_place(wrong: Any, status: int, path: str) -> None:
    answer = await call(api(), "POST", HERE, wrong, token=None)
    assert (answer.status, answer.json["path"]) == (status, path)


async def test_pages_of_every_origin_may_tell(world: World) -> None:
    delivery = await world.push()
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    before = await call(world.app, "OPTIONS", HERE, token=None, headers=asked)
    assert (before.status, before.headers["access-control-allow-origin"]) == (204, "*")
    assert "POST" in before.headers["access-control-allow-methods"]
    assert "content-type" in before.headers["access-control-allow-headers"]
    said = {"receipt": world.token(delivery), "event": "shown"}
    for given in (said, {**said, "receipt": "x"}):
        answer = await call(world.app, "POST", HERE, given, token=None, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
    other = await call(world.app, "GET", "/v1/push/stats", headers=asked)
    assert "access-control-allow-origin" not in other.headers
