"""How is the sandbox started and stopped, inside another program or as a process of its own?"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Self

import uvicorn

from ulak.sandbox.connection import Connection
from ulak.sandbox.faults import FaultBook
from ulak.sandbox.http import App
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.record import CAP_BYTES, Record
from ulak.sandbox.smtp import Peer, Rules
from ulak.sandbox.vendors import BACKLOG, Vendors, listen


@dataclass(frozen=True, slots=True)
class Options:
    """How to run it; port 0 takes any free one. ``tls`` wraps the SMTP port from the first octet on.

    ``vendor_port`` is that of the vendors' HTTP APIs, ``push_port`` the first of four of the push services; None leaves
    these out.
    """

    host: str = "127.0.0.1"
    smtp_port: int = 0
    http_port: int | None = 0
    vendor_port: int = 0
    push_port: int | None = 0
    log: Path | None = None
    cap_bytes: int = CAP_BYTES
    rules: Rules = field(default_factory=Rules)
    tls: ssl.SSLContext | None = None


class _Server(uvicorn.Server):
    """uvicorn without its hold on signals, which belong to the program around it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Sandbox:
    """The fake vendors. Use as an async context manager, or ``start`` and ``close``.

    Raises ``ValueError`` for a host that is not loopback: what it takes, it shows to anybody.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        if not ip_address(self._options.host).is_loopback:
            raise ValueError("the sandbox listens on loopback only")
        self.faults = FaultBook()
        self.record = Record(self._options.log, self._options.cap_bytes)
        self.vendors = Vendors(self.record)
        self.push = PushServices(self.record)
        self.smtp_port = 0
        self.http_port = 0
        self._connections = count(1)
        self._peers: set[Connection] = set()
        self._smtp: asyncio.Server | None = None
        self._http: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the mailbox page and the control API answer."""
        return f"http://{self._host}:{self.http_port}"

    @property
    def vendors_url(self) -> str:
        """Where the vendors' APIs answer."""
        return self.vendors.url

    @property
    def _host(self) -> str:
        return f"[{self._options.host}]" if ":" in self._options.host else self._options.host

    async def start(self) -> None:
        """Listen; all ports answer when this returns. Raises ``OSError`` for a port that is taken."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        options = self._options
        loop = asyncio.get_running_loop()
        smtp = listen(options.host, options.smtp_port)
        self.smtp_port = smtp.getsockname()[1]
        self._smtp = await loop.create_server(self._connect, sock=smtp, ssl=options.tls, backlog=BACKLOG)
        await self.vendors.start(options.host, options.vendor_port)
        if options.push_port is not None:
            await self.push.start(options.host, options.push_port)
        if options.http_port is not None:
            http = listen(options.host, options.http_port)
            self.http_port = http.getsockname()[1]
            config = uvicorn.Config(
                App(self.record, self.faults, self.vendors, self.push),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
            )
            self._http = _Server(config)
            self._serving = asyncio.create_task(self._http.serve(sockets=[http]))

    async def close(self) -> None:
        """Stop listening, cut every connection, sync the log."""
        if self._smtp is not None:
            self._smtp.close()
        for peer in tuple(self._peers):
            if peer.transport is not None:
                peer.transport.abort()
        if self._http is not None and self._serving is not None:
            self._http.should_exit = True
            self._http.force_exit = True
            await self._serving
        await self.vendors.close()
        await self.push.close()
        self.record.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self.close()

    def _connect(self) -> Peer:
        peer = Peer(self._options.rules, self.faults, self.record, next(self._connections))
        peer.on_lost = self._peers.discard
        self._peers.add(peer)
        return peer
