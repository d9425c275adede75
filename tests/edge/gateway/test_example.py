"""Does the client that the README shows hear the inbox, and say why it was sent away?"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from tests.edge.gateway.harness import Device, Node, running
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "inbox.py"


async def start(node: Node, token: str) -> Process:
    url = node.url.removesuffix("/v1/socket")
    return await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), url, token, stdout=PIPE, stderr=PIPE)


async def test_it_prints_what_the_inbox_holds(store: Pool) -> None:
    async with running(store) as node:
        await node.add("example")
        client = await start(node, Device(node, "example").token)
        assert client.stdout is not None
        lines = [json.loads(await asyncio.wait_for(client.stdout.readline(), 60)) for _ in range(3)]
        client.kill()
        await client.wait()
    assert [line["op"] for line in lines] == ["welcome", "items", "count"]


async def test_a_token_that_is_not_believed_ends_it_with_the_close_code(store: Pool) -> None:
    async with running(store) as node:
        client = await start(node, "nonsense")
        said, complaint = await asyncio.wait_for(client.communicate(), 60)
    assert (client.returncode, said) == (1, b"")
    assert b"4500" in complaint
