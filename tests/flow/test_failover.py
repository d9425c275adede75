"""Does a delivery go on by the next account exactly when it should, and never by two at once?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from tests.flow.harness import PROJECT, body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import MAIL, Options, make_due, station
from ulak.core import failover
from ulak.core.breaker import Limits, State
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome, accepted, outcome
from ulak.flow.attempt import Breakers, Keeper, Settings
from ulak.io.postgres import timing
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.providers.contract import Message

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

A, B, C = (
    Account(name, "noop", Channel.EMAIL, 8, 2.0, 30.0, {}, priority) for priority, name in enumerate("abc", start=1)
)
TABLES = "".join(
    f'\n[accounts.{name}]\nchannel = "email"\nprovider = "noop"\npriority = {priority}\n'
    for priority, name in enumerate("abc", start=1)
)
KINDS = """
[types.twice]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }]
on_unknown = "resend_elsewhere"
"""
MAIL_TABLE = PROJECT["ulak.toml"].partition("[accounts.mail]")[2].partition("[types.order]")[0]
FILES = {**PROJECT, "ulak.toml": PROJECT["ulak.toml"].replace(f"[accounts.mail]{MAIL_TABLE}", TABLES + "\n") + KINDS}
REFUSED = outcome(Kind.NEXT_PROVIDER, "account_suspended")


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node with three accounts of which only the acceptor runs."""
    await prepare(store, FILES)
    await put_users(store, "ada", "bob")
    node = await open_node(store)
    node.acceptor.start()
    node.breakers.match([A, B, C])
    yield node
    await node.acceptor.stop()


class Clock:
    """Time that passes when told to."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """Three accounts with a script each, worked by hand; ``log`` is who was called, in order."""

    node: Node
    scripts: dict[str, Callable[[Message], Outcome]]
    clock: Clock = field(default_factory=Clock)
    log: list[str] = field(default_factory=list)
    breakers: Breakers = field(init=False)

    def __post_init__(self) -> None:
        self.breakers = Breakers(self.clock, self.node._accounts, Limits(least=3))
        self.breakers.match([A, B, C])
        planner = self.node.planner
        planner._listeners = replace(planner._listeners, usable=self.breakers.usable)

    def script(self, account: Account) -> Callable[[Message], Outcome]:
        def answer(message: Message) -> Outcome:
            self.log.append(account.name)
            script = self.scripts.get(account.name)
            return accepted() if script is None else script(message)

        return answer

    async def work(self, *, rounds: int = 1, due: bool = True) -> None:
        """Work off each account's line in turn; what moves on at once is due at once."""
        for _ in range(rounds):
            for account in (A, B, C):
                options = Options(account=account, permits=self.breakers, lineup=self.breakers, clock=self.clock)
                async with station(self.node, self.script(account), options) as one:
                    await one.work()
                if due:
                    await self._moved()

    async def _moved(self) -> None:
        """Bring to the ready queue what is due now, and nothing else."""
        for bulkhead in ("email/a", "email/b", "email/c"):
            async with self.node.pool.transaction() as connection:
                await timing.move_due(connection, bulkhead, 1_000)


def always(kind: Kind, **more: Any) -> Callable[[Message], Outcome]:
    return lambda _: outcome(kind, "scripted", **more)


async def ready(node: Node, kind: str = "mail", *users: str) -> None:
    await send(node, body(kind, *(users or ("ada",))))
    await plan_all(node)


async def email(node: Node) -> str:
    return (await states(node.pool))["ada", "email"]


async def passed_on(node: Node) -> list[tuple[str, str | None, str | None]]:
    rows = await node.pool.fetch(
        "SELECT a.account, o.kind, o.next_account FROM attempts a LEFT JOIN outcomes o USING (tenant, delivery, n)"
        " ORDER BY a.delivery, a.n"
    )
    return [(row["account"], row["kind"], row["next_account"]) for row in rows]


@pytest.mark.parametrize("kind", [Kind.NEXT_PROVIDER, Kind.RETRY])
async def test_what_an_account_definitely_did_not_take_goes_on_by_the_next(node: Node, kind: Kind) -> None:
    await ready(node)
    stage = Stage(node, {"a": always(kind), "b": always(kind)})
    await stage.work(rounds=2)
    assert stage.log == ["a", "b", "c"]
    assert await email(node) == "accepted"
    assert await passed_on(node) == [("a", kind, "b"), ("b", kind, "c"), ("c", "accepted", None)]


