"""Does a mistake in an account's settings cost no device, and does a dead device die all the same?"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from tests.flow.devices import DROID, FILES, IOS, device, identity, put_device, refused, told
from tests.flow.harness import body, open_node, plan_all, prepare, send
from tests.flow.station import Options, make_due, station
from ulak.core.breaker import Limits as BreakerLimits
from ulak.core.breaker import State
from ulak.core.device import MAX_DEVICES, STRIKES, AddressKind, Device, Fate
from ulak.core.model import Account
from ulak.core.mortality import Limits
from ulak.core.outcome import Outcome, accepted
from ulak.flow.attempt import Breakers, Deaths
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.providers.contract import Message, NoContent

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

LEAST, WINDOW = Limits().least, Limits().window
SOME = LEAST + 5
DISABLED = "SELECT count(*) FROM devices WHERE disabled_at IS NOT NULL"


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs."""
    await prepare(store, FILES)
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


class Clock:
    """Time that passes when told to."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """One node's view of an account, and pushes to ``devices`` of it."""

    node: Node
    account: Account = IOS
    clock: Clock = field(default_factory=Clock)
    deaths: Deaths = field(init=False)

    def __post_init__(self) -> None:
        self.deaths = Deaths(self.clock)
        self.deaths.match([self.account])

    async def register(self, last: int, first: int = 1) -> None:
        """A device each for so many users."""
        kind = AddressKind.APNS if self.account is IOS else AddressKind.FCM_TOKEN
        for n in range(first, last + 1):
            await put_device(self.node.pool, n, f"u{n}", kind)

    async def push(self, last: int, answer: Callable[[Message], Outcome], first: int = 1, **more: object) -> None:
        """A push to each of these users, answered so."""
        await send(self.node, body("push", *(f"u{n}" for n in range(first, last + 1))))
        await plan_all(self.node)
        await self.work(answer, **more)

    async def work(self, answer: Callable[[Message], Outcome], **more: object) -> None:
        options = Options(account=self.account, deaths=self.deaths, **more)  # type: ignore[arg-type]
        async with station(self.node, answer, options) as one:
            await one.work()

    async def disabled(self) -> int:
        found: int = await self.node.pool.fetchval(DISABLED)
        return found


def always(fate: Fate) -> Callable[[Message], Outcome]:
    return lambda _: refused(fate)


