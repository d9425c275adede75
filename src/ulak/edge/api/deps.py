"""What does the API door need of the world?

Everything is handed in, so that a test gives doubles and ``node`` the real things. A protocol stands
where another part of the house answers; stores are named by their class.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from ulak.core.breaker import State
from ulak.core.inbox import Op, Page
from ulak.core.loaded import Loaded
from ulak.core.model import Channel
from ulak.core.registration import ApplicationServer
from ulak.flow.accept import AcceptRequest, Result
from ulak.flow.reactivate import Reactivated
from ulak.flow.receipts import PushReceipts
from ulak.io.bus import Bus
from ulak.io.postgres.consents import Consents
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.inbox import Ack
from ulak.io.postgres.keys import Keys
from ulak.io.postgres.operate import Operations
from ulak.io.postgres.push_counts import PushCounts
from ulak.io.postgres.reads import Reads
from ulak.io.postgres.scores import Scores
from ulak.io.postgres.suppressions import Suppressions
from ulak.io.postgres.topics import Topics
from ulak.io.postgres.users import Users
from ulak.io.tokens import Tokens


class Accepting(Protocol):
    """The accept stage (``ulak.flow.accept.Acceptor``)."""

    async def accept(self, tenant: int, request: AcceptRequest) -> Result:
        """Store one request; returns after the commit."""
        ...

    async def accept_many(self, tenant: int, requests: Sequence[AcceptRequest]) -> list[Result]:
        """Store many; the results are in order."""
        ...


class InboxStore(Protocol):
    """The end user's inbox."""

    async def page(self, tenant: int, user: str, since: int, limit: int) -> Page:
        """What changed since a revision, and the counts, in one snapshot."""
        ...

    async def wait(self, tenant: int, user: str, since: int, seconds: float) -> None:
        """Return when the inbox has gone beyond ``since``, or after ``seconds``."""
        ...

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID], up_to: int | None) -> int:
        """Mark items by id, or all up to a revision; returns the revision before the change."""
        ...

    async def acked(self, acks: Sequence[Ack]) -> int:
        """Write what arrived on devices; returns of how many items that was news."""
        ...


class Reactivating(Protocol):
    """What asks the vendors (``ulak.flow.reactivate.Reactivator``)."""

    async def reactivate(self, tenant: int, channel: Channel, address: str) -> Sequence[Reactivated]:
        """Take an address off the lists of a tenant's vendors, within a bound; what came of it, account by account."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a body to arrive, the longest wait of a long poll, and how stale a key may be."""

    body_deadline: float = 10.0
    longest_wait: float = 30.0
    key_age: float = 0.5


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """Everything that the door needs.

    ``clock`` gives the time in UTC, ``monotonic`` seconds, ``entropy`` random bytes; ``loaded`` the
    project in force for a tenant; ``metrics`` the text of ``/metrics``; ``ready`` None, or why this node
    can't take requests; ``breakers`` the lines that it works off, with their breakers' states; ``application_servers``
    a tenant's keys for browsers; ``doubted`` 1 for each push account whose devices are refused in numbers, else 0;
    ``origins`` the browser origins that may call ``/v1/me``.
    """

    accept: Accepting
    reads: Reads
    operate: Operations
    users: Users
    consents: Consents
    devices: Devices
    topics: Topics
    suppressions: Suppressions
    vendors: Reactivating
    scores: Scores
    push_receipts: PushReceipts
    push_counts: PushCounts
    inbox: InboxStore
    bus: Bus
    keys: Keys
    tokens: Tokens
    loaded: Callable[[int], Loaded]
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]
    metrics: Callable[[], bytes]
    ready: Callable[[], Awaitable[str | None]]
    breakers: Callable[[], Mapping[str, tuple[State, float]]]
    application_servers: Callable[[int], Sequence[ApplicationServer]]
    doubted: Callable[[], Mapping[str, float]] = dict
    limits: Limits = field(default_factory=Limits)
    origins: frozenset[str] = frozenset()
