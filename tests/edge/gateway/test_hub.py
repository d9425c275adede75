"""Does the hub read in batches, keep what fails, and find what nobody told it?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from tests.support import eventually
from ulak.core.connections import Described
from ulak.core.inbox import News, Op, Page
from ulak.core.revocation import Revocation
from ulak.core.session import Session
from ulak.core.session_actions import Acked, Action, Fetch
from ulak.core.session_commands import Ack as AckCommand
from ulak.core.session_commands import Close
from ulak.core.token import Claims
from ulak.core.websocket import Encoded
from ulak.edge.gateway import Hub, Pace
from ulak.edge.gateway.model import Member, Pair
from ulak.io.postgres.inbox import Ack

pytestmark = pytest.mark.anyio


class Database:
    """Inboxes that hold nothing but their newest revision, and a record of what was asked."""

    def __init__(self) -> None:
        self.tops: dict[tuple[int, str], int] = {}
        self.reads: list[list[Pair]] = []
        self.acks: list[list[Ack]] = []
        self.compared: list[list[Pair]] = []
        self.error: Exception | None = None
        self.poison: str | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.era = "1-a"
        self.failures = 0

    def _fail(self) -> None:
        if self.error is not None:
            self.failures += 1
            raise self.error

    async def epoch(self) -> str:
        self._fail()
        return self.era

    async def pages(self, asked: Sequence[Pair], limit: int) -> list[Page]:
        self.reads.append(list(asked))
        await self.open.wait()
        self._fail()
        if any(user == self.poison for _, user, _ in asked):
            raise asyncpg.DataError("one of them")
        return [Page(since, self.tops.get((t, u), 0), 0, 0, 0, self.era, (), more=False) for t, u, since in asked]

    async def moved(self, known: Sequence[Pair]) -> list[Pair]:
        self._fail()
        self.compared.append(list(known))
        return [(t, u, self.tops.get((t, u), 0)) for t, u, n in known if self.tops.get((t, u), 0) != n]

    async def acked(self, acks: Sequence[Ack]) -> int:
        self.acks.append(list(acks))
        await self.open.wait()
        self._fail()
        return len(acks)

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID] = (), up_to: int | None = None) -> int:
        raise NotImplementedError


class One(Member):
    """A member that has been welcomed or is about to be."""

    def __init__(self, hub: Hub, user: str) -> None:
        self.session = Session("c", 0.0)
        self.owner = (0, user)
        self.claims = Claims(0, user, 1e12)
        self.topics = None
        self.slot = 0
        self.hub = hub
        self.closed: Close | None = None
        self.answers = 0
        self.told: list[Encoded] = []
        hub.enter(self)
        self.session.receive('{"op":"hello","token":"t"}', 0.0)
        self.act(self.session.authenticated(user, 1e12))

    def act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Fetch):
                self.hub.want(self, action.since)
            elif isinstance(action, Close):
                self.closed = action
            else:
                self.answers += 1

    def tell(self, frame: Encoded) -> None:
        self.told.append(frame)

    def ephemeral(self, frame: Encoded) -> None:
        self.told.append(frame)

    def close(self, name: str) -> None:
        self.act(self.session.end(name))

    def tick(self, now: float, unix: float) -> float:
        self.act(self.session.tick(now, unix))
        return self.session.due(now, unix)

    def describe(self) -> Described:
        return Described(self.session.connection, self.owner[1], "test", 0.0, 0.0)


@asynccontextmanager
async def running(
    database: Database, monotonic: Callable[[], float] = time.monotonic, **pace: float
) -> AsyncIterator[Hub]:
    settings = {"compare": 1e9, "alarmed": 0.01, "pause": 0.01, **pace}
    hub = Hub(database, monotonic, time.time, Pace(**settings))  # type: ignore[arg-type]
    work = asyncio.create_task(hub.run())
    yield hub
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def welcomed(hub: Hub, *users: str) -> list[One]:
    members = [One(hub, user) for user in users]
    await eventually(lambda: all(member.session.open for member in members))
    return members


async def test_what_is_asked_at_one_moment_becomes_one_read() -> None:
    database = Database()
    async with running(database) as hub:
        members = await welcomed(hub, *(f"u{n}" for n in range(50)), "u0")
        assert len(hub) == 51
        assert [len(read) for read in database.reads] == [50], "51 sockets, 50 users, one statement"
        database.reads.clear()
        for n in range(50):
            database.tops[(0, f"u{n}")] = 3
        hub.hint([News(0, f"u{n}", revision) for n in range(50) for revision in (1, 2, 3)])
        await eventually(lambda: all(member.session.sent == 3 for member in members))
        assert [len(read) for read in database.reads] == [50]


async def test_what_comes_while_a_read_is_under_way_is_in_the_next() -> None:
    database = Database()
    async with running(database, readers=1) as hub:
        await welcomed(hub, *(f"u{n}" for n in range(20)))
        database.reads.clear()
        database.open.clear()
        database.tops = {(0, f"u{n}"): 1 for n in range(20)}
        hub.hint([News(0, "u0", 1)])
        await eventually(lambda: database.reads)
        hub.hint([News(0, f"u{n}", 1) for n in range(20)])
        database.open.set()
        await eventually(lambda: len(database.reads) == 2)
        assert [len(read) for read in database.reads] == [1, 19]


async def test_batches_have_a_bound() -> None:
    database = Database()
    async with running(database, batch=8) as hub:
        await welcomed(hub, *(f"u{n}" for n in range(20)))
        assert max(len(read) for read in database.reads) == 8


async def test_who_has_waited_longest_is_read_first() -> None:
    database = Database()
    database.open.clear()
    async with running(database, batch=8, readers=1) as hub:
        members = [One(hub, f"u{n}") for n in range(20)]
        database.open.set()
        await eventually(lambda: all(member.session.open for member in members))
        assert [user for read in database.reads for _, user, _ in read] == [f"u{n}" for n in range(20)]


async def test_a_database_that_is_away_is_asked_again_until_it_answers() -> None:
    database = Database()
    async with running(database) as hub:
        (ann,) = await welcomed(hub, "ann")
        database.error = ConnectionRefusedError()
        database.tops[(0, "ann")] = 1
        hub.hint([News(0, "ann", 1)])
        hub.ack(ann, Acked(0, 1, active=False, command=AckCommand(7, 1)))
        await eventually(lambda: len(database.reads) > 2 and len(database.acks) > 1)
        assert ann.session.sent == 0
        answers = ann.answers
        database.error = None
        await eventually(lambda: ann.session.sent == 1 and ann.answers > answers)
        assert database.acks[-1] == [Ack(0, "ann", 0, 1, active=False)]


async def test_a_user_who_can_not_be_read_is_sent_away_alone() -> None:
    database = Database()
    database.poison = "u3"
    async with running(database) as hub:
        members = [One(hub, f"u{n}") for n in range(6)]
        await eventually(lambda: members[3].closed)
        await eventually(lambda: all(m.session.open for m in members if m is not members[3]))
        assert [m.closed is None for m in members] == [True, True, True, False, True, True]


async def test_acks_that_can_never_be_written_do_not_stop_those_after_them() -> None:
    database = Database()
    async with running(database) as hub:
        (ann,) = await welcomed(hub, "ann")
        database.error = asyncpg.DataError("bad")
        hub.ack(ann, Acked(0, 1, active=False, command=AckCommand(1, 1)))
        await eventually(lambda: database.acks)
        database.error = None
        hub.ack(ann, Acked(1, 2, active=True, command=AckCommand(2, 2)))
        await eventually(lambda: len(database.acks) == 2)
        assert database.acks[1] == [Ack(0, "ann", 1, 2, active=True)]


async def test_one_who_left_is_not_told_but_his_acks_are_written() -> None:
    database = Database()
    async with running(database) as hub:
        ann, bob = await welcomed(hub, "ann", "bob")
        database.open.clear()
        hub.hint([News(0, "ann", 1)])
        await eventually(lambda: len(database.reads) == 2)
        hub.leave(ann)
        hub.leave(ann)
        database.tops[(0, "ann")] = 1
        database.open.set()
        hub.ack(ann, Acked(0, 1, active=False, command=AckCommand(None, 1)))
        await eventually(lambda: database.acks)
        assert ann.session.sent == 0
        assert hub.members() == [bob]
        hub.ack(bob, Acked(0, 1, active=False, command=AckCommand(None, 1)))
        await hub.flush()
        assert database.acks[-1] == [Ack(0, "bob", 0, 1, active=False)]


async def test_the_truth_check_takes_its_time_while_the_bus_is_up() -> None:
    database = Database()
    looks = 0

    def monotonic() -> float:
        nonlocal looks
        looks += 1
        return time.monotonic()

    async with running(database, monotonic) as hub:
        await welcomed(hub, "ann")
        database.tops[(0, "ann")] = 5
        looks = 0
        await eventually(lambda: looks > 5, what="it has looked at the clock several times")
        assert database.compared == []


@pytest.mark.parametrize("flaps", [[False], [False, True]], ids=["down", "up again"])
async def test_the_truth_check_hurries_while_the_bus_is_down_and_once_more_when_it_is_back(flaps: list[bool]) -> None:
    database = Database()
    async with running(database) as hub:
        (ann,) = await welcomed(hub, "ann")
        for up in flaps:
            hub.bus(up)
        for top in (5, 6) if flaps[-1] is False else (5,):
            database.tops[(0, "ann")] = top
            await eventually(lambda top=top: ann.session.sent == top)  # type: ignore[misc]  # a default argument


async def test_the_truth_check_tells_of_histories_that_changed() -> None:
    database = Database()
    async with running(database) as hub:
        ann, bob = await welcomed(hub, "ann", "bob")
        database.tops = {(0, "ann"): 4, (0, "bob"): 4}
        await hub.compare()
        await eventually(lambda: ann.session.sent == bob.session.sent == 4)
        database.tops[(0, "ann")] = 2
        await hub.compare()
        await eventually(lambda: ann.closed)
        assert bob.closed is None
        database.era = "2-a"
        await hub.compare()
        await eventually(lambda: bob.closed)


async def test_the_truth_check_outlives_a_database_that_is_away() -> None:
    database = Database()
    async with running(database) as hub:
        (ann,) = await welcomed(hub, "ann")
        hub.bus(up=False)
        database.error = ConnectionResetError()
        database.tops[(0, "ann")] = 1
        await eventually(lambda: database.failures > 2)
        database.error = None
        await eventually(lambda: ann.session.sent == 1)


async def test_a_long_poll_returns_by_a_hint_by_the_truth_or_by_the_clock() -> None:
    database = Database()
    database.tops[(0, "ann")] = 3
    async with running(database) as hub:
        waiting = asyncio.create_task(hub.wait(0, "ann", 3, 300.0))
        await eventually(lambda: database.compared)
        hub.hint([News(0, "ann", 3), News(0, "bob", 9)])
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.hint([News(0, "ann", 4)])
        await asyncio.wait_for(waiting, 30)

        database.tops[(0, "ann")] = 4
        await asyncio.wait_for(hub.wait(0, "ann", 3, 300.0), 30)

        asked = len(database.compared)
        waiting = asyncio.create_task(hub.wait(0, "ann", 4, 300.0))
        await eventually(lambda: len(database.compared) > asked)
        database.tops[(0, "ann")] = 5
        await hub.compare()
        await asyncio.wait_for(waiting, 30)

        await hub.wait(0, "ann", 5, 0.05)
        assert hub._waiters == {}


async def test_a_sweep_closes_what_is_over() -> None:
    database = Database()
    async with running(database, sweep=0.01) as hub:
        (ann,) = await welcomed(hub, "ann")
        ann.session.hold(time.monotonic() - 31)
        hub.look(ann, time.monotonic())
        await eventually(lambda: ann.closed)


class Broken(One):
    """A member that fails whatever it is asked for, as a fault of ours would make it."""

    broken = False

    def _fail(self) -> None:
        if self.broken:
            raise RuntimeError("a fault of ours")

    def act(self, actions: Iterable[Action]) -> None:
        self._fail()
        super().act(actions)

    def tell(self, frame: Encoded) -> None:
        self._fail()

    def ephemeral(self, frame: Encoded) -> None:
        self._fail()

    def tick(self, now: float, unix: float) -> float:
        self._fail()
        return 0.0


@pytest.mark.parametrize("when", ["live", "read", "publish", "broadcast", "revoke", "compare", "sweep", "ack", "fail"])
async def test_a_fault_of_ours_in_one_connection_never_disturbs_another(when: str) -> None:
    database = Database()
    async with running(database) as hub:
        bad = Broken(hub, "ann")
        good = One(hub, "ann")
        await eventually(lambda: bad.session.open and good.session.open)
        hub.subscribe(bad, ["t"])
        hub.subscribe(good, ["t"])
        bad.broken = True
        answers = good.answers
        if when == "live":
            hub.hint([News(0, "ann", 1, "{}", 1, 1, "1-a")])
            assert len(good.told) == 1
        elif when == "read":
            database.tops[0, "ann"] = 1
            hub.hint([News(0, "ann", 1)])
            await eventually(lambda: good.session.sent == 1)
        elif when in ("publish", "broadcast"):
            assert (hub.publish(0, "t", "{}") if when == "publish" else hub.broadcast(0, "{}")) == 2
            assert len(good.told) == 1
        elif when == "revoke":
            hub.revoke([Revocation(1, 0, "ann", None, 1e9, 1e12)])
            assert good.closed is not None
        elif when == "compare":
            database.era = "2-a"
            await hub.compare()
            await eventually(lambda: good.closed is not None)
        elif when == "sweep":
            hub.look(bad, 1.0)
            hub.look(good, 1.0)
            hub.sweep()
            assert good.slot
        elif when == "ack":
            for member in (bad, good):
                hub.ack(member, Acked(0, 1, active=True, command=AckCommand(7, 1)))
            await eventually(lambda: good.answers > answers)
        else:
            database.error = asyncpg.DataError("of the query")
            database.tops[0, "ann"] = 1
            hub.hint([News(0, "ann", 1)])
            await eventually(lambda: good.closed is not None)
        await eventually(lambda: list(hub.members_of((0, "ann"))) == [good])
        assert hub.publish(0, "t", "{}") == 1
