"""Does a push go to each device as it is now, and does what its service says of a device hold at once, everywhere?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.flow.devices import DROID, FILES, IOS, WEB, device, identity, lines, put_device, refused, told
from tests.flow.harness import body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import Options, attempts, make_due, station
from tests.support import eventually
from ulak.core.breaker import Limits
from ulak.core.device import STRIKES, AddressKind, Fate
from ulak.core.model import Account
from ulak.core.outcome import Kind, Outcome, accepted, outcome
from ulak.flow.attempt import Breakers, Keeper, Settings
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.users import Users
from ulak.node import Node
from ulak.providers.contract import Message

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

ONE, TWO, THREE, FOUR = (identity(n) for n in range(1, 5))
DISABLED = "UPDATE devices SET disabled_at = now(), disabled_why = 'apns_unregistered', disabled_by = 'ios'"


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs; planning and sending are done by hand."""
    await prepare(store, FILES)
    await put_users(store, "ada", "bob")
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


async def ready(node: Node, kind: str = "push", *users: Any, **more: Any) -> None:
    """Accept and plan, so that rows lie in the queue."""
    await send(node, body(kind, *(users or ("ada",)), **more))
    await plan_all(node)


def at(account: Account = IOS, **more: Any) -> Options:
    return Options(account=account, **more)


# --------------------------------------------------------------------------------------------- planning


async def test_each_device_of_the_user_gets_a_delivery_by_an_account_that_reaches_it(node: Node) -> None:
    for n, kind in enumerate(AddressKind, start=1):
        await put_device(node.pool, n, kind=kind)
    await put_device(node.pool, 9, "bob")
    await ready(node)
    assert await told(node.pool) == dict.fromkeys((ONE, TWO, THREE, FOUR), "pending")
    assert await lines(node.pool) == {
        ONE: ("push/ios", "apns/ios"),
        TWO: ("push/droid", "fcm_token/android"),
        THREE: ("push/droid", "fcm_fid/android"),
        FOUR: ("push/web", "webpush/web"),
    }


async def test_a_user_of_the_request_has_the_devices_that_are_stored_under_the_id(node: Node) -> None:
    await put_device(node.pool, 1, "carol")
    await ready(node, "push", {"user": {"id": "carol", "locale": "tr"}})
    assert await told(node.pool) == {ONE: "pending"}


@pytest.mark.parametrize(
    ("change", "kind", "end"),
    [
        (DISABLED, "push", "skipped:device_disabled"),
        ("UPDATE devices SET expires_at = now()", "push", "skipped:device_disabled"),
        ("UPDATE devices SET expires_at = now() + interval '1 hour'", "push", "pending"),
        ("UPDATE devices SET seen_at = now() - interval '60 days'", "push", "skipped:device_stale"),
        ("UPDATE devices SET seen_at = now() - interval '60 days'", "push_alarm", "pending"),
        ("UPDATE devices SET seen_at = now() - interval '59 days'", "push", "pending"),
        ("UPDATE devices SET account = 'gone', kind = 'webpush'", "push", "skipped:no_account"),
        ("UPDATE devices SET wait_until = now() + interval '1 hour'", "push", "pending"),
        ("UPDATE devices SET kind = 'of a later release'", "push", "skipped:no_address"),
    ],
)
async def test_a_device_that_can_not_be_used_is_skipped_with_its_reason(
    node: Node, change: str, kind: str, end: str
) -> None:
    await put_device(node.pool, 1)
    await node.pool.execute(change)
    await ready(node, kind)
    assert list((await told(node.pool)).values()) == [end]
    assert await node.pool.fetchval("SELECT count(*) FROM ready") == (end == "pending")


async def test_who_has_no_device_is_skipped_once_and_other_channels_go_on(node: Node) -> None:
    await ready(node, "both")
    assert await states(node.pool) == {("ada", "in_app"): "accepted", ("ada", "push"): "skipped:no_address"}


# --------------------------------------------------------------------------------------------- last check

