"""Who may listen to a topic, and is the database asked once for many?"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from tests.support import eventually
from ulak.core.token import Claims
from ulak.edge.gateway.listening import Listening, Membership
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.topics import Topics

pytestmark = pytest.mark.anyio


class Members:
    """Answers when it is let, and counts."""

    def __init__(self, *held: Membership) -> None:
        self.held = set(held)
        self.asked: list[set[Membership]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.error: Exception | None = None

    async def subscribed(self, asked: Collection[Membership]) -> set[Membership]:
        self.asked.append(set(asked))
        await self.free.wait()
        if self.error is not None:
            raise self.error
        return self.held & set(asked)


def _claims(user: str, *topics: str, tenant: int = 0) -> Claims:
    return Claims(tenant, user, 1e10, topics=topics)


async def test_a_token_that_names_the_topics_needs_no_look() -> None:
    members = Members()
    listening = Listening(members)
    assert await listening.may(_claims("ann", "goals", "orders/42/*"), ["goals", "orders/42/items"])
    assert members.asked == []


async def test_a_member_may_listen_and_all_or_none_counts() -> None:
    listening = Listening(Members((0, "ann", "news")))
    assert await listening.may(_claims("ann", "goals"), ["goals", "news"])
    assert not await listening.may(_claims("ann"), ["news", "goals"])
    assert not await listening.may(_claims("bob"), ["news"])
    assert not await listening.may(_claims("ann", tenant=1), ["news"])  # another tenant's ann


async def test_many_who_ask_at_one_time_are_one_statement() -> None:
    members = Members(*((0, f"u{n}", "news") for n in range(0, 100, 2)))
    listening = Listening(members)
    members.free.clear()
    first = asyncio.create_task(listening.may(_claims("first"), ["news"]))
    await eventually(lambda: members.asked)
    others = [asyncio.create_task(listening.may(_claims(f"u{n}"), ["news"])) for n in range(100)]
    await asyncio.sleep(0)
    others[4].cancel()  # one who leaves harms nobody
    members.free.set()
    found = await asyncio.gather(*others, return_exceptions=True)
    assert not await first
    assert [one is True for one in found] == [n % 2 == 0 and n != 4 for n in range(100)]
    assert len(members.asked) == 2


async def test_a_failure_reaches_those_who_asked_and_no_later_one() -> None:
    members = Members((0, "ann", "news"))
    listening = Listening(members)
    members.error = OSError("away")
    found = await asyncio.gather(*(listening.may(_claims("ann"), ["news"]) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [OSError] * 3
    members.error = None
    assert await listening.may(_claims("ann"), ["news"])


@pytest.mark.pg
async def test_memberships_are_read_as_they_stand(store: Pool) -> None:
    topics = Topics(store)
    await store.execute("INSERT INTO tenants (tenant, name) VALUES (1, 'other')")
    await topics.subscribe(0, "news", "ann")
    await topics.subscribe(1, "goals", "ann")
    await topics.subscribe(0, "goals", "bob")
    await topics.unsubscribe(0, "goals", "bob")
    listening = Listening(topics)
    assert await listening.may(_claims("ann"), ["news"])
    assert not await listening.may(_claims("ann"), ["goals"])
    assert await listening.may(_claims("ann", tenant=1), ["goals"])
    assert not await listening.may(_claims("bob"), ["goals"])
    assert not await listening.may(_claims("zoë"), ["news"])
