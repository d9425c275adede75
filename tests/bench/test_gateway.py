"""Does the load client count what was sent, answer pings and say so when a socket is refused?"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.gateway_client import Client, client
from bench.gateway_servers import MARK, taken

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, params=["in C", "in Python"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both load clients keep the same promises."""
    if request.param == "in Python":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif shutil.which("cc") is None:
        pytest.skip("no C compiler")


def said(**members: object) -> str:
    """JSON as Ulak writes it."""
    return json.dumps(members, separators=(",", ":"))


class Peer:
    """A server that keeps what it hears; the first frame of a socket is answered with a welcome."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.heard: list[str] = []
        self.came = asyncio.Event()

    async def hold(self, socket: ServerConnection) -> None:
        hello = json.loads(await socket.recv())
        self.sockets.append(socket)
        await socket.send(said(op="welcome", ticket=f"t-{hello['token']}"))
        async for text in socket:
            self.heard.append(str(text))
            self.came.set()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Peer, Client]]:
    peer = Peer()
    async with serve(peer.hold, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with client(port, "/") as load:
            yield peer, load


def item(number: int, pad: int = 10) -> str:
    return said(op="items", items=[{"title": MARK, "pad": "x" * pad}], prev=0, revision=number)


async def test_it_counts_every_message_of_every_size_and_acknowledges_the_newest_revision() -> None:
    async with pair() as (peer, load):
        opened = await load.open(3, '"welcome"', [said(token=name) for name in "abc"])
        assert opened["ready"] == 3
        assert await load.tickets() == ["t-a", "t-b", "t-c"]
        await load.expect(f"mark {MARK}", "step 3", "ack 3")
        socket = peer.sockets[0]
        for number, pad in ((5, 10), (6, 300), (7, 200_000)):  # of all three kinds of length
            await socket.send(item(number, pad))
        await socket.send(said(op="count"))
        await load.step()
        pong = await socket.ping()
        async with asyncio.timeout(60):
            await pong
            await peer.came.wait()
        assert peer.heard == [said(op="ack", revision=7)]
        seen = await load.ask("report")
        assert (seen["messages"], seen["frames"], seen["acks"], seen["pings"]) == (3, 7, 1, 1)


async def test_several_messages_of_one_frame_are_several() -> None:
    async with pair() as (peer, load):
        await load.open(1, '"welcome"', [said(token="a")])
        await load.expect(f"mark {MARK}", "step 2")
        await peer.sockets[0].send(f"[{item(1)},{item(2)}]")
        await load.step()
        assert (await load.ask("report"))["messages"] == 2


async def test_a_server_that_refuses_is_told() -> None:
    async with serve(Peer().hold, "127.0.0.1", 0, process_request=lambda c, _: c.respond(503, "no")) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with client(port, "/") as load:
            with pytest.raises(RuntimeError, match="only 0 of 2"):
                await load.open(2, "-")


async def test_cpu_and_memory_of_a_process_tree_are_told_apart() -> None:
    burn = "while time.process_time() < 0.3: pass"
    code = f"import time\nheld = bytearray(64_000_000)\n{burn}\nprint(1, flush=True); input()"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    seen = taken(process.pid)
    process.kill()
    await process.wait()
    assert seen.memory > 64_000_000
    assert seen.cpu == seen.user + seen.system >= 0.25
