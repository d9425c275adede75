"""Does a node tell of its own connections no more than is asked, and of its own tenant only?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.support import eventually
from ulak.core.connections import Described, Question, Reply
from ulak.core.inbox import News
from ulak.edge.gateway.presence import Presence
from ulak.io.postgres.errors import EXPECTED

pytestmark = pytest.mark.anyio

Pair = tuple[int, str, int]


@dataclass
class Standing:
    sent: int = 0
    open: bool = True


@dataclass(eq=False)
class Member:
    owner: tuple[int, str]
    id: str
    session: Standing = field(default_factory=Standing)
    closed: list[str] = field(default_factory=list)
    described: int = 0

    def close(self, name: str) -> None:
        self.closed.append(name)

    def describe(self) -> Described:
        self.described += 1
        return Described(self.id, self.owner[1], "socket", 1.0, 2.0)


class Hub:
    def __init__(self, *members: Member) -> None:
        self.all = list(members)
        self.heard: list[object] = []

    def members(self) -> Iterable[Member]:
        return self.all

    def members_of(self, owner: tuple[int, str]) -> Iterable[Member]:
        return [member for member in self.all if member.owner == owner]

    def find(self, connection_id: str) -> Member | None:
        return next((member for member in self.all if member.id == connection_id), None)

    def hint(self, news: Sequence[News]) -> None:
        self.heard += news

    def publish(self, tenant: int, topic: str, text: str) -> int:
        self.heard.append((tenant, topic, text))
        return 0

    def broadcast(self, tenant: int, text: str) -> int:
        self.heard.append((tenant, text))
        return 0

    def bus(self, up: bool) -> None:
        self.heard.append(up)


class Inboxes:
    """Everybody's inbox stands at 5; fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.asked: list[Pair] = []
        self.failures = failures

    async def moved(self, known: Sequence[Pair]) -> list[Pair]:
        if self.failures:
            self.failures -= 1
            raise EXPECTED[0]
        self.asked += known
        return [(tenant, user, 5) for tenant, user, revision in known if revision != 5]


ANN1, ANN2 = Member((0, "ann"), "con_1"), Member((0, "ann"), "con_2")
BOB, EVE = Member((0, "bob"), "con_3"), Member((1, "ann"), "con_4")


def _presence(*members: Member) -> tuple[Presence, Hub]:
    hub = Hub(*members)
    return Presence(hub, Inboxes()), hub


@pytest.mark.parametrize(
    ("question", "total", "ids"),
    [
        (Question(0, limit=9), 3, ["con_1", "con_2", "con_3"]),
        (Question(0, limit=1), 3, ["con_1"]),
        (Question(0), 3, []),
        (Question(0, "ann", limit=9), 2, ["con_1", "con_2"]),
        (Question(0, "zoe", limit=9), 0, []),
        (Question(1, "ann", limit=9), 1, ["con_4"]),
        (Question(0, connection="con_3", limit=9), 1, ["con_3"]),
        (Question(0, connection="con_4", limit=9), 0, []),  # another tenant's
        (Question(0, "ann", "con_3", limit=9), 0, []),  # another user's
        (Question(0, limit=-1), 3, []),
    ],
)
def test_what_is_asked_is_told_and_no_more(question: Question, total: int, ids: list[str]) -> None:
    presence, _ = _presence(ANN1, ANN2, BOB, EVE)
    reply = presence.answer(question)
    assert (reply.total, [one.id for one in reply.found]) == (total, ids)


def test_only_what_is_shown_is_described() -> None:
    members = [Member((0, "ann"), f"con_{n}") for n in range(50)]
    presence, _ = _presence(*members)
    assert presence.answer(Question(0, limit=5)).total == 50
    assert sum(member.described for member in members) == 5


def test_a_close_meets_whom_it_names() -> None:
    members = [Member((0, "ann"), "con_1"), Member((0, "ann"), "con_2"), Member((0, "bob"), "con_3")]
    presence, _ = _presence(*members, EVE)
    assert presence.answer(Question(0, connection="con_2", close=True)) == Reply(1)
    assert [member.closed for member in members] == [[], ["disconnected"], []]
    assert presence.answer(Question(0, "ann", close=True)) == Reply(2)
    assert presence.answer(Question(1, connection="con_3", close=True)) == Reply(0)
    assert presence.answer(Question(0, limit=9, close=True)) == Reply(0)  # nobody is named
    assert members[2].closed == EVE.closed == []


def test_what_the_bus_brings_goes_to_the_hub() -> None:
    presence, hub = _presence()
    presence.hint([News(0, "ann", 3)])
    presence.deliver(0, "goals", "{}")
    presence.deliver(0, None, "{}")
    presence.bus(up=True)
    assert hub.heard == [News(0, "ann", 3), (0, "goals", "{}"), (0, "{}"), True]


async def test_who_has_just_come_is_compared_once_with_what_was_said_before() -> None:
    welcomed = Member((0, "ann"), "con_1", Standing(4))
    ahead = Member((0, "ann"), "con_2", Standing(5))
    arriving = Member((0, "bob"), "con_3", Standing(0, open=False))
    level = Member((0, "carl"), "con_4", Standing(5))
    hub, inboxes = Hub(welcomed, ahead, arriving, level), Inboxes()
    presence = Presence(hub, inboxes)
    presence.held([("u", 0, "ann"), ("u", 0, "bob"), ("t", 0, "goals"), ("u", 0, "carl"), ("u", 0, "gone")])
    await presence.look()
    assert inboxes.asked == [(0, "ann", 4), (0, "bob", -1), (0, "carl", 5), (0, "gone", -1)]
    assert hub.heard == [News(0, "ann", 5), News(0, "bob", 5), News(0, "gone", 5)]
    hub.heard.clear()
    await presence.look()
    assert hub.heard == []


async def test_a_comparison_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulak.edge.gateway.presence._PAUSE", 0.0)
    hub, inboxes = Hub(), Inboxes(failures=2)
    presence = Presence(hub, inboxes)
    task = asyncio.create_task(presence.run())
    presence.held([("u", 0, "ann")])
    await eventually(lambda: hub.heard)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert hub.heard == [News(0, "ann", 5)]