CHOOSE = (
    "INSERT INTO preferences (tenant, user_id, category, channel, allowed, source)"
    " VALUES (0, 'ada', 'orders', 'push', false, 'api')"
)
NOES = [
    ("DELETE FROM devices", "skipped:device_gone"),
    ("UPDATE devices SET user_id = 'bob'", "skipped:device_gone"),
    (DISABLED, "skipped:device_disabled"),
    ("UPDATE devices SET expires_at = now()", "skipped:device_disabled"),
    ("UPDATE devices SET expires_at = now() + interval '1 hour'", "accepted"),
    ("UPDATE devices SET seen_at = now() - interval '90 days'", "accepted"),
    ("UPDATE devices SET wait_until = now()", "accepted"),
    ("UPDATE notifications SET cancelled_at = now()", "cancelled:by_caller"),
    (CHOOSE, "skipped:opted_out"),
]


@pytest.mark.parametrize(("no", "end"), NOES)
async def test_a_no_after_planning_is_found_by_the_last_check(node: Node, no: str, end: str) -> None:
    await put_device(node.pool, 1)
    await ready(node)
    await node.pool.execute(no)
    async with station(node, options=at()) as one:
        await one.work()
        assert one.vendor.targets == ([ONE] if end == "accepted" else [])
    assert await told(node.pool) == {ONE: end}
    assert await attempts(node) == ([(1, "accepted", "accepted")] if end == "accepted" else [])
    assert await node.pool.fetchval("SELECT count(*) FROM ready") == 0


async def test_a_device_that_moved_to_another_user_gets_nothing_that_was_meant_for_the_former(node: Node) -> None:
    await put_device(node.pool, 1)
    await ready(node)
    moved = await put_device(node.pool, 2, "bob", address=f"{1:064x}")
    await ready(node, "push", "bob")
    async with station(node, options=at()) as one:
        await one.work()
        assert [(m.target, m.user) for m in one.vendor.sent] == [(moved, "bob")]
    assert await told(node.pool) == {ONE: "skipped:device_gone", moved: "accepted"}


async def test_an_erased_users_pushes_end_quietly(node: Node) -> None:
    await put_device(node.pool, 1)
    await ready(node)
    await Users(node.pool).erase(0, "ada")
    async with station(node, options=at()) as one:
        await one.work()
        assert one.vendor.sent == []
    assert list((await told(node.pool)).values()) == ["expired:too_late"]


async def test_a_device_that_is_to_be_left_alone_waits_without_using_up_a_try(node: Node) -> None:
    await put_device(node.pool, 1)
    await put_device(node.pool, 2)
    await ready(node)
    await node.pool.execute("UPDATE devices SET wait_until = now() + interval '40 seconds' WHERE id = $1", ONE)
    async with station(node, options=at()) as one:
        await one.work()
        assert one.vendor.targets == [TWO]
        assert await told(node.pool) == {ONE: "pending:device_busy", TWO: "accepted"}
        row = await node.pool.fetchrow("SELECT n, extract(epoch FROM due_at - now())::float8 AS wait FROM timers")
        assert row is not None
        assert row["n"] == 1
        assert 20 < row["wait"] <= 41
        await node.pool.execute("UPDATE devices SET wait_until = now()")
        await make_due(node, "push/ios")
        await one.work()
    assert await told(node.pool) == {ONE: "accepted", TWO: "accepted"}


async def test_nothing_waits_for_a_device_beyond_its_expiry(node: Node) -> None:
    await put_device(node.pool, 1)
    await ready(node, "push_alarm")
    await node.pool.execute("UPDATE devices SET wait_until = now() + interval '1 day'")
    async with station(node, options=at()) as one:
        await one.work()
    late = "SELECT t.due_at <= d.expires_at + interval '2 seconds' FROM timers t JOIN deliveries d ON d.id = t.delivery"
    assert await node.pool.fetchval(late)


async def test_the_message_has_the_device_the_unread_count_and_the_callers_key(node: Node) -> None:
    await put_device(node.pool, 1, app_version="3.2")
    await ready(node, "both", collapse_key="order-7")
    await ready(node, "both")
    await put_device(node.pool, 1, app_version="3.3", environment="sandbox")
    async with station(node, options=at()) as one:
        await one.work()
        first, second = one.vendor.sent
    assert first.device is not None
    assert (first.device.id, first.device.address, first.device.app_version) == (ONE, f"{1:064x}", "3.3")
    assert (first.device.kind, first.device.environment, first.device.app) == (AddressKind.APNS, "sandbox", "com.app")
    assert first.device.registered_at == (await device(node.pool, ONE))["registered_at"]
    assert {first.collapse, second.collapse} == {"order-7", None}
    assert (first.badge, second.badge) == (2, 2)
    assert first.notification.startswith("ntf_")


