"""How are one account's calls to its vendor's HTTP API made?"""

from __future__ import annotations

from collections.abc import Iterable

from ulak.core.model import Account
from ulak.io.outbound.egress import Network
from ulak.io.outbound.http import HttpClient
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Refused

ANSWER_BYTES = 512 * 1024
"""Kept of an answer: a batch's results, one for each message, must fit."""


class VendorSender:
    """Sends through the egress guard, over connections of the account's own: as many as it may have calls.

    ``allow_networks`` are the operator's exceptions, as for every address that a project folder may name.
    """

    def __init__(self, account: Account, allow_networks: Iterable[Network] = ()) -> None:
        self._client = HttpClient(allow_networks, body_cap=ANSWER_BYTES, connections=account.concurrency)

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """Send one request; the whole exchange may take ``deadline`` seconds."""
        return await self._client.send(request, deadline)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