async def test_when_all_have_refused_the_first_begins_anew_after_the_wait(node: Node) -> None:
    await ready(node)
    stage = Stage(node, dict.fromkeys("abc", always(Kind.NEXT_PROVIDER)))
    await stage.work(rounds=2)
    assert stage.log == ["a", "b", "c"]
    assert await email(node) == "retrying:account_unusable"
    row = await node.pool.fetchrow("SELECT bulkhead, due_at > now() AS waits FROM timers")
    assert row is not None
    assert (row["bulkhead"], row["waits"]) == ("email/a", True)
    await make_due(node, "email/a")
    await stage.work(rounds=2)
    assert stage.log == ["a", "b", "c", "a", "b", "c"], "a new round knows nothing of the last"


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        (Kind.RECIPIENT_PERMANENT, "bounced:address_refused"),
        (Kind.RECIPIENT_TEMPORARY, "retrying:recipient_busy"),
        (Kind.PAYLOAD_ERROR, "dead:bad_payload"),
        (Kind.POLICY_BLOCK, "failed:policy_refused"),
        (Kind.UNKNOWN, "unknown:no_answer"),
        (Kind.THROTTLED, "retrying:throttled"),
    ],
)
async def test_nothing_else_is_ever_shown_to_another_account(node: Node, kind: Kind, end: str) -> None:
    await ready(node)
    stage = Stage(node, {"a": always(kind)})
    await stage.work(rounds=2)
    assert stage.log == ["a"]
    assert await email(node) == end
    assert await node.pool.fetchval("SELECT count(*) FROM timers WHERE bulkhead <> 'email/a'") == 0


async def test_an_unknown_is_sent_again_by_the_same_account(node: Node) -> None:
    answers = iter([outcome(Kind.UNKNOWN, "lost"), accepted()])
    await ready(node)
    stage = Stage(node, {"a": lambda _: next(answers)})
    await stage.work()
    await make_due(node, "email/a")
    await stage.work()
    assert stage.log == ["a", "a"]
    assert await email(node) == "accepted"


async def test_an_unknown_that_its_account_refuses_the_second_time_goes_on_by_the_next(node: Node) -> None:
    """Sending again was decided by then: another account can double it no more than the same one."""
    answers = iter([outcome(Kind.UNKNOWN, "lost"), REFUSED])
    await ready(node)
    stage = Stage(node, {"a": lambda _: next(answers)})
    await stage.work()
    await make_due(node, "email/a")
    await stage.work(rounds=2)
    assert stage.log == ["a", "a", "b"]
    assert await passed_on(node) == [("a", "unknown", None), ("a", "next_provider", "b"), ("b", "accepted", None)]


async def test_an_unknown_of_a_type_that_prefers_duplicates_is_sent_by_the_next_account_when_its_time_is_over(
    node: Node,
) -> None:
    await ready(node, "twice")
    stage = Stage(node, {"a": always(Kind.UNKNOWN)})
    await stage.work(rounds=2)
    assert stage.log == ["a"], "it waits for its deadline to reconcile"
    await make_due(node, "email/b")
    await stage.work()
    assert stage.log == ["a", "b"]
    assert await passed_on(node) == [("a", "unknown", "b"), ("b", "accepted", None)]


@pytest.mark.parametrize("proof", ["accepted", "delivered"])
async def test_an_event_that_settles_an_unknown_stops_its_second_send(node: Node, proof: str) -> None:
    await ready(node, "twice")
    stage = Stage(node, {"a": always(Kind.UNKNOWN)})
    await stage.work()
    await node.pool.execute("UPDATE deliveries SET state = $1, reason = NULL", proof)
    await make_due(node, "email/b")
    await stage.work()
    assert stage.log == ["a"]
    assert await email(node) == proof
    assert await node.pool.fetchval("SELECT count(*) FROM ready") == 0


async def test_a_throttle_longer_than_the_message_lives_moves_it(node: Node) -> None:
    await ready(node, "alarm")
    stage = Stage(node, {"a": always(Kind.THROTTLED, wait=3600.0)})
    await stage.work(rounds=2)
    assert stage.log == ["a", "b"]
    assert await email(node) == "accepted"


