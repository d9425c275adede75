"""What stands around a real Firefox: a push service of our own, a site with a page, and the browser itself.

Firefox speaks the autopush protocol over a WebSocket to the service that its settings name
(https://mozilla-services.github.io/autopush-rs/): ``hello``, ``register``, ``notification``, ``ack``. Here what is
POSTed to a subscription's endpoint becomes a ``notification``, and the browser's verdict (``code`` of its ``ack``) is
kept: 100 delivered, 101 not decrypted, 102 not delivered.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import ssl
import subprocess
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt as pyjwt
from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.asymmetric import ec

from tests.clients.rig import CLIENT, Caller
from tests.support import eventually
from ulak.core.sign.jwt import encoded
from ulak.core.sign.webpush import public_point

LONG = 90.0
"""Seconds that a busy machine may take for anything; a green test never waits them out."""


@asynccontextmanager
async def serving(routes: list[web.RouteDef], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port of this machine while the context lasts."""
    application = web.Application()
    application.router.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class PushService:
    """Mozilla's push service in small: subscriptions live as long as it does."""

    def __init__(self) -> None:
        self.socket_port = 0
        self.port = 0
        self.ready = asyncio.Event()
        self.sizes: list[int] = []
        self.acks: dict[str, int] = {}
        self._channels: dict[str, tuple[web.WebSocketResponse, str]] = {}
        """A channel's socket, and the key that the page subscribed with."""

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext) -> AsyncIterator[PushService]:
        """Serve while the context lasts."""
        async with (
            serving([web.get("/", self._socket)]) as self.socket_port,
            serving([web.post("/wpush/{channel}", self._push)], tls) as self.port,
        ):
            yield self

    async def verdict(self, version: str) -> int:
        """What the browser said of a message."""
        await eventually(lambda: version in self.acks, within=LONG, what=f"Firefox to judge {version}")
        return self.acks[version]

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("push-notification",), autoping=True)
        await socket.prepare(request)
        async for said in socket:
            if said.type is WSMsgType.TEXT:
                answer = self._heard(socket, json.loads(said.data))
                if answer is not None:
                    await socket.send_json(answer)
        return socket

    def _heard(self, socket: web.WebSocketResponse, said: dict[str, Any]) -> dict[str, Any] | None:
        kind, channel = said.get("messageType", "ping"), said.get("channelID")
        match kind:
            case "hello":
                self.ready.set()
                return {
                    "messageType": kind,
                    "uaid": said.get("uaid") or uuid.uuid4().hex,
                    "status": 200,
                    "use_webpush": True,
                    "broadcasts": {},
                }
            case "register":
                self._channels[str(channel)] = (socket, said.get("key", ""))
                endpoint = f"https://127.0.0.1:{self.port}/wpush/{channel}"
                return {"messageType": kind, "channelID": channel, "status": 200, "pushEndpoint": endpoint}
            case "unregister":
                self._channels.pop(str(channel), None)
                return {"messageType": kind, "channelID": channel, "status": 200}
            case "ack":
                self.acks.update({each["version"]: each.get("code", 100) for each in said["updates"]})
            case "ping":
                return {}
        return None

    async def _push(self, request: web.Request) -> web.Response:
        """Take a message as the RFCs and Mozilla say: RFC 8030 §5, RFC 8292 §4.2."""
        channel = request.match_info["channel"]
        if channel not in self._channels:
            return refused(410, 106)
        socket, key = self._channels[channel]
        body = await request.read()
        if request.headers.get("content-encoding") != "aes128gcm" or not request.headers.get("ttl", "").isdigit():
            return refused(400, 111)
        if len(body) > 4_096:
            return refused(413, 104)
        if not self._is_theirs(request.headers.get("authorization", ""), key):
            return refused(401, 109)
        self.sizes.append(len(body))
        version = uuid.uuid4().hex
        data = urlsafe_b64encode(body).rstrip(b"=").decode()
        headers = {"encoding": "aes128gcm"}
        frame = {"messageType": "notification", "channelID": channel, "version": version}
        await socket.send_json({**frame, "ttl": int(request.headers["ttl"]), "data": data, "headers": headers})
        return web.Response(status=201, headers={"Location": f"/m/{version}", "TTL": request.headers["ttl"]})

    def _is_theirs(self, authorization: str, key: str) -> bool:
        match = re.fullmatch(r"vapid t=([\w.-]+), ?k=([\w-]+)", authorization)
        if match is None or match[2] != key.rstrip("="):
            return False
        try:
            point = urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            audience = f"https://127.0.0.1:{self.port}"
            pyjwt.decode(match[1], public, ["ES256"], audience=audience, options={"require": ["exp", "sub"]})
        except (ValueError, pyjwt.PyJWTError):
            return False
        return True


def refused(status: int, errno: int) -> web.Response:
    """An error in Mozilla's form."""
    return web.json_response({"code": status, "errno": errno}, status=status)


PAGE = """<!doctype html><meta charset="utf-8"><title>test</title><script type="module">
import { subscribe } from "/push.js";
const say = (what) => fetch("/said", { method: "POST", body: JSON.stringify(what) });
const slow = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000, "slow"));
navigator.serviceWorker.addEventListener("message", ({ data }) => say({ pushed: data.ulak }));
navigator.serviceWorker.startMessages();
const token = async () => (await fetch("/token")).text();
// What is asked of Firefox's push service before it is connected, it may never answer.
const { api } = await (await fetch("/ready")).json();
for (let left = 4; left > 0; left -= 1) {
  try {
    const registered = await Promise.race([subscribe({ url: api, token, version: "1.2" }), slow(20)]);
    const worker = await navigator.serviceWorker.getRegistration();
    if (registered !== "slow") {
      await say({ registered, subscription: await worker.pushManager.getSubscription() });
      break;
    }
    await worker?.unregister();
  } catch (error) {
    await say({ error: String(error) });
  }
}
</script>"""


