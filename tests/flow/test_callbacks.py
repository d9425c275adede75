"""Do stored callbacks come to what they mean, exactly once, in whatever order, and never to more?"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.flow.harness import PROJECT, body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import attempts, expire_leases, make_due, station
from tests.providers.email.vendors import envelope, report, sendgrid_event, ses_event
from tests.support import eventually
from ulak.core.ids import attempt_id
from ulak.core.model import Class
from ulak.core.outcome import Kind, Outcome, outcome
from ulak.core.receipt import Told
from ulak.core.suppression import forbidding
from ulak.flow.receipts import Applier, ApplierSettings
from ulak.io.postgres.callbacks import Callbacks, counts, forget
from ulak.io.postgres.consents import NEWEST, Consents
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.suppressions import Suppressions
from ulak.node import Node
from ulak.providers.contract import Message
from ulak.providers.registry import EVENTS

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
DAY = timedelta(days=1)
WATCHED = {
    **PROJECT,
    "ulak.toml": PROJECT["ulak.toml"]
    + """
[types.clicky]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }, { channel = "in_app", after = "1h", unless = "clicked" }]

[types.seeny]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }, { channel = "in_app", after = "1h", unless = "seen" }]
""",
}


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    await prepare(store, WATCHED)
    await put_users(store, "jo", "al", "mo")
    one = await open_node(store)
    one.acceptor.start()
    yield one
    await one.acceptor.stop()


@pytest.fixture
def applier(node: Node) -> Applier:
    return Applier(node.pool, node.boot)


def refused(kind: Kind) -> Outcome:
    return outcome(kind, "scripted")


async def sent(node: Node, kind: str, *users: str, outcome_of: Kind = Kind.ACCEPTED) -> dict[str, UUID]:
    """Send by hand; the email delivery of each user."""
    await send(node, body(kind, *users))
    await plan_all(node)
    async with station(node, lambda _: refused(outcome_of)) as one:
        await one.work()
    rows = await node.pool.fetch("SELECT DISTINCT ON (user_id) user_id, id FROM deliveries WHERE channel = 'email' "
                                 "ORDER BY user_id, id DESC")  # fmt: skip
    return {row["user_id"]: row["id"] for row in rows}


def event(name: str, delivery: UUID, identity: str, at: datetime = NOW, n: int = 1, **more: Any) -> dict[str, Any]:
    fields = {"ulak_attempt": attempt_id(delivery, n), "timestamp": int(at.timestamp())}
    return sendgrid_event(name, identity) | fields | more


async def keep(node: Node, events: Sequence[Any], tenant: int = 0, provider: str = "sendgrid") -> None:
    data = json.dumps(events).encode()
    await Callbacks(node.pool).keep(tenant, provider, "mail", "{}", data)


async def hear(node: Node, applier: Applier, *events: Any, tenant: int = 0) -> None:
    await keep(node, events, tenant)
    while await applier.poll():
        pass


async def listed(node: Node) -> list[tuple[str, str, str]]:
    rows = await node.pool.fetch("SELECT address, scope, reason FROM suppressions ORDER BY 1, 2")
    return [tuple(row.values()) for row in rows]


async def test_a_delivered_message_is_delivered(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    await hear(node, applier, event("delivered", ids["jo"], "e1"))
    row = await node.pool.fetchrow("SELECT state, delivered_at FROM deliveries")
    assert row is not None
    assert tuple(row.values()) == ("delivered", NOW)
    receipt = await node.pool.fetchrow("SELECT n, kind, source, at FROM receipts")
    assert receipt is not None
    assert tuple(receipt.values()) == (1, "delivered", "provider", NOW)
    assert await counts(node.pool) == (0, 0)


async def test_a_bounce_after_the_delivery_ends_in_bounced_and_the_next_one_is_not_sent(
    node: Node, applier: Applier
) -> None:
    ids = await sent(node, "mail", "jo", "al")
    await hear(node, applier, event("delivered", ids["jo"], "e1"))
    await hear(node, applier, event("bounce", ids["jo"], "e2", type="bounce", status="5.1.1"))
    assert (await states(node.pool))["jo", "email"] == "bounced:bounced_later"
    row = await node.pool.fetchrow("SELECT scope, reason, evidence, source, event, event_at FROM suppressions")
    assert row is not None
    assert tuple(row.values()) == ("all", "bounced", "sendgrid_bounce 5.1.1", "mail", "e2", NOW)
    await sent(node, "mail", "jo", "al")
    rows = await node.pool.fetch("SELECT state, reason FROM deliveries ORDER BY id DESC LIMIT 2")
    assert sorted((r["state"], r["reason"]) for r in rows) == [("accepted", None), ("suppressed", "bounced")]


async def test_a_bounce_stops_what_waits_for_its_turn(node: Node, applier: Applier) -> None:
    """Planned before the bounce, checked after it."""
    ids = await sent(node, "mail", "jo")
    await send(node, body("mail", "jo"))
    await plan_all(node)
    await hear(node, applier, event("bounce", ids["jo"], "e2", type="bounce"))
    async with station(node) as one:
        await one.work()
        assert one.vendor.sent == []
    assert await node.pool.fetchval("SELECT reason FROM deliveries ORDER BY id DESC LIMIT 1") == "bounced"


@pytest.mark.parametrize("name", ["processed", "delivered", "open"])
async def test_an_unanswered_call_is_settled_by_proof_and_not_repeated(node: Node, applier: Applier, name: str) -> None:
    ids = await sent(node, "mail", "jo", outcome_of=Kind.UNKNOWN)
    assert await states(node.pool) == {("jo", "email"): "unknown:no_answer"}
    await hear(node, applier, event(name, ids["jo"], "e1"))
    await make_due(node)
    async with station(node) as one:
        await one.work()
        assert one.vendor.sent == []
    assert await attempts(node) == [(1, "unknown", "scripted")]
    assert (await states(node.pool))["jo", "email"] == ("accepted" if name == "processed" else "delivered")


async def test_proof_that_comes_before_the_node_is_known_to_be_dead(node: Node, applier: Applier) -> None:
    await send(node, body("mail", "jo"))
    await plan_all(node)
    hang = asyncio.Event()

    async def never(_: Message) -> Outcome:
        await hang.wait()
        raise AssertionError

    async with station(node, never) as one:
        await one.claim()
        delivery = await node.pool.fetchval("SELECT id FROM deliveries")
        await hear(node, applier, event("processed", delivery, "e1"))
    await expire_leases(node)
    await make_due(node)
    async with station(node) as two:
        await two.work()
        assert two.vendor.sent == []
    assert await states(node.pool) == {("jo", "email"): "accepted"}


async def test_a_complaint_stops_all_but_what_is_critical(node: Node, applier: Applier) -> None:
    ids = await sent(node, "offer", "jo")
    await hear(node, applier, event("spamreport", ids["jo"], "e1"))
    assert await listed(node) == [("jo@example.com", "not:critical", "complained")]
    assert await node.pool.fetchval("SELECT complained_at FROM deliveries") == NOW
    for kind, expected in (("mail", "suppressed:complained"), ("alarm", "accepted")):
        await node.pool.execute("DELETE FROM deliveries")
        await sent(node, kind, "jo")
        assert await states(node.pool) == {("jo", "email"): expected}


async def test_unsubscribing_at_the_vendor_stops_marketing_or_the_category(node: Node, applier: Applier) -> None:
    ids = await sent(node, "offer", "jo", "al")
    await hear(
        node,
        applier,
        event("unsubscribe", ids["jo"], "e1"),
        event("group_unsubscribe", ids["al"], "e2"),
        event("group_resubscribe", ids["al"], "e3"),
    )
    assert await listed(node) == [
        ("al@example.com", "offers", "unsubscribed"),
        ("jo@example.com", "class:marketing", "unsubscribed"),
    ]


async def test_what_users_choose_at_a_vendor_is_on_record_once(node: Node, applier: Applier) -> None:
    ids = await sent(node, "offer", "jo", "al")
    events = [
        event("unsubscribe", ids["jo"], "e1"),
        event("group_unsubscribe", ids["al"], "e2"),
        event("group_resubscribe", ids["al"], "e3", NOW + DAY / 24),
    ]
    for _ in range(2):
        await hear(node, applier, *events)
    rows = [await Consents(node.pool).page(0, user, NEWEST, 10) for user in ("jo", "al")]
    assert [[(r["category"], r["channel"], r["allowed"], r["source"]) for r in each] for each in rows] == [
        [("class:marketing", "email", False, "vendor")],
        [("offers", "email", True, "vendor"), ("offers", "email", False, "vendor")],
    ]
    assert (rows[0][0]["evidence"], rows[0][0]["at"]) == ("mail e1", NOW)


async def forbid(node: Node, scope: str, reason: str = "manual") -> None:
    await node.pool.execute(
        "INSERT INTO suppressions (tenant, channel, address, scope, reason)"
        " VALUES (0, 'email', 'jo@example.com', $1, $2)",
        scope,
        reason,
    )


SCOPES = ("all", "not:critical", "class:critical", "class:transactional", "class:marketing", "orders", "offers")


@pytest.mark.parametrize("scope", SCOPES)
async def test_planner_and_last_check_agree(node: Node, scope: str) -> None:
    """The same suppression before planning, and between planning and sending; and the rule itself."""
    kinds = {
        "mail": ("orders", Class.TRANSACTIONAL),
        "offer": ("offers", Class.MARKETING),
        "alarm": ("security", Class.CRITICAL),
    }
    ends: dict[str, list[str]] = {}
    for suppress_first in (True, False):
        await node.pool.execute("DELETE FROM suppressions")
        await node.pool.execute("DELETE FROM deliveries")
        if suppress_first:
            await forbid(node, scope)
        for kind in kinds:
            await send(node, body(kind, "jo"))
        await plan_all(node)
        if not suppress_first:
            await forbid(node, scope)
        async with station(node) as one:
            await one.work()
        rows = await node.pool.fetch(
            "SELECT n.type, d.state FROM deliveries d JOIN notifications n ON n.id = d.notification"
        )
        for row in rows:
            ends.setdefault(row["type"], []).append(row["state"])
    for kind, (category, klass) in kinds.items():
        forbidden = forbidding([(scope, "manual")], category, klass) is not None
        assert ends[kind] == ["suppressed" if forbidden else "accepted"] * 2, kind


@pytest.mark.parametrize(
    "both", [("all", "orders"), ("not:critical", "class:transactional"), ("class:transactional", "orders")]
)
async def test_planner_and_last_check_name_the_same_reason(node: Node, both: tuple[str, str]) -> None:
    reasons = []
    for suppress_first in (True, False):
        await node.pool.execute("DELETE FROM suppressions")
        await node.pool.execute("DELETE FROM deliveries")
        for step in ("put", "plan") if suppress_first else ("plan", "put"):
            if step == "plan":
                await send(node, body("mail", "jo"))
                await plan_all(node)
                continue
            for scope, reason in zip(both, ("bounced", "manual"), strict=True):
                await forbid(node, scope, reason)
        async with station(node) as one:
            await one.work()
        reasons.append(await node.pool.fetchval("SELECT reason FROM deliveries"))
    assert reasons == ["bounced", "bounced"]


async def test_soft_bounces_in_a_row_forbid_for_a_while_and_a_delivery_lifts_it(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    for day in range(4):
        await hear(node, applier, event("bounce", ids["jo"], f"s{day}", NOW - day * DAY, type="blocked"))
    assert await listed(node) == []
    await hear(node, applier, event("bounce", ids["jo"], "s4", NOW - 4 * DAY, type="blocked"))
    assert await listed(node) == [("jo@example.com", "all", "soft_bounced")]
    assert await node.pool.fetchval("SELECT expires_at FROM suppressions") == NOW + 30 * DAY
    await hear(node, applier, event("delivered", ids["jo"], "d1", NOW - 2 * DAY))
    assert await listed(node) == [], "only two have come since"


async def test_who_allows_an_address_again_begins_to_count_anew(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    await hear(node, applier, *(event("bounce", ids["jo"], f"s{n}", NOW - n * DAY, type="blocked") for n in range(5)))
    assert await Suppressions(node.pool).remove(0, "email", "jo@example.com", None) == 1
    await hear(node, applier, event("bounce", ids["jo"], "s6", type="blocked"))
    assert await listed(node) == []


async def test_a_soft_suppression_gives_way_to_a_hard_bounce_and_never_the_other_way(
    node: Node, applier: Applier
) -> None:
    ids = await sent(node, "mail", "jo", "al")
    soft = [event("bounce", ids["jo"], f"s{n}", NOW - n * DAY, type="blocked") for n in range(5)]
    hard = event("bounce", ids["jo"], "h", type="bounce", status="5.1.1")
    await hear(node, applier, *soft)
    await hear(node, applier, hard)
    assert await listed(node) == [("jo@example.com", "all", "bounced")]
    late = [event("bounce", ids["jo"], f"t{n}", NOW + n * timedelta(minutes=1), type="blocked") for n in range(5)]
    await hear(node, applier, *late, event("delivered", ids["jo"], "d"))
    assert await listed(node) == [("jo@example.com", "all", "bounced")]


async def test_a_refusal_for_good_takes_the_place_of_a_suppression_that_has_ended(node: Node) -> None:
    await forbid(node, "all", "soft_bounced")
    await node.pool.execute("UPDATE suppressions SET expires_at = now() - interval '1 day'")
    await sent(node, "mail", "jo", outcome_of=Kind.RECIPIENT_PERMANENT)
    row = await node.pool.fetchrow("SELECT reason, source, expires_at FROM suppressions")
    assert row is not None
    assert tuple(row.values()) == ("bounced", "mail", None)


async def test_what_somebody_forbade_by_hand_stays_theirs(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    await forbid(node, "all")
    await hear(node, applier, event("bounce", ids["jo"], "h", type="bounce"))
    assert await listed(node) == [("jo@example.com", "all", "manual")]


async def test_a_storm_of_passing_and_policy_trouble_suppresses_nobody(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    storm = []
    for n in range(60):
        status = ("4.2.2", "4.7.1", "5.7.1", "5.7.515")[n % 4]
        name, type_ = (("deferred", None), ("bounce", "blocked"), ("bounce", "bounce"))[n % 3]
        storm.append(event(name, ids["jo"], f"e{n}", type=type_, status=status, reason=f"550 {status} no"))
    await hear(node, applier, *storm)
    assert await listed(node) == []
    assert await node.pool.fetchval("SELECT count(*) FROM receipts") == 60


async def test_a_vendors_own_list_suppresses_but_is_not_counted_as_our_bounce(node: Node, applier: Applier) -> None:
    ids = await sent(node, "offer", "jo", "al")
    dropped = event("dropped", ids["jo"], "e1", reason="Bounced Address")
    await hear(node, applier, dropped, event("bounce", ids["al"], "e2", type="bounce"))
    assert [row[2] for row in await listed(node)] == ["bounced", "bounced"]
    rows = await node.pool.fetch("SELECT class, kind, n FROM account_events ORDER BY kind")
    assert [tuple(row.values()) for row in rows] == [("marketing", "bounced", 1), ("marketing", "listed", 1)]
    assert (await states(node.pool))["jo", "email"] == "failed:refused_later"


async def test_a_click_stops_a_step_that_waits_for_it_and_an_open_is_no_seen(node: Node, applier: Applier) -> None:
    ids = await sent(node, "clicky", "jo") | await sent(node, "seeny", "al")
    await hear(node, applier, event("open", ids["jo"], "o1"), event("open", ids["al"], "o2"))
    assert await node.pool.fetchval("SELECT count(*) FROM markers") == 0
    await hear(node, applier, event("click", ids["jo"], "c1"), event("click", ids["jo"], "c2"))
    rows = await node.pool.fetch("SELECT user_id, mask FROM markers")
    assert [tuple(row.values()) for row in rows] == [("jo", 15)]
    row = await node.pool.fetchrow("SELECT opened_at, clicked_at FROM deliveries WHERE id = $1", ids["jo"])
    assert row is not None
    assert tuple(row.values()) == (NOW, NOW)


async def test_another_tenants_event_changes_nothing_of_ours(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    before = await states(node.pool)
    await hear(node, applier, event("bounce", ids["jo"], "e1", type="bounce"), tenant=7)
    assert await states(node.pool) == before
    assert await node.pool.fetchval("SELECT count(*) FROM receipts") == 0
    rows = await node.pool.fetch("SELECT tenant, address FROM suppressions")
    assert [tuple(row.values()) for row in rows] == [(7, "jo@example.com")]


async def test_an_event_of_a_message_that_is_not_ours_speaks_of_its_address_only(node: Node, applier: Applier) -> None:
    fields = sendgrid_event("bounce", "x1", type="bounce", email="Somebody@Example.com") | {"ulak_attempt": "none"}
    await hear(node, applier, fields)
    assert await listed(node) == [("somebody@example.com", "all", "bounced")]
    assert await node.pool.fetchval("SELECT class FROM account_events") == ""


async def test_amazon_and_smtp_servers_come_to_the_same(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo", "al")
    bounce = ses_event()
    bounce["mail"]["tags"] = {"ulak_attempt": [attempt_id(ids["jo"], 1)]}
    await Callbacks(node.pool).keep(0, "ses", "mail", "{}", json.dumps(envelope(bounce)).encode())
    dsn = report(returned=f"X-Ulak-Attempt: {attempt_id(ids['al'], 1)}")
    await Callbacks(node.pool).keep(0, "smtp", "mail", "{}", dsn)
    while await applier.poll():
        pass
    assert {row[0] for row in await listed(node)} == {"jo@example.com", "al@example.com"}
    assert set((await states(node.pool)).values()) == {"bounced:bounced_later"}


# ------------------------------------------------------------------------------------ order and repetition


async def picture(node: Node) -> Mapping[str, Any]:
    """All that events change, but for when we heard of them."""
    questions = {
        "deliveries": "SELECT user_id, state, reason, settled_at, delivered_at, opened_at, clicked_at, complained_at"
        " FROM deliveries WHERE channel = 'email' ORDER BY user_id",
        "receipts": "SELECT delivery, n, kind, detail, at FROM receipts ORDER BY delivery, at, kind, detail",
        "suppressions": "SELECT address, scope, reason, evidence, source, event, event_at, expires_at FROM suppressions"
        " ORDER BY address, scope",
        "reachability": "SELECT address, delivered_at, soft FROM reachability ORDER BY address",
        "markers": "SELECT user_id, mask FROM markers ORDER BY user_id",
        "counts": "SELECT class, hour, kind, n FROM account_events ORDER BY 1, 2, 3",
    }
    return {name: [tuple(row.values()) for row in await node.pool.fetch(sql)] for name, sql in questions.items()}


async def reset(node: Node, before: Sequence[Any]) -> None:
    for table in ("receipts", "suppressions", "reachability", "markers", "account_events", "callback_events"):
        await node.pool.execute(f"DELETE FROM {table}")
    for row in before:
        await node.pool.execute(
            "UPDATE deliveries SET state = $2, reason = $3, settled_at = $4, delivered_at = NULL, opened_at = NULL,"
            " clicked_at = NULL, complained_at = NULL WHERE id = $1",
            *row.values(),
        )


def story(ids: Mapping[str, UUID]) -> list[dict[str, Any]]:
    """What vendors tell of three messages: one bounces late, one softly and often, one is read and complained of."""
    jo, al, mo = ids["jo"], ids["al"], ids["mo"]
    minute = timedelta(minutes=1)
    soft = [event("bounce", al, f"al-{n}", NOW - n * DAY, type="blocked") for n in range(1, 9)]
    return [
        event("processed", jo, "jo-1"),
        event("delivered", jo, "jo-2", NOW + minute),
        event("open", jo, "jo-3", NOW + 2 * minute),
        event("bounce", jo, "jo-4", NOW + 3 * minute, type="bounce", status="5.1.1"),
        event("bounce", jo, "jo-5", NOW + 4 * minute, type="bounce", status="5.1.1"),
        *soft,
        event("delivered", al, "al-d", NOW - 7 * DAY),
        event("deferred", mo, "mo-1"),
        event("delivered", mo, "mo-2", NOW + minute),
        event("click", mo, "mo-3", NOW + 2 * minute),
        event("click", mo, "mo-4", NOW + 5 * minute),
        event("spamreport", mo, "mo-5", NOW + 3 * minute),
        event("dropped", mo, "mo-6", NOW + 9 * minute, reason="Spam Reporting Address"),
        event("unsubscribe", mo, "mo-7", NOW + 4 * minute),
    ]


@pytest.mark.parametrize("seed", range(12 if "CI" in os.environ else 4))
async def test_events_repeated_46_times_shuffled_and_batched_anew_come_to_the_same(
    node: Node, applier: Applier, seed: int
) -> None:
    ids = await sent(node, "clicky", "jo", "al", "mo")
    before = await node.pool.fetch("SELECT id, state, reason, settled_at FROM deliveries WHERE channel = 'email'")
    events = story(ids)
    await hear(node, applier, *events)
    expected = await picture(node)
    assert {row[1] for row in expected["deliveries"]} == {"bounced", "delivered"}
    assert len(expected["suppressions"]) == 4
    await reset(node, before)
    chance = random.Random(seed)
    often = [each for each in events for _ in range(46)]
    chance.shuffle(often)
    while often:
        size = chance.choice((1, 3, 10, 50))
        await keep(node, often[:size])
        del often[:size]
        if chance.random() < 0.2:
            await applier.poll()
    others = [Applier(node.pool, node.boot, settings=ApplierSettings(batch=3)) for _ in range(2)]

    async def drain(one: Applier) -> None:
        while await one.poll():
            pass

    await asyncio.gather(*map(drain, (applier, *others)))
    await node.pool.execute("UPDATE callbacks SET ready_at = now()")  # those that two deadlocked over
    await drain(applier)
    assert await picture(node) == expected


# ------------------------------------------------------------------------------------------ what goes wrong


class Poisoned:
    """A vendor of whose callbacks some can't be read."""

    def receipts(self, data: bytes) -> Told:
        if b"poison" in data:
            raise RuntimeError("poison with jo@example.com")
        return EVENTS["sendgrid"].receipts(data)


