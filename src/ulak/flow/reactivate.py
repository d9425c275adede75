"""Do the vendors write to an address again that is allowed again here?

Vendors keep lists of their own. Each account whose vendor can be asked is asked, all at the same time, within a bound;
what came of it is told for each. Nothing is stored and nothing is tried again: who asked sees it and may ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ulak.core.model import Account, Channel
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Reactivates, Refused

SECONDS = 5.0
"""The longest that a caller waits for the vendors."""


class Result(StrEnum):
    """What came of it at one vendor."""

    REMOVED = "removed"
    NOT_THERE = "not_there"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Reactivated:
    """What one account's vendor said; ``reason`` says why not, where it is refused or unreachable."""

    account: str
    result: Result
    reason: str | None = None


class Client(Protocol):
    """Sends one account's requests through the egress guard."""

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """Send one request within ``deadline`` seconds."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What it needs: a tenant's accounts of a channel, an account with its secrets (None: unusable), and a client."""

    accounts: Callable[[int, Channel], Sequence[Account]]
    resolve: Callable[[Account], Account | None]
    client: Callable[[Account], Client]
    clock: Callable[[], datetime]


class Reactivator:
    """Asks the vendors; ``providers`` are those that can be asked, by name."""

    def __init__(self, providers: Mapping[str, Reactivates], around: Surroundings, seconds: float = SECONDS) -> None:
        self._providers = providers
        self._around = around
        self._seconds = seconds

    async def reactivate(self, tenant: int, channel: Channel, address: str) -> Sequence[Reactivated]:
        """Take an address off the lists of every account's vendor; accounts that have no such list are left out."""
        accounts = [one for one in self._around.accounts(tenant, channel) if one.provider in self._providers]
        return await asyncio.gather(*(self._one(account, address) for account in accounts))

    async def _one(self, declared: Account, address: str) -> Reactivated:
        account = self._around.resolve(declared)
        if account is None:
            return Reactivated(declared.name, Result.UNREACHABLE, "account_not_usable")
        provider = self._providers[account.provider]
        client = self._around.client(account)
        try:
            requests = provider.reactivate(address, account, self._around.clock())
            replies = await asyncio.gather(*(client.send(request, self._seconds) for request in requests))
        finally:
            await client.close()
        said = [self._said(provider, reply) for reply in replies]
        return Reactivated(account.name, *summary(said))

    def _said(self, provider: Reactivates, reply: HttpReply | Lost | Refused) -> bool | str | Lost:
        if isinstance(reply, HttpReply):
            return provider.reactivated(reply, self._around.clock())
        return reply if isinstance(reply, Lost) else f"guard_{reply.reason}"


def summary(said: Sequence[bool | str | Lost]) -> tuple[Result, str | None]:
    """One result of all lists of a vendor: what is not known to be off every list is not told as removed."""
    for each in said:
        if isinstance(each, str):
            return Result.REFUSED, each
    for each in said:
        if isinstance(each, Lost):
            return Result.UNREACHABLE, each.reason
    return (Result.REMOVED if any(said) else Result.NOT_THERE), None
