"""Do the other nodes learn exactly when the first connection comes and the last one goes?"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.edge.gateway.test_hub import Database, One
from tests.support import eventually
from ulak.core.inbox import News
from ulak.edge.gateway import Hub

pytestmark = pytest.mark.anyio


class Noted:
    """What was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int, str]] = []

    def hold(self, kind: str, tenant: int, name: str) -> None:
        self.told.append(("hold", kind, tenant, name))

    def drop(self, kind: str, tenant: int, name: str) -> None:
        self.told.append(("drop", kind, tenant, name))


def _hub() -> tuple[Hub, Noted, Database]:
    database, noted = Database(), Noted()
    hub = Hub(database, time.monotonic, time.time)
    hub.watch(noted)
    return hub, noted, database


async def test_a_user_is_held_from_his_first_connection_to_his_last() -> None:
    hub, noted, _ = _hub()
    phone, laptop = One(hub, "ann"), One(hub, "ann")
    hub.enter(phone)
    hub.enter(laptop)
    hub.enter(phone)
    hub.leave(phone)
    assert noted.told == [("hold", "u", 0, "ann")]
    hub.leave(laptop)
    hub.leave(laptop)
    assert noted.told[1:] == [("drop", "u", 0, "ann")]


async def test_a_topic_is_held_from_its_first_listener_to_its_last() -> None:
    hub, noted, _ = _hub()
    ann, bob = One(hub, "ann"), One(hub, "bob")
    for one in (ann, bob):
        hub.enter(one)
        hub.subscribe(one, ["goals"])
    hub.unsubscribe(ann, ["goals", "news"])
    hub.leave(bob)  # gone without a word
    assert [told for told in noted.told if told[1] == "t"] == [("hold", "t", 0, "goals"), ("drop", "t", 0, "goals")]


async def test_a_long_poll_holds_its_user_as_a_connection_does() -> None:
    hub, noted, database = _hub()
    database.tops[0, "ann"] = 3
    polls = [asyncio.create_task(hub.wait(0, "ann", 3, 30.0)) for _ in range(2)]
    await eventually(lambda: len(database.compared) == 2)
    assert noted.told == [("hold", "u", 0, "ann")]
    member = One(hub, "ann")
    hub.enter(member)
    hub.hint([News(0, "ann", 4)])
    await asyncio.gather(*polls)
    assert len(noted.told) == 1  # the connection still stands
    hub.leave(member)
    assert noted.told[1:] == [("drop", "u", 0, "ann")]
    await hub.wait(0, "ann", 2, 30.0)  # it has moved already
    assert noted.told[2:] == [("hold", "u", 0, "ann"), ("drop", "u", 0, "ann")]
