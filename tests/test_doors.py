"""Does a node that is broken inside end, so that it can be started again, instead of living on half dead?"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace

import pytest

from tests.edge.api.harness import PUBLIC
from ulak.core.project import load
from ulak.core.registration import ApplicationServer
from ulak.doors import Doors, watched
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.sandbox.push_keys import point, vapid_key
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


BROWSERS = f"""
[accounts.web]
channel = "push"
provider = "webpush"
subject = "mailto:push@example.org"
private_key_env = "ULAK_TEST_NOWHERE"
public_key = "{PUBLIC}"
hosts = ["*.push.example.org"]
apps = ["https://shop.example.org"]
[accounts.phones]
channel = "push"
provider = "noop"
"""


@pytest.mark.pg
async def test_browsers_are_told_the_keys_of_accounts_in_force_by_a_node_without_their_secrets(store: Pool) -> None:
    await apply(store, 0, load({"ulak.toml": BROWSERS}))
    doors = Doors(await Node.open(Settings(node=f"doors-{os.getpid()}"), store))
    hosts, apps = ("*.push.example.org",), ("https://shop.example.org",)
    assert doors._application_servers(0) == [ApplicationServer("web", PUBLIC, hosts, apps)]
    assert doors._application_servers(1) == []
    await doors.stop()


@pytest.mark.pg
async def test_browsers_are_told_the_sandboxs_keys_where_it_stands_in(store: Pool) -> None:
    await apply(store, 0, load({"ulak.toml": BROWSERS}))
    sandboxed = Settings(node=f"doors-{os.getpid()}", sandbox_smtp="127.0.0.1:1", sandbox_vendors="http://127.0.0.1:2")
    doors = Doors(await Node.open(sandboxed, store))
    assert doors._application_servers(0) == [], "a real key is never told while the sandbox plays"
    await doors.stop()
    places = dict.fromkeys(("apns", "apns_sandbox", "fcm", "webpush"), "https://127.0.0.1:8123") | {"ca": "/ca.pem"}
    doors = Doors(await Node.open(replace(sandboxed, sandbox_push=json.dumps(places)), store))
    (found,) = doors._application_servers(0)
    assert (found.account, found.key, found.hosts) == ("web", point(vapid_key()), ("127.0.0.1:8123",))
    await doors.stop()
