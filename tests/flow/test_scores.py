"""Does an account whose mail comes back stop its marketing on every node, and nothing else?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from tests.flow.harness import body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import make_due, station
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, accepted, outcome
from ulak.core.score import Alarm
from ulak.flow.attempt import Scoring
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.scores import Scores
from ulak.node import Node
from ulak.providers.contract import Message, NoContent

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

MAIL = Account("mail", "noop", Channel.EMAIL)


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs."""
    await prepare(store)
    await put_users(store, "ada", "bob")
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


def scoring(node: Node) -> Scoring:
    return Scoring(Scores(node.pool), lambda: datetime.now(UTC))


async def happened(node: Node, kind: str, n: int) -> None:
    """Events of the account, as the receipts stage counts them."""
    await node.pool.execute(
        "INSERT INTO account_events (tenant, account, class, hour, kind, n)"
        " VALUES (0, 'mail', 'transactional', date_trunc('hour', now(), 'UTC'), $1, $2)",
        kind,
        n,
    )


async def test_what_was_sent_is_counted_once_by_class_and_addresses_refused_at_once_are_bounces(node: Node) -> None:
    one, two = scoring(node), scoring(node)
    message = Message("dlv_1", "att_1", "ada@example.com", NoContent(), datetime.now(UTC))
    answers = [accepted(), outcome(Kind.RECIPIENT_PERMANENT, "gone"), outcome(Kind.RETRY, "busy")]
    for counter in (one, two, one):
        counter.sent(MAIL, [message] * 3, answers)
        await counter.write()
    await one.write()
    standing = await Scores(node.pool).standing(datetime.now(UTC))
    assert (standing.scores["mail"].sent, standing.scores["mail"].bounced) == (6, 3)


async def test_too_many_bounces_hold_marketing_back_until_somebody_resumes_it(node: Node) -> None:
    await happened(node, "sent", 1_000)
    await happened(node, "bounced", 100)
    judge = scoring(node)
    await judge.judge()
    await judge.judge()
    assert judge.rates(Alarm.BOUNCES) == {"mail": 0.1}
    assert judge.pauses() == {"mail": 1.0}
    for kind in ("offer", "mail", "alarm"):
        await send(node, body(kind, "ada" if kind != "mail" else "bob"))
    await plan_all(node)
    async with station(node) as one:
        await one.work()
        assert sorted(m.type for m in one.vendor.sent) == ["alarm", "mail"]
    ends = await node.pool.fetch("SELECT class, state, reason FROM deliveries ORDER BY class")
    assert [tuple(row.values()) for row in ends] == [
        ("critical", "accepted", None),
        ("marketing", "pending", "account_paused"),
        ("transactional", "accepted", None),
    ]
    assert await node.pool.fetchval("SELECT count(*) FROM attempts") == 2, "no attempt row, so nothing was called"
    wait = await node.pool.fetchval("SELECT extract(epoch FROM due_at - now()) FROM timers")
    assert 290 < wait < 610
    assert await Scores(node.pool).resume("mail")
    assert not await Scores(node.pool).resume("mail"), "once is enough"
    await make_due(node)
    async with station(node) as two:
        await two.work()
        assert [m.type for m in two.vendor.sent] == ["offer"]
    assert await node.pool.fetchval("SELECT n FROM attempts ORDER BY started_at DESC LIMIT 1") == 1, "the same try"
    await judge.judge()
    assert judge.pauses() == {}, "what was before the resume counts no more"


async def test_a_pause_holds_from_its_commit_on_at_the_last_check(node: Node) -> None:
    await send(node, body("offer", "ada"))
    await plan_all(node)
    await Scores(node.pool).pause("mail", "complaints", "9 of 1000")
    await Scores(node.pool).pause("other", "complaints", "9 of 1000")
    async with station(node) as one:
        await one.work()
        assert one.vendor.sent == []


async def test_a_user_who_said_no_is_not_kept_waiting_by_a_pause(node: Node) -> None:
    await send(node, body("offer", "ada"))
    await plan_all(node)
    await Scores(node.pool).pause("mail", "complaints", "9 of 1000")
    await node.pool.execute("UPDATE notifications SET cancelled_at = now()")
    async with station(node) as one:
        await one.work()
    assert (await states(node.pool))["ada", "email"] == "cancelled:by_caller"


async def test_counts_outlive_a_database_that_was_away(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = scoring(node)
    message = Message("dlv_1", "att_1", "ada@example.com", NoContent(), datetime.now(UTC))
    judge.sent(MAIL, [message], [accepted()])

    async def away(*_: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(Scores, "count", away)
        with pytest.raises(ConnectionRefusedError):
            await judge.write()
    await judge.write()
    assert await node.pool.fetchval("SELECT n FROM account_events") == 1
