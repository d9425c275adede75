"""Does a node that is broken inside end, so that it can be started again, instead of living on half dead?"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from ulak.doors import Doors, watched
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.settings import SettingError, Settings

pytestmark = pytest.mark.anyio


async def fail(text: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(throw(text))


async def throw(text: str) -> None:
    raise ValueError(text)


async def test_a_loop_that_fails_ends_the_node_and_says_where_but_not_what(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[bool] = []
    loops = [asyncio.create_task(asyncio.sleep(60)), asyncio.create_task(fail("ann@example.com"))]
    await asyncio.wait_for(watched(loops, lambda: ended.append(True)), 30)
    loops[0].cancel()
    assert ended == [True]
    assert "ValueError at " in caplog.text
    assert "test_doors.py:" in caplog.text
    assert "ann@example.com" not in caplog.text


async def test_a_loop_that_ends_or_is_ended_is_no_failure() -> None:
    ended: list[bool] = []
    loops = [asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(asyncio.sleep(60))]
    watch = asyncio.create_task(watched(loops, lambda: ended.append(True)))
    await loops[0]
    loops[1].cancel()
    await asyncio.wait_for(watch, 30)
    assert ended == []


@pytest.mark.pg
async def test_a_node_that_drains_is_not_ready_and_its_sockets_are_among_the_metrics(store: Pool) -> None:
    node = await Node.open(Settings(node=f"doors-{os.getpid()}"), store)
    doors = Doors(node)
    assert await doors._ready() is None
    assert "ulak_sockets 0.0" in node.metrics.text().decode()
    await doors.gateway.drain(0.0)
    assert await doors._ready() == "the node is stopping"
    await doors.stop()
    with pytest.raises(SettingError, match="ULAK_TRUSTED_PROXIES"):
        Doors(await Node.open(replace(node.settings, trusted_proxies="proxy.internal"), store))
