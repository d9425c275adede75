"""Do hints reach other nodes, and does a node know when they do not?"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import eventually
from ulak.core.inbox import News
from ulak.io.embedded import valkey
from ulak.io.valkey import hints
from ulak.io.valkey.hints import ValkeyHints

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def bus() -> Iterator[valkey.RunningValkey]:
    """A Valkey of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="ulak-hints-", dir="/tmp"))
    folder.chmod(0o711)
    running = valkey.start(folder / "bus")
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


class Node:
    """What one node hears."""

    def __init__(self, url: str, boot: int) -> None:
        self.heard: list[News] = []
        self.ups: list[bool] = []
        self.hints = ValkeyHints(url, boot, self._hear, self.ups.append)

    def _hear(self, news: Sequence[News]) -> None:
        self.heard += news


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Node, Node]]:
    nodes = Node(url, 1), Node(url, 2)
    for node in nodes:
        node.hints.nodes([1, 2])
        node.hints.start()
    try:
        await eventually(lambda: all(node.hints.up for node in nodes))
        yield nodes
    finally:
        for node in nodes:
            await node.hints.stop()


async def test_a_hint_reaches_the_other_node_only(bus: valkey.RunningValkey) -> None:
    async with two(bus.url) as (one, other):
        one.hints.hint([News(0, "ann", 7)])
        await eventually(lambda: other.heard == [News(0, "ann", 7)])
        assert one.heard == []


async def test_a_death_is_told_at_once_and_what_was_not_said_is_said_again(bus: valkey.RunningValkey) -> None:
    async with two(bus.url) as (one, other):
        os.kill(bus.pid, signal.SIGKILL)
        await eventually(lambda: not one.hints.up and not other.hints.up, within=2.0)
        one.hints.hint([News(0, "ann", 8)])
        await eventually(bus.step)
        await eventually(lambda: one.hints.up and other.hints.up)
        await eventually(lambda: News(0, "ann", 8) in other.heard)
        assert other.ups == [True, False, True]


async def test_a_bus_that_stands_still_is_not_up(bus: valkey.RunningValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_DEAF", 0.8)
    monkeypatch.setattr(hints, "_BEAT", 0.2)
    async with two(bus.url) as (one, other):
        await asyncio.sleep(1.0)
        assert one.ups == other.ups == [True]  # nothing was said, and that is no reason
        os.kill(bus.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: not one.hints.up and not other.hints.up, within=3.0)
        finally:
            os.kill(bus.pid, signal.SIGCONT)
        await eventually(lambda: one.hints.up and other.hints.up)
