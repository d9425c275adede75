"""Is one push service that is down left alone, and no other?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tests.providers.push.samples import account
from ulak.core.breaker import Limits
from ulak.io.credentials import Clocks
from ulak.io.outbound import resting
from ulak.io.outbound.push import PushSender
from ulak.io.outbound.resting import Resting
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase, Refused
from ulak.providers.push import webpush

pytestmark = pytest.mark.anyio

DOWN, UP = "https://down.example", "https://up.example"
TAKEN = HttpReply(201, {}, b"")
LEAST, REST = Limits().least, Limits().rest


class World:
    """A clock, and push services; what they were asked is counted."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.answer: HttpReply | Lost | Refused | None = Lost(Phase.SENT, "timeout")
        self.asked = dict.fromkeys((DOWN, UP), 0)
        clocks = Clocks(lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda: self.seconds)
        self.sender = PushSender(webpush, account("webpush"), self, clocks)

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        place = webpush.scope(request, account("webpush"))
        self.asked[place] += 1
        if place == UP:
            return TAKEN
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return self.answer

    async def aclose(self) -> None:
        """Nothing is open."""

    async def push(self, place: str) -> object:
        return await self.sender.send(HttpRequest("POST", f"{place}/x"), 5.0)


@pytest.mark.parametrize("answer", [Lost(Phase.SENT, "timeout"), Lost(Phase.NOT_SENT, "dns"), HttpReply(503, {}, b"")])
async def test_a_service_that_is_down_is_left_alone_and_no_other(answer: HttpReply | Lost) -> None:
    world = World()
    world.answer = answer
    for _ in range(LEAST):
        assert await world.push(DOWN) == answer
    for _ in range(100):
        said = await world.push(DOWN)
        assert isinstance(said, Lost)
        assert (said.phase, said.reason) == (Phase.NOT_SENT, "resting")
        assert await world.push(UP) == TAKEN
    assert world.asked == {DOWN: LEAST, UP: 100}
    world.seconds += REST
    world.answer = TAKEN
    assert [await world.push(DOWN) for _ in range(3)] == [TAKEN] * 3, "the first shows that it works again"


@pytest.mark.parametrize("status", [201, 400, 401, 403, 404, 410, 413, 429, 507])
async def test_what_a_service_says_of_a_device_or_of_us_is_no_failure_of_it(status: int) -> None:
    world = World()
    world.answer = HttpReply(status, {}, b"")
    for _ in range(10 * LEAST):
        assert await world.push(DOWN) == world.answer


async def test_a_call_that_nobody_waits_for_any_more_gives_its_place_to_the_next() -> None:
    world = World()
    for _ in range(LEAST):
        await world.push(DOWN)
    world.seconds += REST
    world.answer = None
    probe = asyncio.create_task(world.push(DOWN))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    world.answer = TAKEN
    assert await world.push(DOWN) == TAKEN


async def test_names_that_are_made_up_fill_no_memory() -> None:
    one = Resting(lambda: 0.0)
    for n in range(resting.MOST + 10):
        for _ in range(LEAST):
            one.told(f"https://{n}", Lost(Phase.NOT_SENT, "dns"), 0.0)
    assert len(one.rests()) == resting.MOST
    one.told("https://guard", Refused("address", "private"), 0.0)
    assert "https://guard" not in one.rests()
