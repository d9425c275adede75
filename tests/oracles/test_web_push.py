"""Does a push service of other people's making open our messages, and refuse what it should?

``web-push-testing`` decrypts what it is sent and checks VAPID signatures. It is lenient where real services are not
(a token of 25 hours, another audience, a body of 4,097 octets), so those are checked beside it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import IO, Any

import jwt as pyjwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import eventually, from_npm, program
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device, Fate
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome
from ulak.core.sign.jwt import encoded
from ulak.core.sign.webpush import public_point
from ulak.io.outbound.http import HttpClient
from ulak.providers.contract import Credential, HttpReply, HttpRequest, Message
from ulak.providers.push import webpush

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
LONGEST = PushContent("Grüße", "🚚é" * 2_000, url="https://app.example/42", data={"order": "42"})


def keys() -> dict[str, object]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_numbers().private_value.to_bytes(32, "big")
    return {"private_key": encoded(private).decode(), "public_key": encoded(public_point(key)).decode()}


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    """The port of the judge, who listens on every address: a port that is free on one may be taken on another."""
    folder = from_npm(HERE, "oracles", "web-push-testing").parent
    server = folder / "web-push-testing" / "src" / "bin" / "server.js"
    node = program("node", package="nodejs")
    with tempfile.TemporaryFile("a+b") as said:
        for _ in range(5):
            port = _free_port()
            process = subprocess.Popen([node, str(server), str(port)], stdout=said, stderr=said)
            if _listens(process, said):
                break
            process.wait(10)
        else:
            said.seek(0)
            pytest.fail(f"the judge did not start: {said.read().decode(errors='replace')[-500:]}")
        try:
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))  # where the judge will listen
        port: int = listener.getsockname()[1]
        return port


def _listens(process: subprocess.Popen[bytes], said: IO[bytes]) -> bool:
    """Whether the judge has said that he listens, rather than ended; he has a minute."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        said.seek(0)
        if b"running on port" in said.read():
            return True
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
    return False


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    """What a node sends by, allowed to reach this machine."""
    async with HttpClient([ip_network("127.0.0.1/32")]) as made:
        yield made


class Judge:
    """A browser that subscribed there, and an account that may write to it."""

    def __init__(self, port: int, client: HttpClient) -> None:
        self.account = Account(
            "web",
            "webpush",
            Channel.PUSH,
            settings={"subject": "mailto:push@example.com", "hosts": [f"127.0.0.1:{port}"], **keys()},
        )
        self.device = Device("", AddressKind.WEBPUSH, "", "web", "", datetime.now(UTC))
        self._port = port
        self._client = client
        self._hash = ""

    async def ask(self, path: str, body: object) -> Any:
        """One call of the judge's own API."""
        headers = (("Content-Type", "application/json"),)
        request = HttpRequest("POST", f"http://127.0.0.1:{self._port}{path}", headers, json.dumps(body).encode())

        async def once() -> HttpReply | None:
            reply = await self._client.send(request, 20)
            return reply if isinstance(reply, HttpReply) else None

        reply = await eventually(once, within=90, every=0.2, what="the judge to answer")
        assert reply.status == 200, reply.body
        return json.loads(reply.body)["data"] if reply.body.startswith(b"{") else None

    async def subscribe(self) -> None:
        """Subscribe with the account's key, as a browser does."""
        options = {"userVisibleOnly": "true", "applicationServerKey": self.account.settings["public_key"]}
        made = await self.ask("/subscribe", options)
        self._hash = made["clientHash"]
        self.device = msgspec.structs.replace(
            self.device,
            address=f"https://127.0.0.1:{self._port}/notify/{self._hash}",
            p256dh=made["keys"]["p256dh"],
            auth=made["keys"]["auth"],
        )

    async def send(self, content: PushContent, account: Account | None = None, **changes: Any) -> Outcome:
        """One call as a node makes it, but in the clear, for the judge has no certificate."""
        by, now = account or self.account, datetime.now(UTC)
        message = Message(
            "dlv_1", "att_1_1", "dev_1", content, now + timedelta(hours=1), device=self.device, entropy=os.urandom(48)
        )
        request = webpush.build([message], by, now)
        assert len(request.body) <= 4_096
        credential = webpush.credential(webpush.scope(request, by), by, now)
        strict(credential, request, now)
        headers = (*request.headers, ("Authorization", credential.value))
        clear = {"url": request.url.replace("https:", "http:"), "headers": headers}
        reply = await self._client.send(replace(request, **(clear | changes)), 20)
        return webpush.read(reply, [message], by, now)[0]

    async def expire(self) -> None:
        """The browser forgets its subscription."""
        await self.ask(f"/expire-subscription/{self._hash}", {})

    async def received(self) -> list[Any]:
        """What was opened so far."""
        return [
            json.loads(text) for text in (await self.ask("/get-notifications", {"clientHash": self._hash}))["messages"]
        ]


def strict(credential: Credential, request: HttpRequest, now: datetime) -> None:
    """What real services refuse and the judge does not: RFC 8292 §2."""
    token = credential.value.removeprefix("vapid t=").partition(",")[0]
    claims = pyjwt.decode(token, options={"verify_signature": False})
    assert request.url.startswith(f"{claims['aud']}/")
    assert claims["aud"].count("/") == 2
    assert now.timestamp() < claims["exp"] <= now.timestamp() + 86_400


@pytest.fixture
async def judge(service: int, client: HttpClient) -> Judge:
    """A fresh subscription."""
    made = Judge(service, client)
    await made.subscribe()
    return made


async def test_it_opens_what_we_seal(judge: Judge) -> None:
    assert (await judge.send(PushContent("Grüße", "👨‍👩‍👧 sind da", url="https://app.example/"))).kind is Kind.ACCEPTED
    assert (await judge.send(LONGEST)).kind is Kind.ACCEPTED
    first, second = (each["notification"] for each in await judge.received())
    assert (first["title"], first["body"], first["navigate"]) == ("Grüße", "👨‍👩‍👧 sind da", "https://app.example/")
    assert second["body"].startswith("🚚é🚚é")
    assert second["body"].endswith("…")
    assert second["data"] == {"order": "42", "ulak": {}}


async def test_an_account_with_another_key_may_not_write(judge: Judge) -> None:
    other = replace(judge.account, settings={**judge.account.settings, **keys()})
    verdict = await judge.send(PushContent("x", "y"), other)
    assert (verdict.kind, verdict.device) == (Kind.RECIPIENT_TEMPORARY, Fate.STRIKE)
    assert await judge.received() == []


async def test_a_subscription_that_ended_is_dead(judge: Judge) -> None:
    await judge.expire()
    verdict = await judge.send(PushContent("x", "y"))
    assert (verdict.kind, verdict.reason, verdict.device) == (Kind.RECIPIENT_PERMANENT, "webpush_gone", Fate.DEAD)


async def test_the_judge_would_notice(judge: Judge) -> None:
    for wrong in ({"body": b"x" * 200}, {"headers": (("TTL", "60"), ("Content-Encoding", "aes128gcm"))}):
        assert (await judge.send(PushContent("x", "y"), **wrong)).kind is Kind.RECIPIENT_TEMPORARY
    assert await judge.received() == []