async def test_other_channels_are_told_of_no_device(node: Node) -> None:
    await put_device(node.pool, 1)
    await ready(node, "mail")
    async with station(node) as one:
        await one.work()
        (message,) = one.vendor.sent
    assert (message.device, message.badge, message.receipt, message.entropy) == (None, 0, None, b"")


async def test_a_device_that_registered_with_another_service_is_reached_by_that(node: Node) -> None:
    await put_device(node.pool, 1, name="phone")
    await ready(node)
    assert await put_device(node.pool, 2, kind=AddressKind.FCM_TOKEN, name="phone") == ONE
    breakers = Breakers(lambda: 0.0, node._accounts)
    breakers.match([IOS, DROID, WEB])
    for account in (IOS, DROID):
        async with station(node, options=at(account, lineup=breakers)) as one:
            await one.work()
            assert one.vendor.targets == ([] if account is IOS else [ONE])
        await make_due(node, "push/droid")
    assert await told(node.pool) == {ONE: "accepted"}
    assert await attempts(node) == [(1, "next_provider", "device_elsewhere"), (2, "accepted", "accepted")]


# --------------------------------------------------------------------------------------------- what follows

OLD = datetime(2020, 1, 1, tzinfo=UTC)


async def sent(node: Node, answer: Outcome, account: Account = IOS) -> None:
    """One push to each device of ada, answered so."""
    await ready(node)
    async with station(node, lambda _: answer, at(account)) as one:
        await one.work()


@pytest.mark.parametrize("fate", [Fate.DEAD, Fate.DOUBTED])
async def test_a_dead_address_goes_into_quarantine_with_its_evidence(node: Node, fate: Fate) -> None:
    await put_device(node.pool, 1)
    await put_device(node.pool, 2, "bob")
    await sent(node, refused(fate, detail=f"410 {1:064x} is gone"))
    row = await device(node.pool, ONE)
    assert row["disabled_at"] is not None
    assert (row["disabled_why"], row["disabled_by"]) == (f"push_{fate}", "ios")
    delivery = await node.pool.fetchval("SELECT id FROM deliveries")
    assert row["evidence"] == f"push_{fate}: 410 <address> is gone (dlv_{delivery.hex})"
    assert (await device(node.pool, TWO))["disabled_at"] is None
    assert await told(node.pool) == {ONE: "bounced:address_refused"}
    assert await node.pool.fetchval("SELECT count(*) FROM suppressions") == 0
    await ready(node)
    assert (await told(node.pool))[ONE] in ("skipped:device_disabled", "bounced:address_refused")
    assert await node.pool.fetchval("SELECT count(*) FROM ready") == 0


@pytest.mark.parametrize(("late", "dies"), [(-1, False), (0, True), (1, True)])
async def test_a_death_before_the_last_registration_is_no_news(node: Node, late: int, dies: bool) -> None:
    await put_device(node.pool, 1)
    registered = (await device(node.pool, ONE))["registered_at"]
    await sent(node, refused(Fate.DEAD, dead_since=registered + timedelta(milliseconds=late)))
    assert ((await device(node.pool, ONE))["disabled_at"] is not None) == dies


@pytest.mark.parametrize("fate", [Fate.DEAD, Fate.DOUBTED, Fate.STRIKE, Fate.BUSY, Fate.OTHER_ENVIRONMENT])
@pytest.mark.parametrize("how", ["same address", "new address", "moved", "gone"])
async def test_a_registration_during_the_call_wins_over_what_the_call_says(node: Node, fate: Fate, how: str) -> None:
    await put_device(node.pool, 1, name="phone")
    await node.pool.execute("UPDATE devices SET strikes = $1", STRIKES - 1 if fate is Fate.STRIKE else 0)
    before = []

    async def meanwhile(_: Message) -> Outcome:
        if how == "gone":
            await Devices(node.pool).remove(0, "ada", "phone")
        elif how == "moved":
            await put_device(node.pool, 2, "bob", address=f"{1:064x}")
        else:
            await put_device(node.pool, 1, name="phone", address=f"{1 if how == 'same address' else 2:064x}")
        before.extend([tuple(row.values()) for row in await node.pool.fetch("SELECT * FROM devices")])
        return refused(fate)

    await ready(node)
    async with station(node, meanwhile, at()) as one:
        await one.claim()
        await one.written()
    assert [tuple(row.values()) for row in await node.pool.fetch("SELECT * FROM devices")] == before
    assert len(before) == (how != "gone")


