"""What does the bus need to know of this node's connections, and what does it bring them?

Between the hub, which knows its members, and the bus, which knows the other nodes. A question is answered
from memory, at once. A user is present while a connection of his is in the hub: one that missed its ping is
not, even if its TCP connection stands.

A user who has just connected here is known to the other nodes a moment later. What they said of him in
between is found by comparing his revision once, then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from ulak.core.connections import Described, Question, Reply
from ulak.core.inbox import News
from ulak.io.bus import Place
from ulak.io.postgres.errors import EXPECTED

log = logging.getLogger(__name__)

_MOST = 1_000
_PAUSE = 1.0
_NOTHING_KNOWN = -1


class Standing(Protocol):
    """How far a connection has come."""

    @property
    def open(self) -> bool:
        """Whether it has been welcomed."""
        ...

    @property
    def sent(self) -> int:
        """The revision up to which it was told."""
        ...


class Present(Protocol):
    """One connection."""

    @property
    def owner(self) -> tuple[int, str]:
        """Tenant and user."""
        ...

    @property
    def session(self) -> Standing:
        """How far it has come."""
        ...

    def close(self, name: str) -> None:
        """End it by this name of a close code."""
        ...

    def describe(self) -> Described:
        """What operators are told of it."""
        ...


class Registry(Protocol):
    """The hub."""

    def members(self) -> Iterable[Present]:
        """All connections."""
        ...

    def members_of(self, owner: tuple[int, str]) -> Iterable[Present]:
        """Those of one user."""
        ...

    def find(self, connection_id: str) -> Present | None:
        """The one of this id."""
        ...

    def hint(self, news: Sequence[News]) -> None:
        """Something is said to have happened to these inboxes."""
        ...

    def publish(self, tenant: int, topic: str, text: str) -> int:
        """Show a message to the topic's listeners here."""
        ...

    def broadcast(self, tenant: int, text: str) -> int:
        """Show a message to all connections of the tenant here."""
        ...

    def bus(self, up: bool) -> None:  # noqa: FBT001  # the one thing that it says
        """News of other nodes arrive, or do not."""
        ...


class Moved(Protocol):
    """The inboxes (``ulak.io.postgres.inbox.InboxStore``)."""

    def moved(self, known: Sequence[tuple[int, str, int]]) -> Awaitable[list[tuple[int, str, int]]]:
        """Of (tenant, user, revision): those whose newest revision is another, with it."""
        ...


class Presence:
    """This node's side of the bus (``ulak.io.bus.Here``)."""

    def __init__(self, hub: Registry, inboxes: Moved) -> None:
        self._hub = hub
        self._inboxes = inboxes
        self._new: dict[tuple[int, str], None] = {}
        self._stir = asyncio.Event()

    # ------------------------------------------------------------------------------------ from the bus

    def hint(self, news: Sequence[News]) -> None:
        """Another node says what it did to inboxes."""
        self._hub.hint(news)

    def deliver(self, tenant: int, topic: str | None, text: str) -> None:
        """Show an ephemeral message."""
        if topic is None:
            self._hub.broadcast(tenant, text)
        else:
            self._hub.publish(tenant, topic, text)

    def bus(self, up: bool) -> None:  # noqa: FBT001  # the one thing that it says
        """News of other nodes arrive, or do not."""
        self._hub.bus(up)

    def held(self, places: Sequence[Place]) -> None:
        """The other nodes know of these places from now on: look once what was said of these users before."""
        self._new |= {(tenant, name): None for kind, tenant, name in places if kind == "u"}
        if self._new:
            self._stir.set()

    def answer(self, question: Question) -> Reply:
        """Which connections here are meant; only the tenant's own, whatever is asked for."""
        if question.close:
            return self._close(question)
        members = self._meant(question)
        found = tuple(member.describe() for member in islice(members, max(0, min(question.limit, _MOST))))
        return Reply(len(found) + sum(1 for _ in members), found)

    def _close(self, question: Question) -> Reply:
        if question.user is None and question.connection is None:
            return Reply()  # nobody closes all of a tenant's by leaving something out
        members = list(self._meant(question))
        for member in members:
            member.close("disconnected")
        return Reply(len(members))

    def _meant(self, question: Question) -> Iterator[Present]:
        tenant, user = question.tenant, question.user
        if question.connection is not None:
            one = self._hub.find(question.connection)
            found: Iterable[Present] = () if one is None else (one,)
        elif user is not None:
            found = self._hub.members_of((tenant, user))
        else:
            found = self._hub.members()
        return (member for member in found if member.owner[0] == tenant and user in (None, member.owner[1]))

    # ------------------------------------------------------------------------------------ its own work

    async def run(self) -> None:
        """Compare the revisions of those who have just come, until cancelled."""
        while True:
            await self._stir.wait()
            self._stir.clear()
            try:
                await self.look()
            except EXPECTED as error:
                log.warning("the revisions of new connections can't be compared: %s", type(error).__name__)
                self._stir.set()
                await asyncio.sleep(_PAUSE)

    async def look(self) -> None:
        """Find out what was missed before the other nodes knew of a user. Raises what the store raises."""
        while self._new:
            owners = dict.fromkeys(islice(self._new, _MOST))
            for owner in owners:
                del self._new[owner]
            try:
                moved = await self._inboxes.moved([(*owner, self._known(owner)) for owner in owners])
            except BaseException:
                self._new |= owners
                raise
            self._hub.hint([News(*pair) for pair in moved])

    def _known(self, owner: tuple[int, str]) -> int:
        """Up to where all of a user's connections were told; nothing is known of those that are not welcomed yet."""
        members = self._hub.members_of(owner)
        return min((m.session.sent if m.session.open else _NOTHING_KNOWN for m in members), default=_NOTHING_KNOWN)
