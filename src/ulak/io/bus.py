"""What does a node say to the other nodes, and what does it want to hear of them?

Three things cross between processes: news of inboxes, ephemeral messages, and questions about open
connections. All of it may be lost without harm: inboxes are compared with the database, ephemeral messages
promise nothing, and an answer says whether it is complete.

A node alone in its installation has a ``LocalBus``: everything stays in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from ulak.core.connections import Answers, Question, Reply, merge
from ulak.core.inbox import News

Kind = Literal["u", "t"]
"""What a place is: a user, or a topic."""

Place = tuple[Kind, int, str]
"""A user or topic of a tenant that somebody on this node is connected as, or listens to."""


class Here(Protocol):
    """This node's own connections, as the bus needs them. Nothing of it may block."""

    def hint(self, news: Sequence[News]) -> None:
        """Another node says what it did to inboxes."""
        ...

    def deliver(self, tenant: int, topic: str | None, text: str) -> None:
        """Hand an ephemeral message to those who listen to the topic, or to every open connection of the tenant."""
        ...

    def answer(self, question: Question) -> Reply:
        """Which connections of this node the question means; closes them if it says so."""
        ...

    def bus(self, up: bool) -> None:  # noqa: FBT001  # the one thing that it says
        """News of other nodes arrive from now on, or no longer: some may have been lost meanwhile."""
        ...

    def held(self, places: Sequence[Place]) -> None:
        """From now on the other nodes know that these places are here: news of before may have been missed."""
        ...


class Bus(Protocol):
    """What connects the nodes."""

    @property
    def up(self) -> bool:
        """Whether news of the other nodes arrive (a node alone has nobody to miss)."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End."""
        ...

    def nodes(self, alive: Sequence[int]) -> None:
        """Learn which nodes live, by their boot numbers."""
        ...

    def hold(self, kind: Kind, tenant: int, name: str) -> None:
        """The first connection of this user, or listener of this topic, has come."""
        ...

    def drop(self, kind: Kind, tenant: int, name: str) -> None:
        """The last one has gone."""
        ...

    def news(self, news: Sequence[News]) -> None:
        """Tell the other nodes that hold these users. Never waits; may be lost."""
        ...

    def publish(self, tenant: int, topic: str | None, text: str) -> bool:
        """Hand an ephemeral message to every listener of the topic, or to every connection of the tenant.

        False when it reaches this node only.
        """
        ...

    async def ask(self, question: Question, seconds: float) -> Answers:
        """Ask every node that may know, this one included, and wait at most this long."""
        ...

    def gauges(self) -> dict[str, float]:
        """What it has counted."""
        ...


class LocalBus:
    """The bus of a node that is alone."""

    up = True

    def __init__(self, here: Here) -> None:
        self._here = here

    def start(self) -> None:
        """Nothing has to run."""

    async def stop(self) -> None:
        """Nothing runs."""

    def nodes(self, alive: Sequence[int]) -> None:
        """There are no others."""

    def hold(self, kind: Kind, tenant: int, name: str) -> None:
        """Nobody else wants to know."""

    def drop(self, kind: Kind, tenant: int, name: str) -> None:
        """Nobody else wants to know."""

    def news(self, news: Sequence[News]) -> None:
        """There is nobody else to tell."""

    def publish(self, tenant: int, topic: str | None, text: str) -> bool:
        """Hand it to this node's connections."""
        self._here.deliver(tenant, topic, text)
        return True

    async def ask(self, question: Question, seconds: float) -> Answers:
        """Ask this node."""
        del seconds
        return merge([self._here.answer(question)], question.limit, complete=True)

    def gauges(self) -> dict[str, float]:
        """Nothing is counted."""
        return {}