class Person:
    """Who looks at a page of an app, and what the page and its service worker were told."""

    def __init__(self, service: PushService) -> None:
        self.caller: Caller | None = None
        self.api = ""
        self.origin = ""
        self.registered: dict[str, Any] = {}
        self.subscription: dict[str, Any] = {}
        self.pushed: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._service = service

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Person]:
        """Serve the page while the context lasts, on ``localhost``, which browsers trust as they do HTTPS."""
        routes = [
            web.get("/", self._page),
            web.get("/ready", self._ready),
            web.get("/token", self._token),
            web.post("/said", self._said),
            web.get("/{file:push.js|push-worker.js}", self._file),
        ]
        async with serving(routes) as port:
            self.origin = f"http://localhost:{port}"
            yield self

    async def registers(self) -> None:
        """Wait until the browser is registered."""
        await eventually(lambda: self.registered, within=3 * LONG, what=f"Firefox to register; errors: {self.errors}")

    async def gets(self, title: str) -> dict[str, Any]:
        """The push of this title, once the service worker has it."""

        def found() -> dict[str, Any] | None:
            return next((each for each in self.pushed if each["notification"].get("title") == title), None)

        got: dict[str, Any] = await eventually(found, within=LONG, what=f"the service worker to get {title}")
        return got

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _file(self, request: web.Request) -> web.Response:
        text = (CLIENT / request.match_info["file"]).read_text()
        return web.Response(text=text, content_type="text/javascript")

    async def _ready(self, request: web.Request) -> web.Response:
        await self._service.ready.wait()
        return web.json_response({"api": self.api})

    async def _token(self, request: web.Request) -> web.Response:
        assert self.caller is not None
        return web.Response(text=await self.caller.token("ada", 3_600))

    async def _said(self, request: web.Request) -> web.Response:
        said = await request.json(loads=json.loads)
        if "error" in said:
            self.errors.append(said["error"])
        elif "pushed" in said:
            self.pushed.append(said["pushed"])
        else:
            self.subscription, self.registered = said["subscription"], said["registered"]
        return web.Response(status=204)


def keys() -> dict[str, str]:
    """A pair of an application server, as an account's settings have it."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_numbers().private_value.to_bytes(32, "big")
    return {"private_key": encoded(private).decode(), "public_key": encoded(public_point(key)).decode()}


def project(settings: Mapping[str, Any]) -> dict[str, str]:
    """A project that pushes to browsers by an account of these settings."""
    shown = {name: value for name, value in settings.items() if name != "private_key"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in shown.items()]
    account = '[accounts.web]\nprovider = "webpush"\nchannel = "push"\nprivate_key_env = "WEBPUSH_KEY"'
    route = '[types.note]\ncategory = "notes"\nclass = "transactional"\nroute = [{ channel = "push" }]'
    template = '+++\ntitle = "{{ data.title }}"\nurl = "https://app.example/{{ data.id }}"\n+++\n{{ data.body }}\n'
    return {
        "ulak.toml": "\n".join([account, *lines, "", route, ""]),
        "templates/note/push.en.txt": template,
    }


class Firefox:
    """A headless Firefox with a profile of its own, looking at one page."""

    def __init__(self, program: str, folder: Path, service: PushService, origin: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        preferences: dict[str, object] = {
            "dom.push.serverURL": f"ws://localhost:{service.socket_port}/",
            "dom.push.testing.allowInsecureServerURL": True,
            "dom.push.connection.enabled": True,
            "browser.shell.checkDefaultBrowser": False,
            "browser.startup.homepage_override.mstone": "ignore",
            "browser.aboutwelcome.enabled": False,
            "datareporting.policy.dataSubmissionEnabled": False,
            "toolkit.telemetry.enabled": False,
            "toolkit.telemetry.unified": False,
            "app.update.enabled": False,
            "app.normandy.enabled": False,
            "browser.safebrowsing.malware.enabled": False,
            "browser.safebrowsing.phishing.enabled": False,
            "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False,
            "network.proxy.type": 1,  # nothing leaves this machine
            "network.proxy.http": "127.0.0.1",
            "network.proxy.http_port": 9,
            "network.proxy.ssl": "127.0.0.1",
            "network.proxy.ssl_port": 9,
            "extensions.update.enabled": False,
            "alerts.useSystemBackend": False,  # without a desktop that shows notifications, Firefox does it by itself
            "devtools.console.stdout.chrome": True,
            "dom.push.loglevel": "warn",
        }
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (folder / "user.js").write_text("\n".join(lines))
        permit(folder / "permissions.sqlite", origin)
        environment = {**os.environ, "HOME": str(folder), "MOZ_HEADLESS": "1", "MOZ_CRASHREPORTER_DISABLE": "1"}
        command = [program, "--headless", "--no-remote", "--profile", str(folder), origin]
        self._log = (folder / "firefox.log").open("wb")
        self._process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """End it and all its processes."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
        self._log.close()


def permit(file: Path, origin: str) -> None:
    """Write down that the person allowed the page to notify, in the form of Firefox's permissions (schema 12)."""
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE moz_perms (id INTEGER PRIMARY KEY, origin TEXT, type TEXT, permission INTEGER,"
            " expireType INTEGER, expireTime INTEGER, modificationTime INTEGER); PRAGMA user_version = 12;"
        )
        row = (origin, "desktop-notification", 1, 0, 0, 0)
        database.execute(
            "INSERT INTO moz_perms (origin, type, permission, expireType, expireTime, modificationTime)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )
    database.close()