async def test_when_all_are_refused_no_device_is_lost_and_what_comes_after_waits(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(node)
    await stage.register(SOME)
    with caplog.at_level(logging.ERROR):
        await stage.push(SOME, always(Fate.DOUBTED))
    assert await stage.disabled() == 0
    row = await device(node.pool, identity(1))
    assert (row["disabled_why"], row["disabled_by"], row["evidence"], row["strikes"]) == (None, None, None, 0)
    ends = list((await told(node.pool)).values())
    assert ends.count("bounced:address_refused") == LEAST - 1, "before it was known"
    assert ends.count("retrying:account_unusable") == SOME - LEAST + 1
    assert await node.pool.fetchval("SELECT count(*) FROM outcomes WHERE reason = 'tokens_dying'") == SOME - LEAST + 1
    assert stage.deaths.states() == {"ios": 1.0}
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "ios" in said
    assert f"{1:064x}" not in said


async def test_when_it_was_mended_what_waited_is_sent_and_the_doubt_ends(node: Node) -> None:
    stage = Stage(node)
    await stage.register(SOME)
    await stage.push(SOME, always(Fate.DOUBTED))
    stage.clock.now += 60
    await make_due(node, "push/ios")
    await stage.work(lambda _: accepted())
    assert set((await told(node.pool)).values()) == {"accepted", "bounced:address_refused"}
    stage.clock.now += WINDOW
    assert stage.deaths.states() == {"ios": 0.0}
    await stage.push(1, always(Fate.DOUBTED))
    assert await stage.disabled() == 1, "one is believed again"


async def test_an_account_that_is_doubted_is_rested_by_its_breaker(node: Node) -> None:
    stage = Stage(node)
    breakers = Breakers(stage.clock, node._accounts, BreakerLimits(least=3))
    breakers.match([IOS])
    await stage.register(2 * SOME)
    await stage.push(2 * SOME, always(Fate.DOUBTED), permits=breakers, lineup=breakers)
    assert breakers.states()["push/ios"][0] is State.OPEN
    assert await node.pool.fetchval("SELECT count(*) FROM ready") > 0, "it waits untouched"


async def test_undated_deaths_in_numbers_end_their_deliveries_and_leave_the_devices(node: Node) -> None:
    stage = Stage(node, DROID)
    await stage.register(SOME)
    await stage.push(SOME, always(Fate.DEAD))
    assert await stage.disabled() == 0
    assert set((await told(node.pool)).values()) == {"bounced:address_refused"}
    assert await node.pool.fetchval("SELECT count(*) FROM suppressions") == 0


@pytest.mark.parametrize("fate", [Fate.DEAD, Fate.DOUBTED, Fate.STRIKE])
async def test_nothing_is_held_against_a_device_while_its_account_is_doubted(node: Node, fate: Fate) -> None:
    stage = Stage(node)
    await stage.register(SOME + 3)
    await stage.push(SOME, always(Fate.DOUBTED))
    for _ in range(STRIKES):
        await stage.push(SOME + 3, always(fate), first=SOME + 1)
        assert await node.pool.fetchval("SELECT sum(strikes) FROM devices") == 0
        assert await stage.disabled() == 0


async def test_a_purge_of_old_devices_that_the_service_dates_is_no_mistake_of_ours(node: Node) -> None:
    stage = Stage(node)
    await stage.register(SOME)
    await stage.push(SOME, lambda _: refused(Fate.DEAD, dead_since=datetime(2100, 1, 1, tzinfo=UTC)))
    assert await stage.disabled() == SOME
    assert stage.deaths.states() == {"ios": 0.0}


async def test_what_the_service_dates_dies_in_the_midst_of_a_doubt_and_does_not_come_back(node: Node) -> None:
    stage = Stage(node)
    await stage.register(SOME + 2)
    dated = refused(Fate.DEAD, dead_since=datetime(2100, 1, 1, tzinfo=UTC))
    await stage.push(1, lambda _: dated)
    await stage.push(SOME + 1, always(Fate.DOUBTED), first=2)
    assert stage.deaths.states() == {"ios": 1.0}
    await stage.push(SOME + 2, lambda _: dated, first=SOME + 2)
    stage.clock.now += 60
    await stage.push(2, always(Fate.DOUBTED), first=2)
    rows = await node.pool.fetch("SELECT user_id, dead_since FROM devices WHERE disabled_at IS NOT NULL")
    assert {(row["user_id"], row["dead_since"]) for row in rows} == {
        ("u1", dated.dead_since),
        (f"u{SOME + 2}", dated.dead_since),
    }
    await put_device(node.pool, 1, "u1")
    row = await device(node.pool, identity(1))
    assert (row["disabled_at"], row["dead_since"]) == (None, None)


async def test_dead_devices_among_living_ones_die(node: Node) -> None:
    stage = Stage(node)
    await stage.register(3 * SOME)
    await stage.push(2 * SOME, lambda _: accepted())
    await stage.push(3 * SOME, always(Fate.DEAD), first=2 * SOME + 1)
    assert await stage.disabled() == SOME


async def test_the_few_devices_of_a_small_installation_die_one_by_one(node: Node) -> None:
    stage = Stage(node)
    await stage.register(3)
    for _ in range(STRIKES):
        await stage.push(3, always(Fate.STRIKE))
    assert await stage.disabled() == 3
    assert stage.deaths.states() == {"ios": 0.0}


async def test_strikes_of_a_whole_fleet_are_a_mistake_of_ours(node: Node) -> None:
    stage = Stage(node)
    await stage.register(SOME)
    for _ in range(STRIKES + 1):
        await stage.push(SOME, always(Fate.STRIKE))
    assert await stage.disabled() == 0


async def test_a_mistake_is_found_out_by_an_installation_that_sends_little(node: Node) -> None:
    stage = Stage(node)
    await stage.register(LEAST + 1)
    for n in range(1, LEAST + 1):
        await stage.push(n, always(Fate.DOUBTED), first=n)
        assert await stage.disabled() == n % LEAST
        stage.clock.now += WINDOW
    assert stage.deaths.states() == {"ios": 1.0}
    await stage.push(LEAST + 1, always(Fate.DEAD), first=LEAST + 1)
    assert await stage.disabled() == 0
    for _ in range(2):
        await stage.push(LEAST + 1, lambda _: accepted())
    assert stage.deaths.states() == {"ios": 0.0}


async def test_devices_that_die_now_and_then_among_a_few_that_live_are_dead(node: Node) -> None:
    stage = Stage(node)
    await stage.register(2 * LEAST)
    for n in range(1, 2 * LEAST + 1):
        await stage.push(n, always(Fate.DEAD) if n % 4 else lambda _: accepted(), first=n)
        stage.clock.now += WINDOW
    assert await stage.disabled() == 2 * LEAST * 3 // 4
    assert stage.deaths.states() == {"ios": 0.0}


async def test_only_what_this_account_put_away_of_late_comes_back(node: Node) -> None:
    stage = Stage(node)
    await stage.register(SOME + 2)
    put_away = (
        "UPDATE devices SET disabled_at = now() - $2::interval, disabled_by = $3, evidence = 'e' WHERE user_id = $1"
    )
    from_then = datetime(2026, 1, 1, 1, tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC)
    await node.pool.execute(put_away, f"u{SOME + 1}", from_then, "ios")
    await node.pool.execute(put_away, f"u{SOME + 2}", from_then * 0, "droid")
    await stage.push(SOME, always(Fate.DOUBTED))
    rows = await node.pool.fetch("SELECT user_id FROM devices WHERE disabled_at IS NOT NULL ORDER BY user_id")
    assert {row["user_id"] for row in rows} == {f"u{SOME + 1}", f"u{SOME + 2}"}


async def test_what_a_node_without_doubts_puts_away_comes_back_by_one_that_has_them(node: Node) -> None:
    first, second = Stage(node), Stage(node)
    await first.register(SOME + 3)
    await first.push(SOME, always(Fate.DOUBTED))
    await second.push(SOME + 3, always(Fate.DOUBTED), first=SOME + 1)
    assert await first.disabled() == 3
    first.clock.now += 60
    await first.push(1, lambda _: accepted())
    assert await first.disabled() == 0


async def test_an_app_whose_topic_is_wrong_is_doubted_among_others_that_are_well(node: Node) -> None:
    stage = Stage(node)
    await stage.register(3 * SOME)
    await node.pool.execute(
        "UPDATE devices SET app = 'com.new' WHERE user_id = ANY ($1)", [f"u{n}" for n in range(SOME)]
    )
    gone = await put_device(node.pool, 1_000, "gone")

    def apple(message: Message) -> Outcome:
        wrong = message.device and (message.device.app == "com.new" or message.target == gone)
        return refused(Fate.DOUBTED) if wrong else accepted()

    await stage.push(3 * SOME, apple, first=SOME)
    await send(node, body("push", "gone"))
    await plan_all(node)
    await stage.work(apple)
    assert stage.deaths.states() == {"ios": 0.0}
    await stage.push(SOME, apple)
    assert stage.deaths.states() == {"ios": 1.0}
    assert [row["id"] for row in await node.pool.fetch("SELECT id FROM devices WHERE disabled_at IS NOT NULL")] == [
        gone
    ]
    assert stage.deaths.doubted("ios", "com.new")
    assert not stage.deaths.doubted("ios", "com.app")


async def test_one_user_whose_devices_were_made_up_brings_no_account_into_doubt(node: Node) -> None:
    stage = Stage(node)
    for n in range(MAX_DEVICES):
        await put_device(node.pool, n, "mallory")
    await send(node, body("push", "mallory"))
    await plan_all(node)
    await stage.work(always(Fate.DOUBTED))
    assert stage.deaths.states() == {"ios": 0.0}
    assert await stage.disabled() == MAX_DEVICES
    assert set((await told(node.pool)).values()) == {"bounced:address_refused"}


async def test_what_devices_call_their_apps_does_not_fill_the_memory(node: Node) -> None:
    stage = Stage(node)
    for n in range(1_000):
        phone = Device(f"dev_{n}", AddressKind.APNS, f"app{n}", "ios", "aa", datetime(2026, 1, 1, tzinfo=UTC))
        message = Message("dlv_1", "att_1", phone.id, NoContent(), phone.registered_at, user=f"u{n}", device=phone)
        stage.deaths.judged(IOS, [message], [refused(Fate.DOUBTED)])
    assert len(stage.deaths._watched) < 200
    assert stage.deaths.doubted("ios", "app999")


async def test_an_account_that_was_declared_anew_is_believed_again(node: Node) -> None:
    stage = Stage(node)
    await stage.register(SOME)
    await stage.push(SOME, always(Fate.DOUBTED))
    stage.deaths.match([IOS])
    assert stage.deaths.states() == {"ios": 1.0}
    stage.deaths.match([Account("ios", "apns", IOS.channel, 4)])
    assert stage.deaths.states() == {"ios": 0.0}