async def test_a_no_between_two_accounts_is_found_by_the_last_check(node: Node) -> None:
    await ready(node)
    stage = Stage(node, {"a": always(Kind.NEXT_PROVIDER)})
    await stage.work(due=False)
    await node.pool.execute(
        "INSERT INTO suppressions (tenant, channel, address, scope, reason)"
        " VALUES (0, 'email', 'ada@example.com', 'all', 'bounced')"
    )
    await make_due(node, "email/b")
    await stage.work()
    assert stage.log == ["a"]
    assert await email(node) == "suppressed:bounced"


async def test_a_fault_of_ours_is_not_shown_to_another_account(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that can't be built here can't be built there."""
    await ready(node)
    stage = Stage(node, {})
    options = Options(account=A, permits=stage.breakers, lineup=stage.breakers, clock=stage.clock)
    async with station(node, options=options) as one:

        def broken(*_: object) -> Any:
            raise KeyError("ours")

        monkeypatch.setattr(one.worker.route.provider, "build", broken)
        await one.work()
    assert await email(node) == "retrying:vendor_trouble"
    assert await passed_on(node) == [("a", "retry", None)]


async def broken(stage: Stage, node: Node) -> None:
    """Let the breaker of ``a`` open."""
    for _ in range(3):
        await ready(node, "mail", "bob")
        await stage.work()
    assert stage.breakers.states()["email/a"][0] is State.OPEN
    stage.log.clear()


def keeper(stage: Stage) -> Keeper:
    return Keeper(stage.node.pool, Settings(), list, stage.breakers)


async def test_an_open_breaker_sends_what_waits_by_another_account_and_nothing_by_its_own(node: Node) -> None:
    stage = Stage(node, {"a": always(Kind.NEXT_PROVIDER)})
    await ready(node)
    await node.pool.execute("UPDATE ready SET lane = 2")
    await node.pool.execute("CREATE TABLE aside AS SELECT * FROM ready; DELETE FROM ready")
    await broken(stage, node)
    await node.pool.execute("INSERT INTO ready SELECT * FROM aside; DROP TABLE aside")
    await stage.work()
    assert stage.log == [], "no call while it rests"
    assert await keeper(stage).divert()
    assert not await keeper(stage).divert(), "once is enough"
    await stage.work()
    assert stage.log == ["b"]
    assert await email(node) == "accepted"


async def test_new_work_goes_by_another_account_while_a_breaker_is_open(node: Node) -> None:
    stage = Stage(node, {"a": always(Kind.NEXT_PROVIDER)})
    await broken(stage, node)
    await ready(node)
    assert await node.pool.fetchval("SELECT bulkhead FROM ready") == "email/b"


async def test_rows_of_unknown_calls_are_never_diverted_but_their_verdicts_may_be(node: Node) -> None:
    stage = Stage(node, {"a": always(Kind.NEXT_PROVIDER)})
    await ready(node)
    await node.pool.execute("UPDATE deliveries SET state = 'unknown', reason = 'no_answer'")
    await node.pool.execute("CREATE TABLE aside AS SELECT * FROM ready; DELETE FROM ready")
    await broken(stage, node)
    await node.pool.execute("INSERT INTO ready SELECT * FROM aside; DROP TABLE aside")
    assert not await keeper(stage).divert()
    assert await node.pool.fetchval("SELECT bulkhead FROM ready") == "email/a"
    await node.pool.execute("UPDATE ready SET verdict = 'unresolved:no_answer'")
    assert await keeper(stage).divert()
    await stage.work()
    assert stage.log == []
    assert await email(node) == "unresolved:no_answer"


async def test_after_the_rest_one_message_decides_and_nothing_is_sent_twice(node: Node) -> None:
    stage = Stage(node, {"a": always(Kind.NEXT_PROVIDER)})
    await broken(stage, node)
    stage.clock.now += 5.0
    users = [f"user{number}" for number in range(6)]
    await put_users(node.pool, *users)
    await ready(node, "mail", *users)
    assert await node.pool.fetchval("SELECT count(*) FROM ready WHERE bulkhead = 'email/a'") == 6, "one of them probes"
    options = Options(account=A, permits=stage.breakers, lineup=stage.breakers, clock=stage.clock)
    async with station(node, stage.script(A), options) as one:
        await one.claim()
        await one.written()
    assert stage.log == ["a"], "no herd"
    assert stage.breakers.states()["email/a"][0] is State.OPEN
    await stage._moved()
    await keeper(stage).divert()
    await stage.work()
    assert stage.log == ["a"] + ["b"] * 6
    stage.scripts.clear()
    stage.clock.now += 10.0
    await ready(node, "mail", *users)
    await stage.work()
    assert stage.breakers.states()["email/a"][0] is State.CLOSED
    assert stage.log[7:] == ["a"] * 6
    doubles = await node.pool.fetch(
        "SELECT delivery FROM outcomes WHERE kind = 'accepted' GROUP BY delivery HAVING count(*) > 1"
    )
    assert doubles == []


async def test_without_another_account_what_waits_waits(node: Node) -> None:
    stage = Stage(node, dict.fromkeys("abc", always(Kind.NEXT_PROVIDER)))
    for account in (A, B, C):
        stage.breakers.told(account, [REFUSED] * 3, stage.clock())
    await ready(node)
    assert not await keeper(stage).divert()
    await stage.work()
    assert stage.log == []
    assert await email(node) == "pending"


async def test_a_refused_delivery_is_not_given_to_an_account_that_rests(node: Node) -> None:
    await ready(node)
    stage = Stage(node, {"a": always(Kind.NEXT_PROVIDER)})
    for account in (B, C):
        stage.breakers.told(account, [REFUSED] * 3, stage.clock())
    await stage.work(rounds=2)
    assert stage.log == ["a"]
    assert await passed_on(node) == [("a", "next_provider", None)]


async def test_an_account_that_throttles_is_left_alone_for_so_long(node: Node) -> None:
    stage = Stage(node, {"a": always(Kind.THROTTLED, wait=8.0)})
    await ready(node)
    await stage.work()
    await ready(node, "mail", "bob")
    assert await node.pool.fetchval("SELECT bulkhead FROM ready") == "email/b", "new work goes elsewhere"
    stage.clock.now += 8.0
    assert stage.breakers.usable(A)


async def test_what_says_nothing_of_the_account_opens_no_breaker(node: Node) -> None:
    stage = Stage(node, {})
    for kind in (Kind.RECIPIENT_PERMANENT, Kind.RECIPIENT_TEMPORARY, Kind.PAYLOAD_ERROR, Kind.ACCEPTED):
        stage.breakers.told(A, [outcome(kind, "x")] * 50, stage.clock())
    assert stage.breakers.usable(A)
    stage.breakers.told(A, [outcome(Kind.POLICY_BLOCK, "x")] * 500, stage.clock())
    assert not stage.breakers.usable(A), "a storm of policy refusals"


@pytest.mark.parametrize("kind", [Kind.NEXT_PROVIDER, Kind.RETRY, Kind.UNKNOWN])
def test_a_push_service_that_fails_does_not_stop_the_pushes_to_browsers_of_others(kind: Kind) -> None:
    web, ios = (Account(name, name, Channel.PUSH) for name in ("webpush", "apns"))
    breakers = Breakers(Clock(), lambda *_: [])
    breakers.match([web, ios])
    for account in (web, ios):
        breakers.told(account, [outcome(kind, "failed")] * 100, 0.0)
    assert breakers.states()["push/webpush"] == (State.CLOSED, 0.0)
    assert breakers.states()["push/apns"][0] is State.OPEN, "Apple is one service"


async def test_an_account_that_is_declared_anew_begins_afresh(node: Node) -> None:
    stage = Stage(node, {})
    stage.breakers.told(A, [REFUSED] * 3, stage.clock())
    stage.breakers.match([A, B])
    assert not stage.breakers.usable(A)
    assert not stage.breakers.usable(C), "an account that this node does not serve"
    stage.breakers.match([Account("a", "noop", Channel.EMAIL, settings={"mended": True}), B])
    assert stage.breakers.usable(A)


def test_the_order_of_the_fixture_is_its_priority() -> None:
    assert failover.order([C, B, A], UUID(int=1)) == (A, B, C)
    assert MAIL.priority == 1