async def test_the_other_environment_is_tried_once_and_then_the_token_is_doubted(node: Node) -> None:
    await put_device(node.pool, 1)
    registered = (await device(node.pool, ONE))["registered_at"]

    def apple(message: Message) -> Outcome:
        assert message.device is not None
        return refused(Fate.DOUBTED if message.device.flipped else Fate.OTHER_ENVIRONMENT)

    await ready(node)
    async with station(node, apple, at()) as one:
        await one.work()
        row = await device(node.pool, ONE)
        assert (row["environment"], row["flipped"], row["disabled_at"]) == ("sandbox", True, None)
        assert row["registered_at"] == registered
        assert await told(node.pool) == {ONE: "retrying:recipient_busy"}
        await make_due(node, "push/ios")
        await one.work()
        seen = [m.device.environment for m in one.vendor.sent if m.device]
    assert seen == ["production", "sandbox"]
    row = await device(node.pool, ONE)
    assert (row["environment"], row["disabled_why"]) == ("sandbox", "push_doubted")


async def test_two_calls_that_met_the_wrong_environment_flip_it_once(node: Node) -> None:
    await put_device(node.pool, 1)
    for _ in range(2):
        await ready(node)
    met = asyncio.Barrier(2)

    async def vendor(_: Message) -> Outcome:
        await met.wait()
        return refused(Fate.OTHER_ENVIRONMENT)

    async with station(node, vendor, at()) as one, asyncio.timeout(30):
        while len(one.vendor.sent) < 2:
            await one.claim()
            await asyncio.sleep(0)
        await one.written()
    row = await device(node.pool, ONE)
    assert (row["environment"], row["flipped"]) == ("sandbox", True)


async def test_strikes_in_a_row_end_in_quarantine_and_a_success_between_them_begins_anew(node: Node) -> None:
    await put_device(node.pool, 1, kind=AddressKind.WEBPUSH)
    counts = []
    answers = [*[Fate.STRIKE] * (STRIKES - 1), None, *[Fate.STRIKE] * STRIKES]
    for fate in answers:
        await sent(node, accepted() if fate is None else refused(fate), WEB)
        row = await device(node.pool, ONE)
        counts.append((row["strikes"], row["disabled_at"] is not None))
    alive = [(n, False) for n in range(1, STRIKES)]
    assert counts == [*alive, (0, False), *alive, (STRIKES, True)]
    row = await device(node.pool, ONE)
    assert (row["disabled_why"], row["disabled_by"]) == ("push_strike", "web")


@pytest.mark.parametrize(("asked", "least", "most"), [(None, 45, 61), (300.0, 285, 301)])
async def test_a_throttled_device_is_left_alone_and_no_other(
    node: Node, asked: float | None, least: float, most: float
) -> None:
    await put_device(node.pool, 1)
    await put_device(node.pool, 2)
    await ready(node)

    def vendor(message: Message) -> Outcome:
        return refused(Fate.BUSY, wait=asked) if message.target == ONE else accepted()

    async with station(node, vendor, at()) as one:
        await one.work()
        await ready(node)
        await one.work()
        assert sorted(one.vendor.targets) == [ONE, TWO, TWO]
    wait = await node.pool.fetchval(
        "SELECT extract(epoch FROM wait_until - now())::float8 FROM devices WHERE id = $1", ONE
    )
    assert least < wait < most
    reasons = await node.pool.fetch("SELECT reason FROM deliveries WHERE target = $1 ORDER BY id", ONE)
    assert [row["reason"] for row in reasons] == ["recipient_busy", "device_busy"]


