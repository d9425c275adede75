"""How does a push message go out with the credential that its service wants?

The provider builds the request without one; here it gets what ``Credentials`` holds. A service that finds the
credential itself too old is asked once more with a newer one, if there is any. Where one account calls many services
(credentials have a scope for each), one that is down is left alone for a while (``resting.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from ulak.core.model import Account
from ulak.io.credentials import Clocks, Credentials
from ulak.io.outbound.resting import Resting
from ulak.providers.contract import Credential, Credentialed, HttpReply, HttpRequest, Lost, Phase, Refused, Ungranted

PushReply = HttpReply | Lost | Refused | Ungranted


class Transport(Protocol):
    """A guarded client: ``Http2Client`` or ``HttpClient``."""

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """What came back within ``deadline`` seconds."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""


class PushSender:
    """Sends one account's pushes over connections and credentials of its own."""

    def __init__(self, provider: Credentialed, account: Account, transport: Transport, clocks: Clocks) -> None:
        self._provider = provider
        self._account = account
        self._transport = transport
        self._monotonic = clocks.monotonic
        self._resting = Resting(clocks.monotonic)
        self._credentials = Credentials(provider, account, transport.send, clocks)

    async def send(self, request: HttpRequest, deadline: float) -> PushReply:
        """Send one request; getting a credential and the whole exchange may take ``deadline`` seconds."""
        end = self._monotonic() + deadline
        scope = self._provider.scope(request, self._account)
        credential = await self._credentials.get(scope, deadline)
        if isinstance(credential, Ungranted):
            return credential
        reply = await self._call(scope, _signed(request, credential), end)
        if not isinstance(reply, HttpReply) or not self._provider.stale(reply):
            return reply
        newer = await self._credentials.instead(scope, credential, end - self._monotonic())
        if isinstance(newer, Ungranted):
            return newer
        if newer == credential:
            return reply
        return await self._call(scope, _signed(request, newer), end)

    async def _call(self, scope: str, request: HttpRequest, end: float) -> HttpReply | Lost | Refused:
        """One call until ``end``; none at all to a service that rests."""
        began = self._monotonic()
        if not scope:
            return await self._transport.send(request, end - began)
        if not self._resting.allows(scope):
            return Lost(Phase.NOT_SENT, "resting", "this push service failed again and again; it is asked again soon")
        reply = None
        try:
            reply = await self._transport.send(request, end - began)
        finally:
            self._resting.told(scope, reply, began)
        return reply

    async def close(self) -> None:
        """Stop asking for credentials, and close the connections."""
        await self._credentials.close()
        await self._transport.aclose()


def _signed(request: HttpRequest, credential: Credential) -> HttpRequest:
    return replace(request, headers=(*request.headers, ("authorization", credential.value)))
