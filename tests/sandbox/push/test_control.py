"""Can devices be made and steered over HTTP, and does the mailbox page show pushes without harm?"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sandbox.push.rig import Client, alert, apns_headers, provider_token
from ulak.sandbox.push_keys import PUSH
from ulak.sandbox.server import Options, Sandbox

pytestmark = pytest.mark.anyio

KINDS = ("apns", "fcm_token", "fcm_fid", "webpush")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox."""
    async with Sandbox(Options()) as running:
        yield running


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of it."""
    async with aiohttp.ClientSession(sandbox.url) as session:
        yield session


async def call(http: aiohttp.ClientSession, method: str, what: str, body: object = None, status: int = 200) -> Any:
    """What the control API answers."""
    async with http.request(method, f"/push/{what}", json=body) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def send(sandbox: Sandbox, device: Any, body: bytes) -> int:
    """A push to a device, not by our code."""
    places = sandbox.push.places
    async with await Client.open(places["apns"], places["ca"]) as client:
        token = provider_token(time.time())
        return (await client.call(apns_headers(device["register"]["token"], token), body)).status


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_is_made_with_the_body_that_registers_it(kind: str, http: aiohttp.ClientSession) -> None:
    device = await call(http, "POST", "devices", {"kind": kind, "name": "mine", "app": "org.example.app"})
    assert (device["name"], device["kind"], device["state"], device["online"]) == ("mine", kind, "active", True)
    assert device["register"]["kind"] == kind
    settings = await call(http, "GET", "settings")
    if kind == "webpush":
        account = settings["accounts"]["webpush"]
        assert device["register"]["application_server_key"] == account["public_key"]
        assert account["hosts"][0] in device["register"]["subscription"]["endpoint"]
    assert (await call(http, "GET", "devices"))["items"] == [device]
    assert await call(http, "GET", "devices/mine") == device


async def test_the_services_are_told_with_the_settings_of_accounts(http: aiohttp.ClientSession) -> None:
    settings = await call(http, "GET", "settings")
    assert settings["push"].keys() == {"apns", "apns_sandbox", "fcm", "webpush", "ca"}
    assert settings["accounts"].keys() == set(PUSH)
    for account in settings["accounts"].values():
        assert account["ca_file"] == settings["push"]["ca"]


async def test_a_device_changes_as_it_is_told(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    device = await call(http, "POST", "devices", {"kind": "apns", "name": "phone"})
    assert (await call(http, "POST", "devices/phone", {"online": False}))["online"] is False
    assert await send(sandbox, device, alert("Hello")) == 200
    assert (await call(http, "GET", "devices/phone"))["pending"] == 1
    shown = await call(http, "POST", "devices/phone", {"online": True})
    assert [one["title"] for one in shown["shown"]] == ["Hello"]
    assert (await call(http, "POST", "devices/phone", {"state": "uninstalled"}))["state"] == "uninstalled"
    assert await call(http, "DELETE", "devices") == {"items": []}


async def test_faults_and_listening_are_told_by_json(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    device = await call(http, "POST", "devices", {"kind": "apns", "name": "phone"})
    await call(http, "POST", "faults", {"at": "request", "do": "reply", "reason": "Shutdown", "times": 1})
    assert [await send(sandbox, device, alert()) for _ in range(1)] == [503]
    (fault,) = (await call(http, "GET", "faults"))["items"]
    assert (fault["fired"], fault["reason"]) == (1, "Shutdown")
    assert await call(http, "DELETE", "faults") == {"items": []}
    listening = await call(http, "POST", "listening", {"service": "token", "listening": False})
    assert listening == {"apns": True, "apns_sandbox": True, "fcm": False, "webpush": True}
    await call(http, "POST", "listening", {"service": "fcm", "listening": True})
    assert await call(http, "POST", "apps", {"apps": ["b.b", "a.a"]}) == {"apps": ["a.a", "b.b"]}
    assert await call(http, "POST", "apps", {"apps": None}) == {"apps": None}
    assert (await call(http, "GET", "counts"))["apns"]["requests"] == 1


@pytest.mark.parametrize(
    ("method", "what", "body", "status"),
    [
        ("POST", "devices", {"kind": "pager"}, 400),
        ("POST", "devices", {"kind": "apns", "name": "../x"}, 400),
        ("POST", "devices", {"kind": "apns", "colour": "red"}, 400),
        ("POST", "faults", {"at": "noon"}, 400),
        ("POST", "listening", {"service": "ses", "listening": True}, 400),
        ("POST", "devices/nobody", {"online": True}, 404),
        ("GET", "devices/nobody", None, 404),
        ("GET", "nothing", None, 404),
        ("POST", "nothing", {}, 404),
        ("DELETE", "settings", None, 404),
    ],
)
async def test_what_cant_be_is_refused(
    method: str, what: str, body: object, status: int, http: aiohttp.ClientSession
) -> None:
    await call(http, method, what, body, status)


async def test_pushes_are_shown_beside_mails_and_do_no_harm(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    device = await call(http, "POST", "devices", {"kind": "apns", "name": "phone", "app": HOSTILE})
    body = json.dumps({"aps": {"alert": {"title": HOSTILE, "body": HOSTILE}, "badge": 7}, "x": HOSTILE}).encode()
    sandbox.push.devices.named("phone").app = "org.example.app"  # type: ignore[union-attr] # it was just made
    assert await send(sandbox, device, body) == 200
    sandbox.record.add((1, 1), ("o@example.com", ["ada@example.com"]), b"Subject: mail\r\n\r\nhi", "sent")
    async with http.get("/messages") as response:
        first, second = (await response.json())["items"]
    assert (first["channel"], first["from"], first["to"], first["subject"]) == ("push", "apns", ["phone"], HOSTILE)
    assert (first["text"], first["push"]["badge"], first["defects"]) == (HOSTILE, 7, [])
    assert (second["channel"], second["subject"]) == ("email", "mail")
    for page in ("/", "/devices", "/messages/1/view", "/messages/1/html", "/messages/1/raw", "/messages/2/view"):
        async with http.get(page) as response:
            text = await response.text()
            assert response.status == 200
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert page.endswith("raw") or "<script" not in text
    async with http.get("/devices") as response:
        assert "badge 7" in await response.text()


async def test_without_a_device_the_page_says_how_to_make_one(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    async with http.get("/devices") as response:
        text = await response.text()
    assert f"127.0.0.1:{sandbox.http_port}/push/devices" in text


async def test_a_web_page_cant_steer_the_services(http: aiohttp.ClientSession) -> None:
    async with http.post("/push/devices", data='{"kind": "apns"}') as response:
        assert response.status == 415
    async with http.get("/push/devices", headers={"Host": "evil.example"}) as response:
        assert response.status == 403


async def test_a_sandbox_that_cant_start_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sandbox = Sandbox(Options(http_port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="in use"):
            await sandbox.start()
    assert not await asyncio.to_thread(Path(sandbox.push.places["ca"]).exists)
    assert not any(port.is_listening for port in sandbox.push.ports.values())