async def test_the_first_to_say_that_it_is_dead_is_remembered(node: Node) -> None:
    await put_device(node.pool, 1)
    for _ in range(2):
        await ready(node)
    last, both = asyncio.Event(), asyncio.Barrier(2)
    words = iter(["first", "second"])

    async def vendor(_: Message) -> Outcome:
        word = next(words)
        await both.wait()
        if word == "second":
            await last.wait()
        return refused(Fate.DEAD, detail=word)

    async def disabled() -> bool:
        return bool((await device(node.pool, ONE))["disabled_at"])

    async with station(node, vendor, at()) as one, asyncio.timeout(30):
        while len(one.vendor.sent) < 2:
            await one.claim()
            await asyncio.sleep(0)
        await eventually(disabled)
        last.set()
        await one.written()
    assert "first" in (await device(node.pool, ONE))["evidence"]


async def test_a_quarantine_waits_for_the_calls_that_begin_meanwhile(node: Node) -> None:
    """It is a "no" like any other: written behind the gate."""
    await put_device(node.pool, 1)
    await ready(node)
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted"
    answer = asyncio.get_running_loop().create_future()
    async with station(node, lambda _: answer, at()) as one:
        await one.claim()
        async with node.pool.transaction(SENDING):
            answer.set_result(refused(Fate.DEAD))
            await eventually(lambda: node.pool.fetchval(waiting), within=15.0, what="the finisher to wait")
            assert (await device(node.pool, ONE))["disabled_at"] is None
        await one.written()
    assert (await device(node.pool, ONE))["disabled_at"] is not None


async def test_a_result_that_is_fenced_says_nothing_of_its_device(node: Node) -> None:
    await put_device(node.pool, 1)
    await ready(node)

    async def fenced(_: Message) -> Outcome:
        await node.pool.execute("DELETE FROM leases")
        return refused(Fate.DEAD)

    async with station(node, fenced, at()) as one:
        await one.work()
        assert one.finisher.fenced == 1
    assert (await device(node.pool, ONE))["disabled_at"] is None
    assert await node.pool.fetchval("SELECT count(*) FROM push_counts") == 0


async def test_what_services_took_and_refused_is_counted(node: Node) -> None:
    answers: dict[str, Outcome] = {}
    outcomes = [
        accepted(),
        accepted(),
        refused(Fate.DEAD),
        outcome(Kind.PAYLOAD_ERROR, "apns_payload_too_large"),
        outcome(Kind.UNKNOWN, "lost"),
        outcome(Kind.RETRY, "apns_http_503"),
        outcome(Kind.THROTTLED, "apns_http_429"),
        refused(Fate.BUSY),
        outcome(Kind.NEXT_PROVIDER, "apns_http_403"),
    ]
    for n, each in enumerate(outcomes, start=1):
        answers[await put_device(node.pool, n, app_version="3.2")] = each
    await ready(node)
    async with station(node, lambda m: answers[m.target], at()) as one:
        await one.work()
    rows = await node.pool.fetch("SELECT * FROM push_counts ORDER BY what, reason")
    assert [
        (r["account"], r["app"], r["platform"], r["app_version"], r["what"], r["reason"], r["n"]) for r in rows
    ] == [
        ("ios", "com.app", "ios", "3.2", what, reason, n)
        for what, reason, n in (
            ("accepted", "", 2),
            ("rejected", "apns_payload_too_large", 1),
            ("rejected", "push_dead", 1),
            ("unknown", "", 1),
        )
    ]


async def test_pushes_have_no_part_in_the_reputation_of_senders(node: Node) -> None:
    counted = node.scoring._counts
    message = Message("dlv_1", "att_1", ONE, None, OLD)  # type: ignore[arg-type]  # nobody looks at its content
    node.scoring.sent(IOS, [message], [refused(Fate.DEAD)])
    assert not counted


# --------------------------------------------------------------------------------------------- races

PHONES = 24


