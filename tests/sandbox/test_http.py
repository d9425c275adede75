"""Can what was received be read over HTTP and faults be armed, by friends only and without harm?"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import smtplib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ulak.sandbox.server import Options, Sandbox

pytestmark = pytest.mark.anyio

HOSTILE = (
    b"From: o@example.com\r\nTo: <script>alert(1)</script>@x.y\r\nDate: x\r\nSubject: =?utf-8?q?=3Cscript=3E?=\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n<script>fetch('/faults',{method:'DELETE'})</script>\r\n"
)
JSON = {"content-type": "application/json"}


def raw(number: int) -> bytes:
    return (
        f"From: o@example.com\r\nTo: a{number}@example.com\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        f"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_{number}?=\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "h=C3=A9llo\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>hi</p>\r\n--b--\r\n"
    ).encode()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox."""
    async with Sandbox(Options()) as running:
        yield running


@pytest.fixture
async def web(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of it."""
    async with aiohttp.ClientSession(sandbox.url) as session:
        yield session


def receive(sandbox: Sandbox, *texts: bytes) -> None:
    for text in texts:
        sandbox.record.add((1, 1), ("o@example.com", ["Ada@Example.com"]), text, "sent")


async def get(web: aiohttp.ClientSession, path: str) -> Any:
    async with web.get(path) as response:
        assert response.status == 200
        return await response.json()


async def test_messages_are_told_in_full(sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
    receive(sandbox, raw(1))
    page = await get(web, "/messages")
    (item,) = page["items"]
    assert (page["next"], page["total"]) == (1, 1)
    assert item["subject"] == "Grüße 1"
    assert (item["text"], item["html"]) == ("héllo", "<p>hi</p>")
    assert (item["from"], item["to"], item["size"]) == ("o@example.com", ["Ada@Example.com"], len(raw(1)))
    assert ["Subject", "Grüße 1"] in item["headers"]
    assert item["defects"] == []
    assert await get(web, "/messages/1") == item
    async with web.get(item["raw"]) as response:
        assert await response.read() == raw(1)


async def test_pages(sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
    receive(sandbox, *(raw(number) for number in range(1, 8)))
    seen, since = [], 0
    while (page := await get(web, f"/messages?since={since}&limit=3&view=envelope"))["items"]:
        seen += [item["id"] for item in page["items"]]
        since = page["next"]
        assert "subject" not in page["items"][0]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert len((await get(web, "/messages?to=ada@example.com&limit=2"))["items"]) == 2
    assert (await get(web, "/messages?to=bob@example.com"))["items"] == []
    assert await get(web, "/messages/count") == {"total": 7, "kept": 7}
    async with web.delete("/messages", headers=JSON) as response:
        assert response.status == 204
    assert await get(web, "/messages/count") == {"total": 7, "kept": 0}


async def test_faults_over_http(sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
    async with web.post("/faults", json={"at": "rcpt", "do": "reply", "code": 550, "to": "bad@*"}) as response:
        assert (await response.json())["items"][0]["code"] == 550

    def send(to: str) -> None:
        with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, local_hostname="me") as client:
            client.sendmail("o@example.com", to, raw(1))

    await asyncio.to_thread(send, "good@example.com")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        await asyncio.to_thread(send, "bad@example.com")
    assert (await get(web, "/faults"))["items"][0]["fired"] == 1
    async with web.delete("/faults", headers=JSON) as response:
        assert response.status == 204
    assert (await get(web, "/faults"))["items"] == []


@pytest.mark.parametrize("body", ["", "{", "[1]", '{"at": "lunch"}', "[" * 100_000, '"\\ud800"', "[" + " " * 1_100_000])
async def test_wrong_faults_are_refused(web: aiohttp.ClientSession, body: str) -> None:
    async with web.post("/faults", data=io.BytesIO(body.encode()), headers=JSON) as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"
        assert (await response.json())["code"] == "invalid"


@pytest.mark.parametrize("path", ["/messages/9", "/messages/x", "/messages/1/other", "/nothing", "/faults/1"])
async def test_unknown_addresses(web: aiohttp.ClientSession, path: str) -> None:
    async with web.get(path) as response:
        assert response.status == 404


async def test_wrong_numbers(web: aiohttp.ClientSession) -> None:
    async with web.get("/messages?since=-1") as response:
        assert response.status == 400
        assert (await response.json())["detail"].startswith("since")


async def test_a_web_page_cannot_reach_it(web: aiohttp.ClientSession) -> None:
    async with web.get("/messages", headers={"host": "evil.example"}) as response:
        assert response.status == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        async with web.post("/faults", data="{}", headers={"content-type": kind}) as response:
            assert response.status == 415
    asked = {"origin": "https://evil.example", "access-control-request-method": "DELETE"}  # a browser does, before one
    async with web.options("/messages", headers=asked) as response:
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_a_delete_needs_no_kind_of_body(web: aiohttp.ClientSession) -> None:
    for path in ("/messages", "/faults", "/vendors/faults"):
        async with web.delete(path) as response:
            assert response.status in {200, 204}


async def test_a_hostile_mail_is_only_shown(sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
    receive(sandbox, HOSTILE, b"no header at all", b"\xff" * 100, b"Content-Type: text/html; charset=nope\r\n\r\n\xff")
    for path in ("/", "/messages/1/view", "/messages/2/view", "/messages/3/view", "/messages/4/view"):
        async with web.get(path) as response:
            page = await response.text()
            assert response.status == 200
            assert "<script" not in page
            assert "default-src 'none'" in response.headers["content-security-policy"]
    async with web.get("/messages/1/view") as response:
        assert "<iframe sandbox " in await response.text()
    async with web.get("/messages/1/html") as response:
        assert response.headers["content-security-policy"].startswith("sandbox;")
    items = (await get(web, "/messages"))["items"]
    assert items[0]["subject"] == "<script>"
    assert "no from" in items[1]["defects"]


async def test_health(web: aiohttp.ClientSession) -> None:
    assert await get(web, "/healthz") == {"status": "ok"}


async def test_as_a_process_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    code = "import sys; from ulak.cli.sandbox import command; command(sys.argv[1:])"
    arguments = [
        "--smtp-port",
        "0",
        "--http-port",
        "0",
        "--vendor-port",
        "0",
        "--push-port",
        "0",
        "--log",
        str(log),
        "--login",
        "me:geheim",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", ready["smtp_port"], local_hostname="me") as client:
                client.login("me", "geheim")
                client.sendmail("o@example.com", "a@example.com", raw(1))

        await asyncio.to_thread(send)
        async with aiohttp.ClientSession(ready["url"]) as session:
            assert (await get(session, "/messages"))["total"] == 1
            assert (await get(session, "/push/settings"))["push"] == ready["push"]
        ca = Path(ready["push"]["ca"])
        assert await asyncio.to_thread(ca.is_file)
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert not ca.parent.exists()
    assert len(log.read_text().splitlines()) == 1
