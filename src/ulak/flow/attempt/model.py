"""What does the attempt stage work with: settings, senders, permits, calls?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ulak.core.device import Device
from ulak.core.model import Account
from ulak.core.outcome import Outcome
from ulak.io.postgres.attempting import Started
from ulak.providers.contract import Message, Provider, Reply


class Sender(Protocol):
    """Makes one kind of call; ``request`` is what its provider builds."""

    async def send(self, request: Any, deadline: float) -> Reply:
        """Send within ``deadline`` seconds; failures of the way there are replies, not exceptions."""

    async def close(self) -> None:
        """Let go of what is kept open."""


Judged = Callable[[Account, Sequence[Message], Sequence[Outcome]], Sequence[Outcome]]
"""Has the last word on what each message of a call meant."""


def as_read(account: Account, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """What the provider read stands."""
    del account, messages
    return outcomes


Called = Callable[[str, dict[str, int], float], None]
"""Told of each call: bulkhead, how often it meant what, seconds."""


def silent(bulkhead: str, kinds: dict[str, int], seconds: float) -> None:
    """Nothing is done with it."""
    del bulkhead, kinds, seconds


class Permits(Protocol):
    """The gate before every call: limits, breakers and budgets say here how many may be made now.

    It is asked before anything is claimed, so that what may not be sent stays in its queue, untouched.
    """

    async def permit(self, account: Account, calls: int) -> int:
        """How many of ``calls`` may be made now; they count as made."""
        ...

    def give_back(self, account: Account, calls: int) -> None:
        """So many of the last permitted were not needed."""


class OpenPermits:
    """No limits are set: every call may be made."""

    async def permit(self, account: Account, calls: int) -> int:
        """All of them."""
        del account
        return calls

    def give_back(self, account: Account, calls: int) -> None:
        """Nothing was counted."""


class Lineup(Protocol):
    """Which accounts may go on with a delivery, as this node knows them."""

    def accounts(self, account: Account, tenant: int, device: Device | None = None) -> Sequence[Account]:
        """Those in force for a tenant that can stand in for ``account``, which is among them.

        With a ``device`` those that reach it, and ``account`` only if it does.
        """
        ...

    def usable(self, account: Account) -> bool:
        """Whether a delivery should be given to it now."""
        ...

    def told(self, account: Account, outcomes: Sequence[Outcome], began: float) -> None:
        """What one call meant, message by message; ``began`` is on the monotonic clock."""


class Alone:
    """Each account is the only one of its channel."""

    def accounts(self, account: Account, tenant: int, device: Device | None = None) -> Sequence[Account]:
        """Itself."""
        del tenant, device
        return (account,)

    def usable(self, account: Account) -> bool:
        """Always."""
        del account
        return True

    def told(self, account: Account, outcomes: Sequence[Outcome], began: float) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one account is reached: its provider's translator and the sender of its requests."""

    account: Account
    provider: Provider
    sender: Sender


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds and sizes of the attempt stage.

    A lease outlives the call's time-out by more than ``margin``; ``backlog`` is how many results may
    wait to be written before workers stop claiming; ``crashes`` how often a row may crash a node while
    it is alone.
    """

    lease: float = 60.0
    margin: float = 2.0
    poll: float = 0.2
    group: int = 1_000
    backlog: int = 4_000
    crashes: int = 3
    depth: int = 20_000
    reap_every: float = 1.0


@dataclass(slots=True)
class Lease:
    """A batch in flight: ``left`` results are still to come; ``until`` is on the monotonic clock."""

    token: int
    left: int
    until: float


@dataclass(slots=True)
class Call:
    """Rows that go into one request."""

    lease: Lease
    lane: int
    rows: list[Started]


Clock = Callable[[], float]
"""A monotonic clock in seconds."""
