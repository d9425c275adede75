"""What stands around a real browser: a real node, a wire that can be cut, and a site that serves the page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from playwright.async_api import Page

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "js"

PROJECT = {
    "ulak.toml": '[types.note]\ncategory = "notes"\nclass = "transactional"\nroute = [{ channel = "in_app" }]\n',
    "templates/note/in_app.en.txt": '+++\ntitle = "{{ data.title }}"\n+++\n{{ data.body }}\n',
}

PAGE = """<!doctype html><meta charset="utf-8"><title>test</title><script type="module">
import { connect } from "/ulak.js";
window.log = [];
const random = Math.random;
window.begin = ({ chance = 0.05, ...options }) => {
  Math.random = () => chance * random(); // so that no run of bad luck makes a client wait for long
  const token = async () => {
    const answer = await fetch(`/token?user=${options.user}&ttl=${options.ttl ?? 3600}`);
    if (!answer.ok) throw new Error(answer.status);
    return answer.text();
  };
  delete window.inbox;
  const { ttl, ...rest } = options;
  window.inbox = connect({ token, ...rest });
  for (const event of ["items", "count", "status", "message", "notice"]) {
    window.inbox.on(event, (value) => window.log.push({ event, at: Date.now(), ...value }));
  }
};
</script>"""


class Node:
    """One ``serve`` process; those with the same data folder share a PostgreSQL, which the first of them owns."""

    def __init__(
        self, folder: Path, origin: str, project: Mapping[str, str] = PROJECT, more: Mapping[str, str] | None = None
    ) -> None:
        environment = os.environ | {
            "ULAK_DATA_DIR": str(folder / "data"),
            "ULAK_ALLOW_ORIGINS": origin,
            "ULAK_DRAIN_SECONDS": "4",
            "PYTHONPATH": str(ROOT / "src"),
            **(more or {}),
        }
        for name, text in project.items():
            path = folder / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.folder = folder
        self._environment = environment
        self._log = folder / "serve.log"
        arguments = ["serve", "--port", "0", "--project", str(folder / "project"), "--ready-json"]
        with self._log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ulak", *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.process.stdout.close()
            raise AssertionError(self._log.read_text())
        self.url: str = json.loads(line)["url"]
        self.port = int(self.url.rpartition(":")[2])

    def key(self) -> str:
        """An API key that may do all."""
        command = [sys.executable, "-m", "ulak", "keys", "create"]
        said = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout
        found = re.search(r"ulk_\S+", said)
        assert found is not None
        return found[0]

    def stop(self) -> None:
        """End in good order."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Caller:
    """The application's server: calls the API with its key."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self._url = node.url
        self._session = session
        self._headers = {"Authorization": f"Bearer {node.key()}"}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the API."""
        async with self._session.request(method, self._url + path, json=body, headers=self._headers) as answer:
            assert answer.ok, await answer.text()
            return await answer.json() if answer.content_length else None

    async def send(self, user: str, *titles: str) -> None:
        """Notify the user, once for each title."""
        for title in titles:
            data = {"title": title, "body": f"What there is to say of {title}."}
            await self.call("POST", "/v1/notifications", {"type": "note", "to": [{"user": user}], "data": data})

    async def token(self, user: str, ttl: int) -> str:
        """A token of the user's."""
        return str((await self.call("POST", f"/v1/users/{user}/tokens", {"ttl": ttl}))["token"])

    async def welcome(self, user: str) -> dict[str, Any]:
        """What a socket of the user's is told first."""
        async with self._session.ws_connect(f"{self._url}/v1/socket", protocols=("ulak.v1",)) as socket:
            await socket.send_json({"op": "hello", "token": await self.token(user, 60)})
            said = json.loads((await socket.receive()).data)
            found: dict[str, Any] = said[0] if isinstance(said, list) else said
            return found


