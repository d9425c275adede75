"""Is a credential asked for once by however many need it, renewed ahead, and replaced only when that can help?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tests.support import eventually
from ulak.core.model import Account, Channel
from ulak.io import credentials
from ulak.io.credentials import Clocks, Credentials
from ulak.io.outbound.push import PushSender
from ulak.providers.contract import Credential, HttpReply, HttpRequest, Lost, Phase, Refused, Ungranted

pytestmark = pytest.mark.anyio

ACCOUNT = Account("main", "fcm", Channel.PUSH)
GRANT = HttpRequest("POST", "https://vendor.example/token")
GRANTED = HttpReply(200, {}, b"")
Answer = HttpReply | Lost | Refused


@dataclass
class World:
    """A clock, a vendor that grants credentials (or mints them), and what was asked of it."""

    mints: bool = False
    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    asked: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    messages: list[HttpRequest] = field(default_factory=list)
    replies: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open.set()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def clocks(self) -> Clocks:
        return Clocks(self.now, lambda: self.seconds)

    # The provider's face.

    def scope(self, request: HttpRequest, account: Account) -> str:
        return ""

    def credential(self, scope: str, account: Account, now: datetime) -> Credential | HttpRequest:
        if not self.mints:
            return GRANT
        self.asked += 1
        issued = now.replace(minute=now.minute // 30 * 30, second=0)
        return Credential(f"{scope}#{self.asked}", issued + timedelta(minutes=30), issued + timedelta(minutes=60))

    def granted(self, reply: HttpReply, account: Account, now: datetime) -> Credential | None:
        if reply.status != 200:
            return None
        return Credential(f"#{self.asked}", now + timedelta(seconds=3_000), now + timedelta(seconds=3_600))

    def stale(self, reply: HttpReply) -> bool:
        return reply.status == 401

    # The transport's.

    async def send(self, request: HttpRequest, deadline: float) -> Answer:
        if request != GRANT:
            self.messages.append(request)
            return self.replies.pop(0)
        self.asked += 1
        await self.open.wait()
        return self.answers.pop(0) if self.answers else GRANTED

    async def aclose(self) -> None:
        self.open.set()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def held(world: World) -> AsyncIterator[Credentials]:
    made = Credentials(world, ACCOUNT, world.send, world.clocks())
    yield made
    await made.close()


def value(found: Credential | Ungranted) -> str:
    assert isinstance(found, Credential)
    return found.value


async def test_many_who_need_one_cause_one_request(world: World, held: Credentials) -> None:
    found = await asyncio.gather(*(held.get("", 5) for _ in range(50)))
    assert {value(credential) for credential in found} == {"#1"}
    assert world.asked == 1


async def test_it_is_renewed_ahead_while_the_old_one_serves(world: World, held: Credentials) -> None:
    await held.get("", 5)
    world.seconds = 3_001
    world.open.clear()
    assert [value(await held.get("", 5)) for _ in range(3)] == ["#1"] * 3
    await eventually(lambda: world.asked == 2)
    world.open.set()
    await eventually(lambda: held._scopes[""].renewing is None)
    assert value(await held.get("", 5)) == "#2"
    assert world.asked == 2


async def test_past_its_end_it_is_waited_for(world: World, held: Credentials) -> None:
    await held.get("", 5)
    world.seconds = 3_601
    assert value(await held.get("", 5)) == "#2"


async def test_a_renewal_that_fails_leaves_the_old_one_until_its_end(world: World, held: Credentials) -> None:
    await held.get("", 5)
    world.seconds = 3_001
    world.answers = [HttpReply(503, {}, b""), HttpReply(503, {}, b"")]
    assert value(await held.get("", 5)) == "#1"
    await eventually(lambda: held._scopes[""].failure is not None)
    assert value(await held.get("", 5)) == "#1"
    assert world.asked == 2  # not again within the pause
    world.seconds = 3_601
    assert await held.get("", 5) == Ungranted(HttpReply(503, {}, b""))
    world.seconds += credentials.PAUSE
    assert value(await held.get("", 5)) == "#4"


@pytest.mark.parametrize(
    "answer", [HttpReply(400, {}, b"invalid_grant"), Lost(Phase.NOT_SENT, "dns"), Refused("address", "loopback")]
)
async def test_a_failure_is_told_to_all_and_tried_again_after_a_second(
    world: World, held: Credentials, answer: Answer
) -> None:
    world.answers = [answer]
    assert await asyncio.gather(*(held.get("", 5) for _ in range(20))) == [Ungranted(answer)] * 20
    world.seconds = credentials.PAUSE - 0.01
    assert await held.get("", 5) == Ungranted(answer)
    assert world.asked == 1
    world.seconds = credentials.PAUSE
    assert value(await held.get("", 5)) == "#2"


async def test_nobody_waits_longer_than_his_deadline_and_the_request_goes_on(world: World, held: Credentials) -> None:
    world.open.clear()
    assert await held.get("", 0.01) == Ungranted(Lost(Phase.NOT_SENT, "timeout"))
    waiting = asyncio.create_task(held.get("", 30))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.open.set()
    assert value(await held.get("", 30)) == "#1"
    assert world.asked == 1


async def test_a_refused_one_is_replaced_once_for_all_who_were_refused(world: World, held: Credentials) -> None:
    refused = await held.get("", 5)
    assert isinstance(refused, Credential)
    world.seconds = 100
    found = await asyncio.gather(*(held.instead("", refused, 5) for _ in range(20)))
    assert {value(credential) for credential in found} == {"#2"}
    assert value(await held.instead("", refused, 5)) == "#2"
    assert world.asked == 2


async def test_a_vendor_that_refuses_what_it_just_granted_is_not_asked_again(world: World, held: Credentials) -> None:
    fresh = await held.get("", 5)
    assert isinstance(fresh, Credential)
    world.seconds = credentials.FRESH - 0.1
    assert await held.instead("", fresh, 5) == fresh
    assert world.asked == 1


async def test_one_minted_for_the_same_time_is_the_same() -> None:
    world = World(mints=True)
    held = Credentials(world, ACCOUNT, world.send, world.clocks())
    first = await held.get("a", 5)
    assert isinstance(first, Credential)
    world.seconds = 600
    assert await held.instead("a", first, 5) == first
    world.seconds = 1_801
    assert value(await held.get("a", 5)) != first.value


@pytest.mark.parametrize("mints", [True, False])
async def test_what_was_got_by_a_clock_that_was_far_ahead_is_not_used_once_it_is_right(mints: bool) -> None:
    world = World(mints=mints)
    steady = iter(range(100))
    held = Credentials(world, ACCOUNT, world.send, Clocks(world.now, lambda: next(steady) * credentials.FRESH))
    world.seconds = 3 * 3_600
    ahead = value(await held.get("", 5))
    world.seconds -= credentials.BACK
    assert value(await held.get("", 5)) == ahead, "a time server may do that"
    world.seconds = 0
    right = value(await held.get("", 5))
    assert right != ahead
    assert value(await held.get("", 5)) == right
    await held.close()


async def test_scopes_are_apart_and_bounded() -> None:
    world = World(mints=True)
    held = Credentials(world, ACCOUNT, world.send, world.clocks())
    for n in range(credentials.SCOPES + 10):
        assert value(await held.get(f"https://{n}", 5)).startswith(f"https://{n}#")
    assert len(held._scopes) == credentials.SCOPES
    asked = world.asked
    await held.get(f"https://{credentials.SCOPES}", 5)
    assert world.asked == asked


# ------------------------------------------------------------------------------------------- the sender


PUSH = HttpRequest("POST", "https://vendor.example/send", (("a", "b"),), b"{}")
STALE = HttpReply(401, {}, b"")


async def test_a_push_carries_the_credential(world: World) -> None:
    sender = PushSender(world, ACCOUNT, world, world.clocks())
    world.replies = [GRANTED]
    assert await sender.send(PUSH, 5) == GRANTED
    assert world.messages[0].headers == (("a", "b"), ("authorization", "#1"))
    await sender.close()


async def test_a_stale_credential_is_renewed_and_the_push_sent_once_more(world: World) -> None:
    sender = PushSender(world, ACCOUNT, world, world.clocks())
    world.replies = [GRANTED, STALE, GRANTED]
    await sender.send(PUSH, 5)
    world.seconds = 60
    assert await sender.send(PUSH, 5) == GRANTED
    assert [dict(message.headers)["authorization"] for message in world.messages] == ["#1", "#1", "#2"]
    world.seconds = 120
    world.replies = [STALE, STALE]
    assert await sender.send(PUSH, 5) == STALE  # one renewal, not two
    await sender.close()


async def test_without_another_credential_the_answer_stands(world: World) -> None:
    sender = PushSender(world, ACCOUNT, world, world.clocks())
    world.replies = [STALE]
    assert await sender.send(PUSH, 5) == STALE
    assert (world.asked, len(world.messages)) == (1, 1)
    await sender.close()


async def test_without_any_credential_nothing_is_sent(world: World) -> None:
    sender = PushSender(world, ACCOUNT, world, world.clocks())
    world.answers = [HttpReply(400, {}, b"invalid_grant")]
    assert await sender.send(PUSH, 5) == Ungranted(HttpReply(400, {}, b"invalid_grant"))
    assert world.messages == []
    await sender.close()


async def test_closing_stops_what_is_being_asked_for(world: World) -> None:
    world.open.clear()
    sender = PushSender(world, ACCOUNT, world, world.clocks())
    waiting = asyncio.create_task(sender.send(PUSH, 30))
    await eventually(lambda: world.asked == 1)
    await sender.close()
    assert await waiting == Ungranted(Lost(Phase.NOT_SENT, "timeout"))
