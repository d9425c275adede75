"""What do the parts of the gateway agree on?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from ulak.core.connections import Described
from ulak.core.inbox import Op, Page
from ulak.core.session import Session
from ulak.core.session_actions import Action
from ulak.core.token import Claims
from ulak.core.websocket import Encoded
from ulak.io.postgres.inbox import Ack

Owner = tuple[int, str]
"""Tenant and user."""

Pair = tuple[int, str, int]
"""Tenant, user, revision."""


class Store(Protocol):
    """The inboxes (``ulak.io.postgres.inbox.InboxStore``)."""

    async def epoch(self) -> str:
        """Changes whenever revisions may have gone back."""
        ...

    async def pages(self, asked: Sequence[Pair], limit: int) -> list[Page]:
        """What changed in many inboxes, each after a revision."""
        ...

    async def moved(self, known: Sequence[Pair]) -> list[Pair]:
        """Those whose newest revision is another one, with it."""
        ...

    async def acked(self, acks: Sequence[Ack]) -> int:
        """Write what arrived."""
        ...

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID] = (), up_to: int | None = None) -> int:
        """Mark items."""
        ...


class Member(Protocol):
    """One connection of a user whose token was believed, as the hub sees it: a socket or a stream.

    None of its methods blocks or raises. ``slot`` belongs to the hub's wheel, and is 0 at first.
    """

    session: Session
    owner: Owner
    claims: Claims
    topics: set[str] | None
    slot: int

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what the session says."""

    def tell(self, frame: Encoded) -> None:
        """Send what the session has counted as sent; it is not held."""

    def ephemeral(self, frame: Encoded) -> None:
        """Send a message or notice, unless the client reads slowly: then it is dropped, and counted."""

    def close(self, name: str) -> None:
        """End by this name of a close code."""

    def tick(self, now: float, unix: float) -> float:
        """Do what is due; returns when (monotonic seconds) to look again, or infinity."""

    def describe(self) -> Described:
        """What operators are told of it."""


class Places(Protocol):
    """Who wants to know which users (``u``) and topics (``t``) have somebody here. Never blocks."""

    def hold(self, kind: Literal["u", "t"], tenant: int, name: str) -> None:
        """The first one came."""

    def drop(self, kind: Literal["u", "t"], tenant: int, name: str) -> None:
        """The last one left."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once, and how often (seconds)."""

    page: int = 100
    batch: int = 200
    readers: int = 2
    compare: float = 25.0
    alarmed: float = 1.0
    sweep: float = 1.0
    pause: float = 0.1
    longest_pause: float = 2.0
