"""How do the fake vendors stand together: one port, one mailbox, one book of faults, events for all?"""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from itertools import count
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from ulak.sandbox import postmark_api, sendgrid_api, ses_api
from ulak.sandbox.callbacks import Callbacks
from ulak.sandbox.parcel import Parcel, address_in
from ulak.sandbox.record import Received, Record
from ulak.sandbox.suppressed import Suppressed
from ulak.sandbox.vendor import Asked, Said, said
from ulak.sandbox.vendor_events import CERTIFICATE_PATH
from ulak.sandbox.vendor_faults import VendorFaults
from ulak.sandbox.vendor_server import Office, VendorConnection

BACKLOG = 1_024


def _new_id() -> str:
    return str(uuid4())


class Vendors:
    """The vendors' APIs on one port; ``record`` is the mailbox that they share with the SMTP peer."""

    def __init__(self, record: Record) -> None:
        self.faults = VendorFaults()
        self.callbacks = Callbacks()
        self.url = ""
        self.suppressed = Suppressed()
        self._record = record
        self._numbers = count(1)
        self._server: asyncio.Server | None = None
        self._place = ("127.0.0.1", 0)
        self._connections: set[VendorConnection] = set()
        ses = ses_api.SesApi(_new_id).judge
        sendgrid = sendgrid_api.SendgridApi(_new_id).judge
        postmark = postmark_api.PostmarkApi(_new_id, lambda: reversed(self.callbacks.accepted.values())).judge
        vendors = {
            ses_api.PATH: ("ses", ses),
            sendgrid_api.PATH: ("sendgrid", sendgrid),
            **self.suppressed.judges(),
            **dict.fromkeys((*postmark_api.PATHS, postmark_api.SEARCH), ("postmark", postmark)),
        }
        self._office = Office(vendors, self.faults, self._take, self._page)

    async def start(self, host: str, port: int) -> None:
        """Listen, and begin to post events."""
        listener = listen(host, port)
        self._place = (host, listener.getsockname()[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._place[1]}"
        self.callbacks.base = self.url
        self.callbacks.start()
        self._server = await asyncio.get_running_loop().create_server(self._connect, sock=listener, backlog=BACKLOG)

    async def listening(self, wanted: bool) -> None:  # noqa: FBT001 - it is what it says
        """Stop listening, so that connections are refused and open ones cut; or listen again on the same port."""
        if not wanted:
            self._cut()
        elif self._server is None:
            listener = listen(*self._place)
            self._server = await asyncio.get_running_loop().create_server(self._connect, sock=listener, backlog=BACKLOG)

    async def close(self) -> None:
        """Stop everything."""
        self._cut()
        await self.callbacks.close()

    @property
    def is_listening(self) -> bool:
        """Whether connections are taken."""
        return self._server is not None

    def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.abort()

    def _connect(self) -> VendorConnection:
        connection = VendorConnection(self._office)
        connection.on_lost = self._connections.discard
        self._connections.add(connection)
        return connection

    def _take(self, parcel: Parcel, answer: str) -> Received:
        received = self._record.add(
            (0, next(self._numbers)),
            (address_in(parcel.sender) or "", [parcel.recipient]),
            parcel.raw(datetime.now(UTC)),
            answer,
        )
        self.suppressed.taken(parcel)
        self.callbacks.taken(parcel)
        return received

    def _page(self, asked: Asked) -> Said | None:
        """What is no vendor's API: the certificate of events, and the address that confirms a subscription."""
        parts = urlsplit(asked.target)
        if asked.method != "GET" or parts.path == postmark_api.SEARCH:
            return None
        if parts.path == CERTIFICATE_PATH:
            pem = self.callbacks.sns.certificate(datetime.now(UTC))
            return Said(200, pem, (("Content-Type", "application/x-pem-file"),))
        if parse_qs(parts.query).get("Action") == ["ConfirmSubscription"]:
            self.callbacks.confirmed += 1
            return Said(200, b"<ConfirmSubscriptionResponse/>", (("Content-Type", "text/xml"),))
        return said(404, {"message": "no such page"})


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises ``OSError`` naming the place."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
