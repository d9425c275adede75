"""Is every call checked for the last time, made at most once a number, and followed by what its answer means?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from tests.flow.harness import body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import MAIL, Options, Station, attempts, expire_leases, make_due, station
from tests.support import eventually
from ulak.core.content.email import ContentError
from ulak.core.model import Account
from ulak.core.outcome import Kind, Outcome, accepted, outcome
from ulak.flow.attempt import Settings
from ulak.io.postgres import attempting
from ulak.io.postgres.attempting import Line, Result, begin, claim, finish
from ulak.io.postgres.gate import FORBIDDING, SENDING
from ulak.io.postgres.operate import Operations
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.users import By, Choice, Users
from ulak.node import Node
from ulak.providers.contract import Message

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

QUEUE = (
    "SELECT (SELECT count(*) FROM plan_work) + (SELECT count(*) FROM ready) + (SELECT count(*) FROM timers)"
    " + (SELECT count(*) FROM leases)"
)
TIMER = "SELECT n, lane, verdict, crashes, extract(epoch FROM due_at - now())::float8 AS wait FROM timers"


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs; planning and sending are done by hand."""
    await prepare(store)
    await put_users(store, "ada", "bob")
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


async def ready(node: Node, kind: str = "mail", *users: str, **more: Any) -> None:
    """Accept and plan, so that rows lie in the queue."""
    await send(node, body(kind, *(users or ("ada",)), **more))
    await plan_all(node)


async def email(node: Node) -> str:
    return (await states(node.pool))["ada", "email"]


# --------------------------------------------------------------------------------------------- last check

CANCEL = "UPDATE notifications SET cancelled_at = now()"
EXPIRE = "UPDATE deliveries SET expires_at = now()"
CHOOSE = "INSERT INTO preferences (tenant, user_id, category, channel, allowed, source) VALUES (0, 'ada', {}, 'api')"
SUPPRESS = "INSERT INTO suppressions (tenant, channel, address, scope, reason) VALUES (0, {}, 'bounced')"
MARK = "INSERT INTO markers (tenant, notification, user_id, mask) SELECT 0, id, 'ada', {} FROM notifications"

NOES = [
    ("mail", CANCEL, "cancelled:by_caller"),
    ("mail", EXPIRE, "expired:too_late"),
    ("mail", CHOOSE.format("'orders', 'email', false"), "skipped:opted_out"),
    ("mail", CHOOSE.format("'orders', '*', false"), "skipped:opted_out"),
    ("mail", CHOOSE.format("'*', 'email', false"), "skipped:opted_out"),
    ("mail", CHOOSE.format("'*', '*', false"), "skipped:opted_out"),
    ("mail", CHOOSE.format("'*', '*', false, 'api'), (0, 'ada', 'orders', '*', true"), "accepted"),
    ("mail", CHOOSE.format("'orders', '*', true, 'api'), (0, 'ada', 'orders', 'email', false"), "skipped:opted_out"),
    ("mail", CHOOSE.format("'orders', '*', false, 'api'), (0, 'ada', '*', 'email', true"), "skipped:opted_out"),
    ("mail", CHOOSE.format("'offers', 'email', false"), "accepted"),
    ("mail", CHOOSE.format("'orders', 'sms', false"), "accepted"),
    ("alarm", CHOOSE.format("'*', '*', false"), "accepted"),
    ("alarm", CHOOSE.format("'*', 'email', false"), "accepted"),
    ("alarm", CHOOSE.format("'security', '*', false"), "skipped:opted_out"),
    ("mail", SUPPRESS.format("'email', 'ada@example.com', 'all'"), "suppressed:bounced"),
    ("mail", SUPPRESS.format("'email', 'ada@example.com', 'orders'"), "suppressed:bounced"),
    ("mail", SUPPRESS.format("'email', 'ada@example.com', 'offers'"), "accepted"),
    ("mail", SUPPRESS.format("'sms', 'ada@example.com', 'all'"), "accepted"),
    ("escalated", MARK.format(2 | 1), "skipped:seen"),
    ("escalated", MARK.format(4 | 2 | 1), "skipped:seen"),
    ("escalated", MARK.format(1), "accepted"),
    ("mail", MARK.format(15), "accepted"),
]


