"""How do the fake push services stand together: a port each, one authority, the same devices, faults and mailbox?"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, Self

from ulak.core.device import Environment
from ulak.sandbox.push.apns import Apns, ProviderTokens
from ulak.sandbox.push.certificates import Certificates
from ulak.sandbox.push.devices import Devices
from ulak.sandbox.push.faults import PushFaults
from ulak.sandbox.push.fcm import Fcm
from ulak.sandbox.push.http2_server import Http2Connection, Office, Tally
from ulak.sandbox.push.service import Service
from ulak.sandbox.push.webpush import WebPush, WebPushFaults
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.record import Received, Record
from ulak.sandbox.vendor import Asked, Verdict
from ulak.sandbox.vendor_server import Office as WebOffice
from ulak.sandbox.vendor_server import VendorConnection
from ulak.sandbox.vendors import BACKLOG, listen

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Port:
    """One service's listener; connections are made by ``connect`` and cut by their ``abort``."""

    def __init__(self, connect: Callable[[], Any], context: ssl.SSLContext) -> None:
        self._make = connect
        self._context = context
        self._server: asyncio.Server | None = None
        self._place = ("127.0.0.1", 0)
        self._connections: set[Any] = set()
        self.url = ""

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        self._place = (host, port)
        await self._listen()
        self.url = f"https://{f'[{host}]' if ':' in host else host}:{self._place[1]}"

    async def listening(self, wanted: bool) -> None:  # noqa: FBT001 - it is what it says
        """Stop listening, so that connections are refused and open ones cut; or listen again on the same port."""
        if not wanted:
            self.close()
        elif self._server is None:
            await self._listen()

    @property
    def is_listening(self) -> bool:
        """Whether connections are taken."""
        return self._server is not None

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.abort()

    async def _listen(self) -> None:
        listener = listen(*self._place)
        self._place = (self._place[0], listener.getsockname()[1])
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=listener, ssl=self._context, backlog=BACKLOG)

    def _connect(self) -> asyncio.Protocol:
        connection = self._make()
        connection.on_lost = self._connections.discard
        self._connections.add(connection)
        protocol: asyncio.Protocol = connection
        return protocol


class PushServices:
    """The services; ``record`` is the mailbox that they share with the vendors. ``clock`` is what they go by."""

    def __init__(self, record: Record, clock: Clock = _now) -> None:
        self._record = record
        self._clock = clock
        self._numbers = count(1)
        self.devices = Devices()
        self.faults = PushFaults()
        self.provider_tokens = ProviderTokens()
        self.fcm = Fcm(self.devices)
        self.web = WebPush(self.devices)
        self.tallies: dict[str, Tally] = {}
        self.ports: dict[str, Port] = {}
        self._certificates: Certificates | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on four ports from ``port`` on, or on any free ones for 0."""
        self._certificates = certificates = Certificates()
        services: list[Service] = [
            Apns(environment, self.devices, self.provider_tokens)
            for environment in (Environment.PRODUCTION, Environment.SANDBOX)
        ]
        services.append(self.fcm)
        for service in services:
            self.ports[service.name] = Port(self._http2(service), certificates.context("h2"))
        web = WebOffice({"/": ("webpush", self._webpush)}, WebPushFaults(self.faults), self._take, lambda _: None)
        self.ports["webpush"] = Port(lambda: VendorConnection(web), certificates.context("http/1.1"))
        for at, one in enumerate(self.ports.values()):
            await one.start(host, port + at if port else 0)
        self.devices.origin = self.ports["webpush"].url

    async def close(self) -> None:
        """Stop everything, and remove the certificates."""
        for port in self.ports.values():
            port.close()
        if self._certificates is not None:
            self._certificates.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self.close()

    @property
    def places(self) -> Mapping[str, str]:
        """Where each service answers, and the file that holds the authority; as the ready line tells it."""
        ca = "" if self._certificates is None else str(self._certificates.ca)
        return {**{name: port.url for name, port in self.ports.items()}, "ca": ca}

    @property
    def setting(self) -> str:
        """The text for ``ULAK_SANDBOX_PUSH``."""
        return json.dumps(self.places)

    @property
    def now(self) -> datetime:
        """What time it is for the services."""
        return self._clock()

    def _webpush(self, asked: Asked, now: datetime) -> Verdict:
        del now
        return self.web.judge(asked, self._clock())

    def _http2(self, service: Service) -> Callable[[], Http2Connection]:
        tally = self.tallies.setdefault(service.name, Tally())
        office = Office(service, self.faults, self._take, self._clock, tally)
        return lambda: Http2Connection(office)

    def _take(self, push: Pushed, answer: str) -> Received:
        """Keep a push, and let its device have it."""
        place, envelope = (0, next(self._numbers)), (push.service, [push.device])
        received = self._record.add(place, envelope, push.raw(), answer, "push")
        device = self.devices.named(push.device)
        if device is not None:
            device.take(push, self._clock())
        return received
