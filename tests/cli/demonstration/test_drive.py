"""Does the driver repeat a request, with the same key, until it is answered, and not for ever?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support import eventually
from ulak.cli.client import Answer, Client, Refused, Unreachable
from ulak.cli.demonstration import drive as driving
from ulak.cli.demonstration.drive import Pace, Unanswered, drive, patiently
from ulak.cli.demonstration.evidence import Accepted
from ulak.cli.demonstration.program import Post

pytestmark = pytest.mark.anyio


class Flaky(Client):
    """A node that fails in the given ways, then answers each key with one id."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("http://127.0.0.1:1", "key")
        self.failures = list(failures)
        self.keys: list[str] = []
        self.ids: dict[str, str] = {}

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        del method, path, body, params
        key = (headers or {}).get("Idempotency-Key", "")
        self.keys.append(key)
        if self.failures:
            raise self.failures.pop(0)
        number = self.ids.setdefault(key, f"ntf_{len(self.ids)}")
        return Answer(202, {"id": number, "accepted": 1, "problems": []})


def post(number: int) -> Post:
    return Post(f"k{number}", "issues", {"type": "issues"}, frozenset({"ada"}))


async def always(_place: int) -> None:
    """An open gate."""


async def test_lost_connections_and_503_are_waited_out_with_the_same_key() -> None:
    node = Flaky(Unreachable("reset"), Refused(503, {"code": "unavailable"}, 0.01), Refused(429, {}, 0.01))
    got: list[Accepted] = []
    await drive(node, [post(0)], always, got.append)
    assert node.keys == ["k0"] * 4
    assert [(one.id, one.tries) for one in got] == [("ntf_0", 4)]


async def test_a_definite_refusal_ends_the_run() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await drive(Flaky(Refused(422, {"code": "unknown_type"})), [post(0)], always, lambda _: None)
    assert caught.group_contains(Refused)


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "PATIENCE", 0.0)
    with pytest.raises(Unanswered, match="GET /v1/types after 1 tries: gone"):
        await patiently(Flaky(*[Unreachable("gone")] * 9), "GET", "/v1/types")


async def test_every_post_is_made_once_and_waits_for_its_gate() -> None:
    node, opened = Flaky(), asyncio.Event()
    got: list[Accepted] = []

    async def gate(place: int) -> None:
        if place >= 20:
            await opened.wait()

    running = asyncio.create_task(drive(node, [post(n) for n in range(50)], gate, got.append))
    await eventually(lambda: len(got) >= 20)
    assert len(got) == 20
    assert not running.done()
    opened.set()
    await running
    assert sorted(node.keys) == sorted(f"k{n}" for n in range(50))
    assert len({one.id for one in got}) == 50


async def test_a_pace_spreads_turns_evenly_and_does_not_catch_up() -> None:
    loop = asyncio.get_running_loop()
    pace, began = Pace(200), loop.time()
    await asyncio.gather(*(pace.turn() for _ in range(21)))
    assert loop.time() - began >= 0.1
    await asyncio.sleep(0.05)
    began = loop.time()
    await asyncio.gather(*(pace.turn() for _ in range(11)))
    assert loop.time() - began >= 0.045


async def test_no_rate_means_no_waiting() -> None:
    pace = Pace(0)
    async with asyncio.timeout(30):
        for _ in range(1_000):
            await pace.turn()