@pytest.mark.parametrize(("kind", "no", "end"), NOES)
async def test_a_no_after_planning_is_found_by_the_last_check(node: Node, kind: str, no: str, end: str) -> None:
    await ready(node, kind)
    await node.pool.execute(no)
    await make_due(node)
    async with station(node) as one:
        await one.work()
        assert one.vendor.targets == (["ada@example.com"] if end == "accepted" else [])
    assert await email(node) == end
    assert await attempts(node) == ([(1, "accepted", "accepted")] if end == "accepted" else [])
    assert await node.pool.fetchval(QUEUE) == 0
    assert await node.pool.fetchval("SELECT settled_at IS NOT NULL FROM deliveries WHERE channel = 'email'")


@pytest.mark.parametrize(("bit", "end"), [(1, "delivered"), (2, "seen"), (4, "read"), (8, "clicked")])
@pytest.mark.parametrize("place", ["timer", "ready", "leased"])
async def test_what_the_user_did_stops_a_later_step_wherever_its_row_is(
    node: Node, bit: int, end: str, place: str
) -> None:
    await ready(node, "escalated")
    await node.pool.execute("UPDATE deliveries SET unless = $1 WHERE channel = 'email'", bit)
    async with station(node) as one:
        if place == "leased":
            await make_due(node)
            async with node.pool.transaction(SENDING) as connection:
                rows = await claim(connection, Line(1, "email/mail"), 1, node.boot, 60.0, 1.0)
                await node.pool.execute(MARK.format(15 if end == "delivered" else bit))
                _, stopped = await begin(connection, rows, "mail", 1.0)
            assert len(stopped) == 1
        else:
            if place == "ready":
                await make_due(node)
            await node.pool.execute(MARK.format(15 if end == "delivered" else bit))
            if place == "timer":
                await make_due(node)
            await one.work()
        assert one.vendor.sent == []
    assert await email(node) == f"skipped:{end}"
    assert await node.pool.fetchval(QUEUE) == 0


async def test_a_row_whose_delivery_is_settled_is_dropped(node: Node) -> None:
    await ready(node)
    await node.pool.execute("UPDATE deliveries SET state = 'delivered'")
    async with station(node) as one:
        await one.work()
        assert one.vendor.sent == []
    assert await email(node) == "delivered"
    assert await node.pool.fetchval(QUEUE) == 0


async def test_an_expired_suppression_forbids_nothing(node: Node) -> None:
    await ready(node)
    await node.pool.execute(SUPPRESS.format("'email', 'ada@example.com', 'all'"))
    await node.pool.execute("UPDATE suppressions SET expires_at = now()")
    async with station(node) as one:
        await one.work()
    assert await email(node) == "accepted"


# --------------------------------------------------------------------------------------------- promise 3


@pytest.mark.parametrize("gate", [True, False], ids=["gate", "mutation: without the gate"])
async def test_no_attempt_appears_after_the_commit_of_an_opt_out(
    node: Node, monkeypatch: pytest.MonkeyPatch, gate: bool
) -> None:
    """The check took its snapshot, the opt-out commits, and then the attempt row comes.

    The check is held between its snapshot and its insert by a row of another transaction, which then goes.
    With the gate the opt-out waits for the check; without, it commits first, and the attempt row that it
    forbids appears after its commit.
    """
    if not gate:
        monkeypatch.setattr("ulak.flow.attempt.worker.SENDING", "SELECT 1")
        monkeypatch.setattr("ulak.io.postgres.users.FORBIDDING", "SELECT 1")
    await ready(node)

    async def opt_out() -> int:
        """How many attempts there are at its commit: after it there must be no more."""
        await Users(node.pool).choose(0, "ada", [Choice("orders", "email", allowed=False)], By("api"), replace=False)
        return int(await node.pool.fetchval("SELECT count(*) FROM attempts WHERE token <> 0"))

    def waiting(what: str) -> Any:
        return node.pool.fetchval(f"SELECT count(*) FROM pg_locks WHERE {what} AND NOT granted")

    async with station(node) as one:
        async with node.pool.transaction() as holder:
            await holder.execute(
                "INSERT INTO attempts (tenant, delivery, n, token, account, reconcile_at)"
                " SELECT tenant, delivery, n, 0, 'x', now() FROM ready"
            )
            checking = asyncio.create_task(one.claim())
            await eventually(lambda: waiting("locktype = 'transactionid'"), what="the check to wait in its statement")
            saying_no = asyncio.create_task(opt_out())
            if gate:
                await eventually(lambda: waiting("relation = 'gate'::regclass"), what="the opt-out to wait")
            else:
                await saying_no
            await holder.execute("DELETE FROM attempts WHERE token = 0")
        await asyncio.gather(checking, saying_no)
        await one.written()
    assert len(await attempts(node)) == 1
    assert saying_no.result() == (1 if gate else 0)