async def dead(node: Node) -> list[str]:
    return [row["reason"] for row in await node.pool.fetch("SELECT reason FROM dead_callbacks ORDER BY id")]


async def test_a_callback_that_can_not_be_read_spoils_no_other(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    ids = await sent(node, "mail", "jo")
    applier = Applier(node.pool, node.boot, events={"sendgrid": Poisoned()})  # type: ignore[dict-item]
    await keep(node, ["poison"])
    await keep(node, [], provider="gone")
    await hear(node, applier, event("delivered", ids["jo"], "e1"))
    assert await states(node.pool) == {("jo", "email"): "delivered"}
    assert await dead(node) == ["unreadable", "unreadable"]
    assert applier.aside == 2
    assert "jo@example.com" not in caplog.text


async def test_a_callback_that_the_database_refuses_is_put_aside_alone(database: Pool) -> None:
    await prepare(database)
    await put_users(database, "jo", "al")
    node = await open_node(database)
    node.acceptor.start()
    applier = Applier(database, node.boot)
    ids = await sent(node, "mail", "jo", "al")
    await node.acceptor.stop()
    await database.execute("ALTER TABLE receipts ADD CONSTRAINT poison CHECK (detail NOT LIKE '%poison%')")
    await keep(node, [event("delivered", ids["jo"], "e1", response="poison")])
    await hear(node, applier, event("delivered", ids["al"], "e2"))
    assert await dead(node) == ["refused"]
    assert (await states(database))["al", "email"] == "delivered"
    assert await database.fetchval("SELECT count(*) FROM callback_events") == 1, "nothing of the refused one stays"


async def test_events_of_an_unknown_kind_are_kept_and_the_known_ones_applied(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    await hear(node, applier, event("novelty", ids["jo"], "e1"), event("delivered", ids["jo"], "e2"))
    assert await states(node.pool) == {("jo", "email"): "delivered"}
    assert await dead(node) == ["unknown_event"]
    assert await counts(node.pool) == (0, 1)


async def test_a_callback_that_kills_its_node_is_put_aside_after_three_times_alone(node: Node) -> None:
    ids = await sent(node, "mail", "jo")
    applier = Applier(node.pool, node.boot)
    await keep(node, [event("delivered", ids["jo"], "e1")])
    await node.pool.execute("UPDATE callbacks SET tries = 4")
    await applier.poll()
    assert await dead(node) == ["crashed"]
    await keep(node, [event("delivered", ids["jo"], "e2")])
    await node.pool.execute("UPDATE callbacks SET tries = 3")
    await applier.poll()
    assert await dead(node) == ["crashed"]
    assert await states(node.pool) == {("jo", "email"): "delivered"}


async def test_who_lost_the_lease_writes_nothing(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    await keep(node, [event("delivered", ids["jo"], "e1")])
    other = Applier(node.pool, node.boot + 1)
    release = asyncio.Event()
    settle = applier._settle

    async def late(taken: Any) -> None:
        await release.wait()
        await settle(taken)

    applier._settle = late  # type: ignore[method-assign]
    slow = asyncio.create_task(applier.poll())
    await eventually(lambda: node.pool.fetchval("SELECT boot FROM callbacks"), what="the lease")
    await node.pool.execute("UPDATE callbacks SET ready_at = now()")
    await other.poll()
    release.set()
    await slow
    assert (other.applied, applier.applied, applier.repeated) == (1, 0, 0)
    assert await node.pool.fetchval("SELECT count(*) FROM receipts") == 1


WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted"


@pytest.mark.parametrize(
    ("kind", "name", "waits"),
    [("mail", "bounce", True), ("clicky", "click", True), ("mail", "click", False), ("mail", "delivered", False)],
)
async def test_what_forbids_takes_the_gate_and_nothing_else_does(
    node: Node, applier: Applier, kind: str, name: str, waits: bool
) -> None:
    ids = await sent(node, kind, "jo")
    await keep(node, [event(name, ids["jo"], "e1", type="bounce")])
    async with node.pool.transaction(SENDING):
        applying = asyncio.create_task(applier.poll())
        if waits:
            await eventually(lambda: node.pool.fetchval(WAITING), what="the applier to wait for the senders")
            assert await node.pool.fetchval("SELECT count(*) FROM receipts") == 0
        else:
            await applying
    await applying
    assert await node.pool.fetchval("SELECT count(*) FROM receipts") == 1


async def test_records_are_forgotten_after_thirty_days(node: Node, applier: Applier) -> None:
    ids = await sent(node, "mail", "jo")
    await hear(node, applier, event("delivered", ids["jo"], "e1"), event("novelty", ids["jo"], "e2"))
    await forget(node.pool)
    assert await node.pool.fetchval("SELECT count(*) FROM callback_events") == 1
    assert await counts(node.pool) == (0, 1)
    await node.pool.execute("UPDATE callback_events SET at = now() - interval '31 days'")
    await node.pool.execute("UPDATE dead_callbacks SET at = now() - interval '31 days'")
    await forget(node.pool)
    assert await node.pool.fetchval("SELECT count(*) FROM callback_events") == 0
    assert await counts(node.pool) == (0, 0)


async def test_the_loop_applies_what_it_is_woken_for(node: Node) -> None:
    ids = await sent(node, "mail", "jo")
    applier = Applier(node.pool, node.boot, settings=ApplierSettings(poll=30.0))
    applier.start()
    await keep(node, [event("delivered", ids["jo"], "e1")])
    applier.wake()

    async def done() -> bool:
        return await states(node.pool) == {("jo", "email"): "delivered"}

    await eventually(done, what="the event to be applied")
    await applier.stop()


@pytest.mark.parametrize("turns", range(5))
async def test_a_stop_that_comes_together_with_news_is_not_forgotten(
    node: Node, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    applier, asked = Applier(node.pool, node.boot, settings=ApplierSettings(poll=300.0)), asyncio.Event()

    async def nothing() -> bool:
        asked.set()
        return False

    monkeypatch.setattr(applier, "poll", nothing)
    applier.start()
    await asked.wait()
    for _ in range(5):
        await asyncio.sleep(0)  # now it waits
    applier.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await applier.stop()
