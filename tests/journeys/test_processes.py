"""Do several processes on one machine act as one node, and does the death of any of them cost nothing?

Which process does what is decided by stopping the other (SIGSTOP) for that moment: both listen on one port.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.journeys.served import api_key
from tests.support import eventually

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.pg,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by /proc"),
]

PROJECT = {
    "ulak.toml": '[types.note]\ncategory = "notes"\nclass = "transactional"\nroute = [{ channel = "in_app" }]\n',
    "templates/note/in_app.en.txt": '+++\ntitle = "{{ data.title }}"\n+++\nHello\n',
}
BY_HINT = 12.0
"""Seconds: half of the 25 between two comparisons while hints arrive."""


class Stack:
    """``serve --processes 2`` with everything of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "serve.log"
        self.environment = os.environ | {"ULAK_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT / "src")}
        for name, text in PROJECT.items():
            path = folder / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        arguments = ["serve", "--processes", "2", "--port", "0", "--project", str(folder / "project"), "--ready-json"]
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ulak", *arguments],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise AssertionError(self.log.read_text())
        self.url = json.loads(line)["url"]
        self.key = api_key(self.environment)

    def children(self, part: str) -> list[int]:
        """Living direct children whose command line holds this."""
        lines = subprocess.run(
            ["ps", "-ww", "-eo", "pid,ppid,stat,args"], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 3) for line in lines.splitlines()[1:]]
        own = str(self.process.pid)
        return [int(row[0]) for row in rows if row[1] == own and row[2][0] != "Z" and part in row[3]]

    @property
    def nodes(self) -> list[int]:
        return self.children("serve --fd")

    @property
    def family(self) -> list[int]:
        """Every process of the family."""
        return [*self.nodes, *self.children("valkey-server"), *self.children("bin/postgres")]

    @contextmanager
    def only(self, node: int) -> Iterator[None]:
        """Whatever is done meanwhile is done by this node."""
        others = [pid for pid in self.nodes if pid != node]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    async def call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """One request on a connection of its own, tried again while there is no answer."""
        headers = {"Authorization": f"Bearer {token or self.key}"}
        end = time.monotonic() + 60
        while True:
            try:
                async with (
                    aiohttp.ClientSession(headers=headers) as session,
                    session.request(method, self.url + path, json=body, timeout=aiohttp.ClientTimeout(20)) as answer,
                ):
                    if answer.status != 503:
                        assert answer.ok, await answer.text()
                        return await answer.json()
            except (aiohttp.ClientConnectionError, TimeoutError):
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.05)

    async def send(self, title: str) -> None:
        """Notify Ann."""
        await self.call(
            "POST", "/v1/notifications", {"type": "note", "to": [{"user": "ann"}], "data": {"title": title}}
        )

    async def token(self) -> str:
        """A token of Ann's."""
        return str((await self.call("POST", "/v1/users/ann/tokens", {}))["token"])

    @asynccontextmanager
    async def socket(self, token: str) -> AsyncIterator[ClientConnection]:
        """A socket of Ann's that has been welcomed."""
        url = self.url.replace("http", "ws", 1) + "/v1/socket"
        async with connect(url, subprotocols=["ulak.v1"], compression=None) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"op": "hello", "token": token}))
            while "welcome" not in await frames(socket, 30.0):
                pass
            yield socket


async def frames(socket: ClientConnection, within: float) -> dict[str, Any]:
    """The objects of the next frame, by what they are."""
    async with asyncio.timeout(within):
        said = json.loads(await socket.recv())
    return {each["op"]: each for each in (said if isinstance(said, list) else [said])}


async def hears(socket: ClientConnection, title: str, within: float) -> None:
    """Wait for an item, so many seconds at most."""
    async with asyncio.timeout(within):
        while True:
            items = (await frames(socket, within)).get("items", {}).get("items", [])
            if any(item["title"] == title for item in items):
                return


@pytest.fixture
def stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="ulak-processes-", dir="/tmp"))
    folder.chmod(0o711)
    made = Stack(folder)
    yield made
    for pid in [*made.nodes, *made.children("valkey-server")]:
        os.kill(pid, signal.SIGCONT)
    made.process.terminate()
    made.process.wait(60)
    assert made.process.stdout is not None
    made.process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


async def test_an_item_planned_by_one_process_reaches_a_socket_on_the_other_by_hint(stack: Stack) -> None:
    one, other = stack.nodes
    token = await stack.token()
    with stack.only(one):
        welcomed = stack.socket(token)
        socket = await welcomed.__aenter__()
    try:
        await asyncio.sleep(3)  # past the comparison that follows the start of the bus
        with stack.only(other):
            await stack.send("from afar")
        await hears(socket, "from afar", BY_HINT)
    finally:
        await welcomed.__aexit__(None, None, None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_without_the_bus_items_arrive_by_comparison(stack: Stack, number: signal.Signals) -> None:
    one, other = stack.nodes
    token = await stack.token()
    (bus,) = stack.children("valkey-server")
    with stack.only(one):
        welcomed = stack.socket(token)
        socket = await welcomed.__aenter__()
    try:
        await asyncio.sleep(3)
        os.kill(bus, number)
        with stack.only(other):
            await stack.send("without a bus")
        # Three seconds to find out that it is deaf, one until the comparison, and some for a busy machine.
        await hears(socket, "without a bus", 15.0)
        if number == signal.SIGKILL:
            await eventually(lambda: stack.children("valkey-server") not in ([], [bus]), what="a new Valkey")
            await eventually(lambda: stack.log.read_text().count("news of other nodes arrive") >= 4, within=60)
            with stack.only(other):
                await stack.send("with a new one")
            await hears(socket, "with a new one", BY_HINT)
    finally:
        await welcomed.__aexit__(None, None, None)


async def test_the_death_of_a_node_costs_nothing_and_is_repaired(stack: Stack) -> None:
    before = stack.nodes
    token = await stack.token()
    titles = [f"note {number}" for number in range(60)]
    with stack.only(before[0]):
        welcomed = stack.socket(token)
        socket = await welcomed.__aenter__()
    for position, title in enumerate(titles):
        await stack.send(title)
        if position == 30:
            os.kill(before[0], signal.SIGKILL)
    with pytest.raises(ConnectionClosed):
        await hears(socket, "what is never said", 60.0)
    await eventually(lambda: len(stack.nodes) == 2 and before[0] not in stack.nodes, what="two nodes again")

    async def complete() -> bool:
        page = await stack.call("GET", "/v1/me/inbox?limit=200", token=token)
        return sorted(item["title"] for item in page["items"]) == sorted(titles)

    await eventually(complete, within=60, every=0.2, what="every note once in the inbox")


async def test_nothing_outlives_the_parent(stack: Stack) -> None:
    family = stack.family
    assert len(family) == 4
    stack.process.kill()
    stack.process.wait()

    def living() -> list[int]:
        return [pid for pid in family if Path(f"/proc/{pid}/stat").exists() and " Z " not in _stat(pid)]

    await eventually(lambda: not living(), within=15.0, what="all of them gone")


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return " Z "
