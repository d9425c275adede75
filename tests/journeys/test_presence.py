"""Do two nodes, started as an operator starts them, answer as one when asked who is here?

Two ``ulak serve`` on one PostgreSQL and one Valkey; every call goes to the node that does not hold the socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.journeys import served
from tests.support import eventually
from ulak.io.embedded.valkey import RunningValkey

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.pg, pytest.mark.timeout(300)]


class Node(served.Node):
    """A node that hears the other by Valkey."""

    async def metric(self, name: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(self.url + "/metrics") as answer:
            found = re.search(rf"^{name} (\S+)$", await answer.text(), re.MULTILINE)
            return float(found[1]) if found else -1.0

    async def hears(self) -> bool:
        return await self.metric("ulak_bus_up") == 1


@asynccontextmanager
async def two_nodes(folder: Path, database_url: str, valkey_url: str) -> AsyncIterator[tuple[Node, Node, str]]:
    """Two nodes that hear one another, and an API key."""
    settings = {"ULAK_DATABASE_URL": database_url, "ULAK_VALKEY_URL": valkey_url, "ULAK_POOL_SIZE": "4"}
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT / "src")}
    nodes = [Node(folder / f"node{n}.log", environment | {"ULAK_NODE": f"node{n}"}) for n in range(2)]
    try:
        for node in nodes:
            node.ready()
        key = served.api_key(environment)
        for node in nodes:
            await eventually(node.hears, within=60)
        yield nodes[0], nodes[1], key
    finally:
        for node in nodes:
            node.stop()


async def _next(socket: ClientConnection, op: str) -> dict[str, Any]:
    """The next frame of this kind."""
    async with asyncio.timeout(30):
        while True:
            said = json.loads(await socket.recv())
            for frame in said if isinstance(said, list) else [said]:
                if frame["op"] == op:
                    return dict(frame)


async def test_two_nodes_answer_as_one(tmp_path: Path, database_url: str, valkey_server: RunningValkey) -> None:
    async with two_nodes(tmp_path, database_url, valkey_server.url) as (one, two, key):
        _, made = await one.call("POST", "/v1/users/ann/tokens", key, {"topics": ["match-*"]})
        address = two.url.replace("http", "ws") + "/v1/socket"
        async with connect(address, subprotocols=["ulak.v1"], user_agent_header="probe/1") as socket:  # type: ignore[list-item]  # a text is one
            hello = {"op": "hello", "token": made["token"], "device": "phone", "meta": {"app": "2.1"}}
            await socket.send(json.dumps(hello))
            connection = (await _next(socket, "welcome"))["connection"]
            await socket.send(json.dumps({"op": "subscribe", "topics": ["match-7"], "id": 1}))
            await _next(socket, "ok")
            await eventually(lambda: _held(two, 2))
            await eventually(lambda: _complete(one, key), within=60)

            status, here = await one.call("GET", "/v1/users/ann/presence", key)
            assert status == 200
            assert here.pop("last_seen") is not None
            assert here == {"present": True, "active": False, "connections": 1, "devices": ["phone"], "complete": True}
            _, found = await one.call("GET", "/v1/connections", key)
            (listed,) = found["items"]
            assert (found["total"], found["complete"]) == (1, True)
            assert (listed["id"], listed["user"], listed["transport"]) == (connection, "ann", "socket")
            assert (listed["user_agent"], listed["address"]) == ("probe/1", "127.0.0.1")
            assert (listed["topics"], listed["meta"]) == (["match-7"], {"app": "2.1"})

            status, said = await one.call("POST", "/v1/topics/match-7/publish", key, {"data": {"home": 1}})
            assert (status, said["complete"]) == (202, True)
            frame = await _next(socket, "message")
            assert (frame["topic"], frame["data"]) == ("match-7", {"home": 1})
            status, said = await one.call("POST", "/v1/sockets/broadcast", key, {"data": {"text": "hello"}})
            assert (status, said["complete"]) == (202, True)
            assert (await _next(socket, "notice"))["data"] == {"text": "hello"}

            assert (await one.call("DELETE", f"/v1/connections/con_{'f' * 24}", key))[0] == 404
            status, closed = await one.call("DELETE", f"/v1/connections/{connection}", key)
            assert (status, closed) == (200, {"closed": 1, "complete": True})
            await asyncio.wait_for(socket.wait_closed(), 30)
            assert socket.close_code == 4507
        await eventually(lambda: _held(two, 0))

        async def gone() -> bool:  # at once or, where a node is slow to answer, when it is asked again
            _, told = await one.call("GET", "/v1/users/ann/presence", key)
            return (told["present"], told["connections"], told["complete"]) == (False, 0, True)

        await eventually(gone)


async def _complete(node: Node, key: str) -> bool:
    """Nobody is waited for who has left another test's nodes in the same Valkey."""
    return bool((await node.call("GET", "/v1/connections", key))[1]["complete"])


async def _held(node: Node, places: int) -> bool:
    return await node.metric("ulak_bus_places") == places