async def test_no_call_begins_after_a_logout_was_answered_on_whichever_node(node: Node) -> None:
    """Two nodes send while devices are removed: at the answer of each removal the calls to it are all there are."""
    other = await open_node(node.pool, "other")
    for n in range(1, PHONES + 1):
        await put_device(node.pool, n, f"u{n}", name="phone")
    for _ in range(3):
        await ready(node, "push", *(f"u{n}" for n in range(1, PHONES + 1)))
    calls = "SELECT count(*) FROM attempts a JOIN deliveries d ON d.id = a.delivery WHERE d.target = $1"
    counted: dict[str, int] = {}
    over = asyncio.Event()

    async def work(which: Node) -> None:
        slow = Account("ios", "apns", IOS.channel, 2, 2.0, 30.0)
        async with station(which, options=at(slow)) as one:
            while not over.is_set():
                await one.claim()
                await one.written()
                await asyncio.sleep(0)

    workers = [asyncio.create_task(work(which)) for which in (node, other)]
    await eventually(lambda: node.pool.fetchval("SELECT EXISTS (SELECT FROM attempts)"), within=15.0)
    for n in range(PHONES, 0, -1):
        assert await Devices(node.pool).remove(0, f"u{n}", "phone") == 1
        counted[identity(n)] = await node.pool.fetchval(calls, identity(n))
    await eventually(lambda: node.pool.fetchval("SELECT NOT EXISTS (SELECT FROM ready)"), within=30.0)
    over.set()
    await asyncio.gather(*workers)
    assert {target: await node.pool.fetchval(calls, target) for target in counted} == counted
    found = await node.pool.fetch("SELECT DISTINCT state, reason FROM deliveries")
    assert {(row["state"], row["reason"]) for row in found} <= {("accepted", None), ("skipped", "device_gone")}


async def test_two_nodes_that_hear_of_the_same_devices_do_not_lock_one_another_out(node: Node) -> None:
    other = await open_node(node.pool, "other")
    for n in range(1, 9):
        await put_device(node.pool, n)
    for _ in range(4):
        await ready(node)
    both = station(node, lambda _: refused(Fate.STRIKE), at()), station(other, lambda _: refused(Fate.STRIKE), at())
    async with both[0] as one, both[1] as two:
        while await node.pool.fetchval("SELECT EXISTS (SELECT FROM ready)"):
            await asyncio.gather(one.claim(), two.claim())
            await asyncio.gather(one.written(), two.written())
    rows = await node.pool.fetch("SELECT DISTINCT strikes FROM devices")
    assert [row["strikes"] for row in rows] == [4]


# --------------------------------------------------------------------------------------------- other accounts


@pytest.mark.parametrize(
    ("other", "to"),
    [
        (DROID, None),
        (Account("ios2", "apns", IOS.channel), "push/ios2"),
        (Account("ios2", "apns", IOS.channel, settings={"apps": ["com.other"]}), None),
    ],
)
async def test_waiting_pushes_are_diverted_to_an_account_that_reaches_their_devices_and_to_no_other(
    node: Node, other: Account, to: str | None
) -> None:
    await put_device(node.pool, 1)
    await ready(node)
    breakers = Breakers(lambda: 0.0, lambda *_: (IOS, other, WEB), Limits(least=1))
    breakers.match([IOS, other, WEB])
    breakers.told(IOS, [outcome(Kind.NEXT_PROVIDER, "apns_http_403")], 0.0)
    assert [account.name for account in breakers.diverted()] == ["ios"]
    assert await Keeper(node.pool, Settings(), list, breakers).divert() == (to is not None)
    assert await node.pool.fetchval("SELECT bulkhead FROM ready") == (to or "push/ios")


async def test_a_subscription_stays_with_the_account_whose_key_it_was_made_with(node: Node) -> None:
    """Its service takes no other key."""
    second = Account("web2", "webpush", WEB.channel)
    await put_device(node.pool, 1, kind=AddressKind.WEBPUSH)
    await ready(node)
    breakers = Breakers(lambda: 0.0, lambda *_: (WEB, second))
    breakers.match([WEB, second])
    async with station(
        node, lambda _: outcome(Kind.NEXT_PROVIDER, "webpush_http_403"), at(WEB, lineup=breakers)
    ) as one:
        await one.work()
    assert await told(node.pool) == {ONE: "retrying:account_unusable"}
    assert await node.pool.fetchval("SELECT bulkhead FROM timers") == "push/web"
