"""Who chose what, when and from where, and how does a choice become final?

Preferences say what holds; the record of consent says how it came to that. Every change writes both in one
transaction, behind the gate: from its commit no attempt that it forbids can begin on any node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.core.choice import Change, Chosen
from ulak.io.postgres.columns import turned
from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import Connection, Pool, Row
from ulak.io.postgres.queries import load

_sql = load("consents")

MAX_AGENT = 200
NEWEST = 2**63 - 1
"""Above every line of the record."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a user wants a category on a channel; ``*`` stands for every one."""

    category: str
    channel: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class By:
    """Who chose: ``source`` is api, me, link or vendor.

    ``evidence`` says more: prefix of the API key, id of the user's token, id of the delivery with the link. ``agent``
    is what the caller's program called itself.
    """

    source: str
    evidence: str | None = None
    agent: str | None = None


class Told(msgspec.Struct, frozen=True, gc=False):
    """What a user told a vendor: a line of the record."""

    tenant: int
    user: str
    category: str
    channel: str
    allowed: bool
    evidence: str
    at: datetime


def agent(header: bytes | None) -> str | None:
    """A ``User-Agent`` as it may be kept: printable, at most ``MAX_AGENT`` characters."""
    text = (header or b"")[: 4 * MAX_AGENT].decode("latin-1")
    return "".join(c for c in text if c.isprintable())[:MAX_AGENT].strip() or None


async def choose(connection: Connection, tenant: int, user: str, choices: Sequence[Choice], by: By) -> None:
    """Write choices; call it behind the gate."""
    columns = turned([(c.category, c.channel, c.allowed) for c in choices], 3)
    await connection.execute(_sql.choose, tenant, user, *columns, by.source, by.evidence, by.agent)


async def forget_others(connection: Connection, tenant: int, user: str, choices: Sequence[Choice], by: By) -> None:
    """Take back all choices but these; call it behind the gate, because a narrower "yes" may go."""
    columns = turned([(c.category, c.channel) for c in choices], 2)
    await connection.execute(_sql.forget_others, tenant, user, *columns, by.source, by.evidence, by.agent)


async def told(connection: Connection, lines: Sequence[Told]) -> None:
    """Write down what users told vendors."""
    if lines:
        await connection.execute(_sql.told, *turned([msgspec.structs.astuple(each) for each in lines], 7))


class Consents:
    """The side of links: what was chosen, what a link changes, and the record."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def chosen(self, tenant: int, user: str) -> list[Chosen]:
        """A user's choices."""
        rows = await self._pool.fetch(_sql.chosen, tenant, user)
        return [Chosen(r["category"], r["channel"], r["allowed"], r["source"], r["replaced"]) for r in rows]

    async def change(self, tenant: int, user: str, change: Change, by: By) -> None:
        """Do what an answer by link says; it is final when this returns."""
        async with self._pool.transaction(FORBIDDING) as connection:
            for statement, pairs in ((_sql.refuse, change.refuse), (_sql.restore, change.restore)):
                if pairs:
                    columns = turned(list(pairs), 2)
                    await connection.execute(statement, tenant, user, *columns, by.evidence, by.agent)

    async def locale(self, tenant: int, user: str, delivery: UUID | None) -> str | None:
        """The language to speak to a user in, as far as it is known."""
        locale: str | None = await self._pool.fetchval(_sql.locale, tenant, user, delivery)
        return locale

    async def page(self, tenant: int, user: str, before: int, limit: int) -> list[Row]:
        """The record of a user, newest first, below ``before``."""
        return await self._pool.fetch(_sql.page, tenant, user, before, limit)