async def test_after_an_opt_out_every_running_node_refuses(node: Node) -> None:
    """Many senders, one opt-out under way: no attempt row is younger than its commit."""
    users = [f"user{i}" for i in range(40)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    others = [await open_node(node.pool, f"other{i}") for i in range(2)]

    async def opt_out(user: str) -> None:
        async with node.pool.transaction(FORBIDDING) as connection:
            await connection.execute(CHOOSE.format("'orders', 'email', false").replace("'ada'", f"'{user}'"))
            await connection.execute("UPDATE preferences SET changed_at = clock_timestamp() WHERE user_id = $1", user)

    async with station(others[0]) as one, station(others[1]) as two:
        await asyncio.gather(one.work(), two.work(), *(opt_out(user) for user in users))
    late = await node.pool.fetchval(
        "SELECT count(*) FROM attempts a JOIN deliveries d ON d.id = a.delivery JOIN preferences p USING (user_id)"
        " WHERE a.started_at > p.changed_at"
    )
    assert late == 0
    assert set((await states(node.pool)).values()) <= {"accepted", "skipped:opted_out"}


# --------------------------------------------------------------------------------------------- once


@pytest.mark.parametrize("together", [True, False])
async def test_a_number_is_called_once_whatever_the_queue_holds(node: Node, together: bool) -> None:
    await ready(node)
    again = (
        "INSERT INTO ready (lane, bulkhead, bucket, tenant, delivery, n)"
        " SELECT 1, 'email/mail', 0, 0, id, 1 FROM deliveries"
    )
    if together:
        for _ in range(3):
            await node.pool.execute(again)
    wide = Options(account=replace(MAIL, concurrency=128))
    async with station(node, lambda _: outcome(Kind.RETRY, "busy"), wide) as one:
        await one.work()
        for _ in range(0 if together else 3):
            await node.pool.execute(again)
            await one.work()
        assert len(one.vendor.sent) == 1
    assert await attempts(node) == [(1, "retry", "busy")]
    assert await node.pool.fetchval("SELECT count(*) FROM timers") == 1
    assert await node.pool.fetchval("SELECT count(*) FROM leases") == 0


async def test_a_number_that_another_transaction_begins_meanwhile_is_not_called(node: Node) -> None:
    """The check sees no attempt, waits for the other's insert, and loses."""
    await ready(node, "mail", "ada", "bob")
    wide = Options(account=replace(MAIL, concurrency=128))
    async with station(node, options=wide) as one:
        async with node.pool.transaction() as other:
            await other.execute(
                "INSERT INTO attempts (tenant, delivery, n, token, account, reconcile_at)"
                " SELECT tenant, id, 1, 0, 'other', now() FROM deliveries WHERE user_id = 'ada'"
            )
            checking = asyncio.create_task(one.work())
            await eventually(
                lambda: node.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"), what="the check to wait"
            )
        await checking
        assert one.vendor.targets == ["bob@example.com"]
    assert await states(node.pool) == {("ada", "email"): "pending", ("bob", "email"): "accepted"}
    assert await node.pool.fetchval("SELECT count(*) FROM leases") == 0


async def test_two_nodes_share_what_is_ready(node: Node) -> None:
    users = [f"user{i}" for i in range(60)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    other = await open_node(node.pool, "other")
    async with station(node) as one, station(other) as two:
        await asyncio.gather(one.work(), two.work())
        assert sorted(one.vendor.targets + two.vendor.targets) == sorted(f"{u}@example.com" for u in users)
    assert await node.pool.fetchval(QUEUE) == 0


WITHOUT_FENCE = (
    "JOIN held USING (token)",
    "WHERE EXISTS (SELECT FROM held) OR q.token IS NOT NULL",
)


@pytest.mark.parametrize("fence", [True, False], ids=["fence", "mutation: without the lease"])
async def test_an_outcome_that_comes_after_its_lease_is_refused(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fence: bool
) -> None:
    if not fence:
        sql = attempting._sql.all()["finish"].replace(WITHOUT_FENCE[0] + "\n    WHERE", WITHOUT_FENCE[1] + "\n    AND")
        assert WITHOUT_FENCE[1] in sql
        monkeypatch.setitem(attempting._sql._statements, "finish", sql)
    await ready(node)
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with station(node, lambda _: answer) as one:
        await one.claim()
        await eventually(lambda: one.vendor.sent)
        if fence:
            assert await expire_leases(node) == (1, 1)
        else:
            await node.pool.execute("DELETE FROM leases")
        answer.set_result(accepted())
        with caplog.at_level(logging.CRITICAL):
            await one.written()
        assert (one.finisher.fenced, one.finisher.written) == ((1, 0) if fence else (0, 1))
    assert await email(node) == ("unknown:no_answer" if fence else "accepted")
    assert await attempts(node) == ([(1, "unknown", "node_lost")] if fence else [(1, "accepted", "accepted")])


async def test_a_result_whose_commit_was_not_heard_of_is_written_once(node: Node) -> None:
    """The finisher asks again after a lost connection: the rows may be there already."""
    await ready(node, "mail", "ada", "bob")
    async with node.pool.transaction(SENDING) as connection:
        rows = await claim(connection, Line(1, "email/mail"), 64, node.boot, 60.0, 1.0)
        started, _ = await begin(connection, rows, "mail", 30.0)
    result = a_result(started[0])
    async with node.pool.transaction() as connection:
        assert len(await finish(connection, [result], [])) == 1
    async with node.pool.transaction() as connection:
        assert await finish(connection, [result, a_result(started[1])], [started[0].token]) == {
            (started[1].delivery, 1)
        }
    assert await node.pool.fetchval("SELECT count(*) FROM timers") == 2
    assert await node.pool.fetchval("SELECT sum(attempts) FROM deliveries") == 2


def a_result(row: attempting.Started) -> Result:
    values: dict[str, Any] = dict.fromkeys(Result.__struct_fields__)
    values |= {name: getattr(row, name) for name in ("token", "tenant", "delivery", "n", "bucket", "crashes")}
    values |= {"kind": "retry", "reason": "busy", "state": "retrying", "delay": 5.0, "counts": True, "dead": False}
    return Result(**(values | {"lane": 1, "bulkhead": "email/mail", "settled": False}))


async def test_what_postgresql_refuses_of_a_vendors_words_is_left_out(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await ready(node)
    with caplog.at_level(logging.CRITICAL):
        async with station(node, lambda _: accepted("id\0")) as one:
            await one.work()
    assert await email(node) == "accepted"
    assert await node.pool.fetchval("SELECT vendor_id FROM outcomes") is None


# --------------------------------------------------------------------------------------------- after a call


async def test_a_passing_fault_climbs_the_ladder(node: Node) -> None:
    await ready(node)
    async with station(node, lambda _: outcome(Kind.RETRY, "smtp_451")) as one:
        for n, ceiling in ((1, 5.0), (2, 9.5), (3, 18.05)):
            await one.work()
            row = await node.pool.fetchrow(TIMER)
            assert row is not None
            assert (row["n"], row["lane"], row["verdict"]) == (n + 1, 1, None)
            assert row["wait"] == pytest.approx(ceiling * 0.5, abs=1.5)
            assert await email(node) == "retrying:vendor_trouble"
            await make_due(node)
    assert await node.pool.fetchval("SELECT attempts FROM deliveries") == 3
    retry_at = await node.pool.fetchval("SELECT count(*) FROM outcomes WHERE retry_at > at")
    assert retry_at == 3


async def test_waiting_as_asked_uses_up_no_attempt(node: Node) -> None:
    await ready(node)
    async with station(node, lambda _: outcome(Kind.THROTTLED, "smtp_421", wait=40.0)) as one:
        await one.work()
    row = await node.pool.fetchrow(TIMER)
    assert row is not None
    assert row["wait"] >= 38.0
    assert await node.pool.fetchval("SELECT attempts FROM deliveries") == 0
    assert await email(node) == "retrying:throttled"


async def test_a_dead_address_is_suppressed_and_stops_others_at_once(node: Node) -> None:
    await node.pool.execute("UPDATE users SET email = 'Ada@Example.com' WHERE id = 'ada'")
    await ready(node)
    await ready(node, "offer")
    async with station(node, lambda _: outcome(Kind.RECIPIENT_PERMANENT, "smtp_550")) as one:
        await one.worker._round(next(line for line in one.worker.lines if line.lane == 1))
        await one.written()
        await one.work()
        assert len(one.vendor.sent) == 1
    rows = await node.pool.fetch("SELECT channel, address, scope, reason FROM suppressions")
    assert [tuple(r.values()) for r in rows] == [("email", "ada@example.com", "all", "bounced")]
    found = await node.pool.fetch("SELECT state, reason FROM deliveries ORDER BY id")
    assert [tuple(r.values()) for r in found] == [("bounced", "address_refused"), ("suppressed", "bounced")]


async def test_what_can_never_be_taken_is_parked_and_can_be_redriven(node: Node) -> None:
    answers = iter([outcome(Kind.PAYLOAD_ERROR, "smtp_552"), accepted()])
    await ready(node)
    async with station(node, lambda _: next(answers)) as one:
        await one.work()
        assert await email(node) == "dead:bad_payload"
        assert await node.pool.fetchval("SELECT reason FROM dead") == "bad_payload"
        operations = Operations(node.pool)
        assert await operations.redrive(0, None, "sms", None, 10) == 0
        assert await operations.redrive(0, None, "email", "bad_payload", 10) == 1
        assert await operations.redrive(0, None, None, None, 10) == 0
        await make_due(node)
        await one.work()
    assert await email(node) == "accepted"
    assert await attempts(node) == [(1, "payload_error", "smtp_552"), (2, "accepted", "accepted")]


async def test_a_refusal_for_our_sake_fails_and_suppresses_nobody(node: Node) -> None:
    await ready(node)
    async with station(node, lambda _: outcome(Kind.POLICY_BLOCK, "smtp_554")) as one:
        await one.work()
    assert await email(node) == "failed:policy_refused"
    assert await node.pool.fetchval("SELECT count(*) FROM suppressions") == 0


@pytest.mark.parametrize(("kind", "end", "calls"), [("mail", "accepted", 2), ("offer", "unresolved:no_answer", 1)])
async def test_an_unanswered_call_waits_for_its_deadline_and_goes_by_policy(
    node: Node, kind: str, end: str, calls: int
) -> None:
    answers = iter([outcome(Kind.UNKNOWN, "lost"), accepted()])
    await ready(node, kind)
    async with station(node, lambda _: next(answers)) as one:
        await one.work()
        assert await email(node) == "unknown:no_answer"
        row = await node.pool.fetchrow(TIMER)
        assert row is not None
        assert row["wait"] == pytest.approx(MAIL.reconcile_after, abs=3)
        assert row["n"] == 2
        await make_due(node)
        await one.work()
        assert len(one.vendor.sent) == calls
        assert len({m.delivery for m in one.vendor.sent}) == 1
        assert len({m.attempt for m in one.vendor.sent}) == calls
    assert await email(node) == end
    assert await node.pool.fetchval(QUEUE) == 0


async def test_our_own_bug_is_an_unknown_not_a_loss(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Message) -> Outcome:
        raise KeyError("ours")

    await ready(node)
    with caplog.at_level(logging.CRITICAL):
        async with station(node, broken) as one:
            await one.work()
            assert one.worker._free[1] == 4, "its slots are free again"
    assert await attempts(node) == [(1, "unknown", "internal_error")]


# --------------------------------------------------------------------------------------------- leases


async def test_a_call_is_not_made_when_its_lease_would_not_outlive_it(node: Node) -> None:
    times = iter([100.0, 100.0, 100.0, 107.0])
    late = Options(settings=Settings(lease=10.0, margin=2.0), clock=lambda: next(times, 107.0))
    await ready(node)
    async with station(node, options=late) as one:
        await one.claim()
        await one.written()
        assert one.vendor.sent == []
    assert await attempts(node) == [(1, "released", "lease_too_short")]
    assert await email(node) == "pending"
    assert await node.pool.fetchval("SELECT attempts FROM deliveries") == 0
    await make_due(node)
    async with station(node) as two:
        await two.work()
    assert await email(node) == "accepted"


class Narrow:
    """Permits at most one call a time, and remembers what it was given back."""

    def __init__(self, grant: int) -> None:
        self.grant = grant
        self.used = 0

    async def permit(self, account: Account, calls: int) -> int:
        granted = min(calls, self.grant)
        self.used += granted
        return granted

    def give_back(self, account: Account, calls: int) -> None:
        self.used -= calls


async def test_what_has_no_permit_stays_in_its_queue_untouched(node: Node) -> None:
    await ready(node)
    async with station(node, options=Options(permits=Narrow(0))) as one:
        await one.claim()
        assert one.vendor.sent == []
    assert await attempts(node) == []
    assert await node.pool.fetchval("SELECT count(*) FROM ready") == 1


async def test_no_more_is_claimed_than_is_permitted_and_the_rest_is_given_back(node: Node) -> None:
    await ready(node, "mail", "ada", "bob")
    permits = Narrow(1)
    async with station(node, options=Options(permits=permits)) as one:
        await one.claim()
        assert await node.pool.fetchval("SELECT count(*) FROM attempts") == 1
        await one.claim()
        await one.claim()
    assert await node.pool.fetchval("SELECT count(*) FROM attempts") == 2
    assert permits.used == 2


def over_or_stuck(one: Station) -> bool:
    return not one.worker._calls or "ada@example.com" in one.vendor.targets


async def test_after_a_crash_rows_are_tried_alone_and_only_their_own_crashes_count(node: Node) -> None:
    """Two in a batch of a node that died: both are tried alone, the one that kills again ends as dead."""
    await ready(node, "mail", "ada", "bob")
    never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    wide = Options(account=replace(MAIL, concurrency=64))
    async with station(node, lambda _: never, wide) as one:
        await one.claim()
        await eventually(lambda: len(one.vendor.sent) == 2)
    assert await expire_leases(node) == (1, 2)
    for crash in range(1, 4):
        lanes = [r["lane"] for r in await node.pool.fetch("SELECT lane FROM timers")]
        assert set(lanes) == {11}
        await make_due(node)
        async with station(node, lambda m: accepted() if "bob" in m.target else never) as one:
            for _ in range(4):
                await one.claim()
                await eventually(partial(over_or_stuck, one), what="the call to end, or to be that which never ends")
                await one.finisher._idle.wait()
                await make_due(node)
        assert await expire_leases(node) == (1, 1), crash
    assert await states(node.pool) == {("ada", "email"): "dead:crashed", ("bob", "email"): "accepted"}
    assert await node.pool.fetchval(QUEUE) == 0
    assert await Operations(node.pool).redrive(0, None, None, None, 1) == 1
    assert await node.pool.fetchval("SELECT lane FROM timers") == 11, "it has crashed nodes: alone again"


async def test_a_lost_marketing_call_is_never_sent_twice(node: Node) -> None:
    await ready(node, "offer")
    never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with station(node, lambda _: never) as one:
        await one.claim()
        await eventually(lambda: one.vendor.sent)
    assert await expire_leases(node) == (1, 1)
    await make_due(node)
    async with station(node) as two:
        await two.work()
        assert two.vendor.sent == []
    assert await email(node) == "unresolved:no_answer"


async def test_a_running_lease_is_not_reaped(node: Node) -> None:
    await ready(node)
    never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with station(node, lambda _: never) as one:
        await one.claim()
        async with node.pool.transaction() as connection:
            assert await attempting.reap(connection, 10, 3) == (0, 0)
    assert await attempts(node) == [(1, None, None)]


# --------------------------------------------------------------------------------------------- room


@pytest.mark.parametrize("buckets", [1, 16])
@pytest.mark.parametrize("concurrency", [1, 2, 8])
async def test_no_more_attempts_than_free_slots(node: Node, concurrency: int, buckets: int) -> None:
    users = [f"user{i}" for i in range(30)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    await node.pool.execute("UPDATE ready SET bucket = seq % $1", buckets)
    hold = asyncio.Event()

    async def slow() -> Outcome:
        await hold.wait()
        return accepted()

    options = Options(account=replace(MAIL, concurrency=concurrency))
    async with station(node, lambda _: slow(), options) as one:
        slots = one.worker._free[1]
        for _ in range(5):
            await one.claim()
        assert len(await attempts(node)) == slots <= max(1, concurrency)
        hold.set()
        await one.written()
        await one.work()
        assert one.vendor.most == slots
    assert set((await states(node.pool)).values()) == {"accepted"}


async def test_an_account_that_hangs_does_not_stop_another(node: Node) -> None:
    """Its own worker, slots and queue: the bulkhead."""
    await ready(node, "mail", "ada", "bob")
    await node.pool.execute(
        "UPDATE ready SET bulkhead = 'email/other' WHERE delivery IN (SELECT id FROM deliveries WHERE user_id = 'bob')"
    )
    never: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    blocked = Options(account=replace(MAIL, concurrency=1))
    async with (
        station(node, lambda _: never, blocked) as hanging,
        station(node, options=Options(account=replace(MAIL, name="other"))) as other,
    ):
        await hanging.claim()
        await other.work()
    assert await states(node.pool) == {("ada", "email"): "pending", ("bob", "email"): "accepted"}


async def test_a_small_tenant_does_not_stand_behind_a_huge_one(node: Node) -> None:
    users = [f"user{i}" for i in range(200)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    await node.pool.execute("UPDATE ready SET bucket = 3 WHERE seq = (SELECT max(seq) FROM ready)")
    last = await node.pool.fetchval("SELECT d.target FROM ready JOIN deliveries d ON d.id = delivery WHERE bucket = 3")
    async with station(node, options=Options(account=replace(MAIL, concurrency=1))) as one:
        await one.claim()
        await one.written()
        await one.claim()
        await one.written()
        assert last in one.vendor.targets
        assert len(one.vendor.sent) == 2


async def test_a_batch_is_one_request(node: Node) -> None:
    users = [f"user{i}" for i in range(25)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    requests: list[int] = []
    async with station(node, options=Options(batch=10)) as one:
        send_one = one.vendor.send

        async def counted(request: Any, deadline: float) -> Any:
            requests.append(len(request))
            return await send_one(request, deadline)

        one.vendor.send = counted  # type: ignore[method-assign]
        await one.work()
    assert sum(requests) == 25
    assert max(requests) == 10
    assert len(requests) <= 5


async def test_a_message_that_can_not_be_built_stops_no_other_of_its_batch(node: Node) -> None:
    users = [f"user{i}" for i in range(10)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    async with station(node, options=Options(batch=10)) as one:
        provider = one.worker.route.provider
        build_all = provider.build

        def strict(messages: Sequence[Message], account: Account, now: datetime) -> Any:
            if any(message.target == "user7@example.com" for message in messages):
                raise ContentError("invalid_recipient", "To must be exactly one address")
            return build_all(messages, account, now)

        provider.build = strict  # type: ignore[method-assign]
        await one.work()
    assert sorted(one.vendor.targets) == [f"{user}@example.com" for user in users if user != "user7"]
    told = await states(node.pool)
    assert {user for (user, _), state in told.items() if state != "accepted"} == {"user7"}


async def test_a_result_that_can_not_be_written_spoils_no_other(node: Node) -> None:
    """One vendor's NUL: its words are left out, and those of the others are kept."""
    await ready(node, "mail", "ada", "bob")
    words = {"ada@example.com": "fine", "bob@example.com": "half a pair \ud800"}
    script = lambda message: outcome(Kind.RETRY, "busy", detail=words[message.target])  # noqa: E731
    async with station(node, script) as one:
        await one.work()
        assert one.finisher.written == 2
    rows = await node.pool.fetch("SELECT detail FROM outcomes")
    assert {row["detail"] for row in rows} == {"fine", None}
    assert await node.pool.fetchval("SELECT count(*) FROM leases") == 0