class Wire:
    """A TCP proxy between browser and node that can be cut, let no upgrade through, or swallow what is said."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.upgrades = 0
        self.streams = 0
        self.connections = 0
        self.blocks_upgrades = False
        self._down = False
        self._pairs: set[tuple[asyncio.StreamWriter, bool]] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the browser goes."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sockets(self) -> int:
        """WebSockets that are open right now."""
        return sum(upgraded for _, upgraded in self._pairs)

    def cut(self) -> None:
        """Break every connection, and let none through until ``mend``."""
        self._down = True
        for writer, _ in tuple(self._pairs):
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._down = False

    def deafen(self) -> None:
        """Swallow all that is said over the connections that there are; later ones hear."""
        self._deaf.update(writer for writer, _ in self._pairs)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Wire]:
        """Listen while the context lasts."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._down:
            return
        head = await reader.readuntil(b"\r\n\r\n")
        upgraded = b"\r\nupgrade: websocket" in head.lower()
        self.upgrades += upgraded
        self.streams += b"/stream" in head.split(b"\r\n")[0]
        if upgraded and self.blocks_upgrades:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
            return
        there, onward = await asyncio.open_connection("127.0.0.1", self.target)
        pair = (writer, upgraded)
        self._pairs.add(pair)
        onward.write(head)
        try:
            said, heard = self._pass(reader, onward, writer), self._pass(there, writer, writer)
            ways = {asyncio.create_task(said), asyncio.create_task(heard)}
            done, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            with suppress(OSError):
                await writer.drain()
            for way in pending:
                way.cancel()
            await asyncio.gather(*done, *pending, return_exceptions=True)
        finally:
            self._pairs.discard(pair)
            self._deaf.discard(writer)
            onward.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, browser: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65_536):
            if browser not in self._deaf:
                writer.write(data)
                await writer.drain()


class Site:
    """The application's own web server: the page, the client as it ships, and users' tokens."""

    def __init__(self) -> None:
        self.caller: Caller | None = None
        self.origin = ""
        self.tokens = 0
        self.spoilt = False
        self.answers = {"/": (PAGE, "text/html"), "/ulak.js": ((CLIENT / "ulak.js").read_text(), "text/javascript")}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        """Serve while the context lasts."""
        application = web.Application()
        application.router.add_get("/token", self._token)
        application.router.add_get("/{page:.*}", self._page)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        place = web.TCPSite(runner, "127.0.0.1", 0)
        await place.start()
        self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        if request.path not in self.answers:
            return web.Response(status=204)
        text, kind = self.answers[request.path]
        return web.Response(text=text, content_type=kind)

    async def _token(self, request: web.Request) -> web.Response:
        self.tokens += 1
        assert self.caller is not None
        token = await self.caller.token(request.query["user"], int(request.query["ttl"]))
        return web.Response(text=token[:-8] + "AAAAAAAA" if self.spoilt else token)


class Tab:
    """One tab of a browser, and what its inbox says."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def until(self, condition: str, within: float = 40.0) -> None:
        """Wait until a JavaScript expression is true."""
        try:
            await self.page.wait_for_function(f"() => ({condition})", timeout=within * 1000, polling=20)
        except Exception as error:
            tail = await self.page.evaluate("JSON.stringify([inbox.status, window.log.slice(-8)])")
            raise AssertionError(f"not within {within:g} s: {condition}; {tail}") from error

    async def holds(self, *titles: str, within: float = 40.0) -> None:
        """Wait until the inbox is exactly this, in no order, each item told as new once and never again."""
        wanted = json.dumps(sorted(titles), separators=(",", ":"), ensure_ascii=False)
        await self.until(f"JSON.stringify(inbox.items.map(i => i.title).sort()) === {json.dumps(wanted)}", within)
        shown = await self.page.evaluate("log.flatMap(e => e.added ?? []).map(i => i.title)")
        assert sorted(shown) == sorted(titles)

    @asynccontextmanager
    async def reopening(self) -> AsyncIterator[None]:
        """Wait at the end until another connection is open than at the beginning, be it ever so quick."""
        opens = "log.filter(e => e.state === 'open').length"
        before = await self.get(opens)
        yield
        await self.until(f"{opens} > {before} && inbox.status.state === 'open'")

    async def get(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        return await self.page.evaluate(expression)

    async def statuses(self) -> list[dict[str, Any]]:
        """Every status so far."""
        found: list[dict[str, Any]] = await self.page.evaluate("log.filter(e => e.event === 'status')")
        return found
