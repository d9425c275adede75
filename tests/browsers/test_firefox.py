"""Does a real browser show what we push?

Firefox subscribes with our key through ``push.js``, registers at a real node, and its service worker gets what the node
sends through a push service of ours that speaks Firefox's protocol.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.browsers.rig import LONG, Person, PushService, keys
from tests.clients.rig import Caller
from tests.support import eventually
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device
from ulak.core.model import Account, Channel
from ulak.io.outbound.http import HttpClient
from ulak.providers.contract import HttpReply, HttpRequest, Message
from ulak.providers.push import webpush

pytestmark = [pytest.mark.anyio, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

DELIVERED, NOT_DECRYPTED = 100, 101


async def notify(caller: Caller, title: str, body: str) -> str:
    """Send a notification to the person; returns its id."""
    data = {"title": title, "body": body, "id": "42"}
    made = await caller.call("POST", "/v1/notifications", {"type": "note", "to": [{"user": "ada"}], "data": data})
    return str(made["id"])


async def test_a_page_registers_its_browser_as_a_device_of_the_user(firefox: Person, caller: Caller) -> None:
    (device,) = (await caller.call("GET", "/v1/users/ada/devices"))["items"]
    assert (device["kind"], device["app"], device["state"]) == ("webpush", firefox.origin, "active")
    assert (device["id"], device["app_version"]) == (firefox.registered["id"], "1.2")


async def test_the_service_worker_gets_it_shows_it_and_says_so(firefox: Person, caller: Caller) -> None:
    sent = await notify(caller, "Grüße 🚚", "Sipariş yolda 👨‍👩‍👧")
    got = await firefox.gets("Grüße 🚚")
    assert got["notification"]["body"] == "Sipariş yolda 👨‍👩‍👧"
    assert got["notification"]["navigate"] == "https://app.example/42"
    assert got["notification"]["data"]["ulak"]["notification"] == sent

    async def shown() -> Any:
        return (await caller.call("GET", "/v1/push/stats"))["total"]["shown"]

    await eventually(shown, within=LONG, every=0.2, what="the receipt of the service worker")


async def test_a_push_of_the_greatest_length_arrives(firefox: Person, caller: Caller, service: PushService) -> None:
    await notify(caller, "Longest", "x" * 10_000)
    got = await firefox.gets("Longest")
    assert got["notification"]["body"].endswith("x…")
    assert max(service.sizes) == 4_096  # 3,993 octets of text, sealed


class Sender:
    """Sends to the browser as a node does, and spoils what it sends if asked."""

    def __init__(self, settings: dict[str, Any], subscription: dict[str, Any], client: HttpClient) -> None:
        self.account = Account("web", "webpush", Channel.PUSH, settings=settings)
        given, now = subscription["keys"], datetime.now(UTC)
        self._device = Device(
            "dev_1",
            AddressKind.WEBPUSH,
            "",
            "web",
            subscription["endpoint"],
            now,
            p256dh=given["p256dh"],
            auth=given["auth"],
        )
        self._client = client

    async def send(self, title: str, *, spoilt: bool = False) -> tuple[str, str]:
        """Returns the outcome's reason, and the service's id of the message."""
        content, now = PushContent(title, "text"), datetime.now(UTC)
        message = Message(
            "dlv_1", "att_1_1", "dev_1", content, now + timedelta(hours=1), device=self._device, entropy=os.urandom(48)
        )
        request = webpush.build([message], self.account, now)
        credential = webpush.credential(webpush.scope(request, self.account), self.account, now)
        body = request.body[:-1] + bytes([request.body[-1] ^ spoilt])
        signed = HttpRequest("POST", request.url, (*request.headers, ("Authorization", credential.value)), body)
        reply = await self._client.send(signed, 30)
        assert isinstance(reply, HttpReply), reply
        (outcome,) = webpush.read(reply, [message], self.account, now)
        return outcome.reason, outcome.vendor_id or ""


@pytest.fixture
async def sender(
    firefox: Person, settings: dict[str, Any], trusted: tuple[ssl.SSLContext, Path]
) -> AsyncIterator[Sender]:
    """Who knows the browser's subscription."""
    trust = ssl.create_default_context(cafile=str(trusted[1]))
    async with HttpClient([ip_network("127.0.0.1/32")], tls=trust) as client:
        yield Sender(settings, firefox.subscription, client)


async def test_what_was_changed_on_the_way_is_not_shown(firefox: Person, sender: Sender, service: PushService) -> None:
    _, spoilt = await sender.send("spoilt", spoilt=True)
    _, whole = await sender.send("whole")
    assert await service.verdict(spoilt) == NOT_DECRYPTED
    assert await service.verdict(whole) == DELIVERED
    await firefox.gets("whole")
    assert "spoilt" not in [each["notification"].get("title") for each in firefox.pushed]


async def test_another_key_than_the_subscriptions_is_refused(sender: Sender) -> None:
    sender.account = replace(sender.account, settings={**sender.account.settings, **keys()})
    assert await sender.send("from a stranger") == ("webpush_401_109", "")
